//! How far a gateway is that leaves, as those see it who answer its calls.

use std::sync::Arc;
use std::time::Duration;

use relay::Target;
use tokio::sync::{OwnedRwLockReadGuard, RwLock, watch};
use tokio::time::{Instant, timeout, timeout_at};

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It does not leave.
    Serving,
    /// It cannot start or change anything any more, and the next gateway does not serve yet.
    Leaving,
    /// The next gateway serves there.
    Replaced(Target),
}

/// Shared by all that answer calls, and by who lets the gateway leave. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leaving {
    stage: Arc<watch::Sender<Stage>>,
    /// Held to read by whoever is about to change something.
    work: Arc<RwLock<()>>,
}

impl Default for Leaving {
    fn default() -> Self {
        Self { stage: Arc::new(watch::Sender::new(Stage::Serving)), work: Arc::default() }
    }
}

impl Leaving {
    /// Leave to change something, as long as the guard lives. `None` once the gateway leaves.
    pub async fn work(&self) -> Option<OwnedRwLockReadGuard<()>> {
        let guard = self.work.clone().read_owned().await;
        self.is_serving().then_some(guard)
    }

    /// Whether it does not leave.
    pub fn is_serving(&self) -> bool {
        *self.stage.borrow() == Stage::Serving
    }

    /// Returns when it begins to leave.
    pub async fn begun(&self) {
        // The sender is here, so this ends only when it is true.
        let _ = self.stage.subscribe().wait_for(|stage| *stage != Stage::Serving).await;
    }

    /// Where the next gateway serves, when it does before the deadline.
    pub async fn successor(&self, deadline: Instant) -> Option<Target> {
        let mut stage = self.stage.subscribe();
        let replaced = stage.wait_for(|stage| matches!(stage, Stage::Replaced(_)));
        match &*timeout_at(deadline, replaced).await.ok()?.ok()? {
            Stage::Replaced(target) => Some(target.clone()),
            _ => None,
        }
    }

    /// From now on nothing new is begun here. Returns when what was begun is done, or its time is
    /// over.
    pub async fn begin(&self, limit: Duration) {
        self.stage.send_replace(Stage::Leaving);
        if timeout(limit, self.work.write()).await.is_err() {
            tracing::warn!("handing over in the middle of a request that goes on too long");
        }
    }

    /// The next gateway serves, and takes there what this one passes on.
    pub fn replaced_at(&self, successor: Target) {
        self.stage.send_replace(Stage::Replaced(successor));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_begun_is_finished_and_nothing_new_begins() {
        let leaving = Leaving::default();
        let guard = leaving.work().await.unwrap();
        let begin = tokio::spawn({
            let leaving = leaving.clone();
            async move { leaving.begin(Duration::from_secs(60)).await }
        });
        leaving.begun().await;
        assert!(!begin.is_finished() && !leaving.is_serving());
        drop(guard);
        begin.await.unwrap();
        assert!(leaving.work().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_for_ever_is_not_waited_for() {
        let leaving = Leaving::default();
        let _guard = leaving.work().await.unwrap();
        leaving.begin(Duration::from_secs(5)).await;
        let soon = Instant::now() + Duration::from_secs(1);
        assert_eq!(leaving.successor(soon).await, None);
        let successor = Target::unix("/state/successor.sock");
        leaving.replaced_at(successor.clone());
        assert_eq!(leaving.successor(soon).await, Some(successor));
    }
}
