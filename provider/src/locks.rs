//! One lock a key, made at need.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Locks by key. A key that nobody holds or waits for costs nothing for long.
pub(crate) struct Locks<K>(Mutex<HashMap<K, Weak<AsyncMutex<()>>>>);

impl<K> Default for Locks<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq + Clone> Locks<K> {
    /// Waits for the key's turn.
    pub(crate) async fn lock(&self, key: &K) -> OwnedMutexGuard<()> {
        self.of(key).lock_owned().await
    }

    /// Whether somebody holds the key now.
    pub(crate) fn is_held(&self, key: &K) -> bool {
        self.of(key).try_lock().is_err()
    }

    fn of(&self, key: &K) -> Arc<AsyncMutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(AsyncMutex::new(()));
        locks.insert(key.clone(), Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_per_key_and_nothing_kept() {
        let locks = Locks::default();
        let held = locks.lock(&"a").await;
        let _other = locks.lock(&"b").await;
        assert!(locks.is_held(&"a"));
        drop(held);
        assert!(!locks.is_held(&"a"));
        locks.lock(&"c").await;
        locks.lock(&"d").await;
        assert_eq!(locks.0.lock().unwrap().len(), 2, "b, which is held, and d");
    }
}
