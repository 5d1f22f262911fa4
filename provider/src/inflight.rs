//! Calls in flight per replica: what ties "no new calls" to "now it may stop".

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// High bit of [`Counter`]: no new calls.
const CLOSED: u64 = 1 << 63;

/// The calls in flight of every replica, shared by who sends calls and who stops replicas.
///
/// A replica is closed first, then waited for; a call takes its slot or is refused, so none slips
/// in between.
#[derive(Clone, Default, Debug)]
pub struct Calls {
    counters: Arc<Mutex<HashMap<Box<str>, Arc<Counter>>>>,
}

/// Calls in flight of one replica, and whether it takes new ones.
#[derive(Default, Debug)]
pub struct Counter {
    state: AtomicU64,
    idle: Notify,
}

/// One call in flight; dropping it ends the call.
#[derive(Debug)]
pub struct Slot(Arc<Counter>);

impl Calls {
    /// The counter of a replica, made at first use.
    pub fn counter(&self, replica: &str) -> Arc<Counter> {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = counters.get(replica) {
            return counter.clone();
        }
        counters.entry(replica.into()).or_default().clone()
    }

    /// Lets no new call in, and waits until those in flight have ended or the time is over.
    ///
    /// Returns the number of calls that were cut short.
    pub async fn drain(&self, replica: &str, limit: Duration) -> u64 {
        let counter = self.counter(replica);
        counter.close();
        let drained = tokio::time::timeout(limit, counter.idle()).await;
        if drained.is_ok() { 0 } else { counter.in_flight() }
    }

    /// Lets no new call in.
    #[cfg(feature = "kubernetes")]
    pub(crate) fn close(&self, replica: &str) {
        self.counter(replica).close();
    }

    /// Lets new calls in again after a [`Calls::drain`] that was given up.
    pub fn open(&self, replica: &str) {
        self.counter(replica).state.fetch_and(!CLOSED, Ordering::SeqCst);
    }

    /// Forgets a replica that is gone.
    pub fn forget(&self, replica: &str) {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner).remove(replica);
    }
}

impl Counter {
    /// Takes a slot; `None` when the replica lets no new call in.
    pub fn enter(self: &Arc<Self>) -> Option<Slot> {
        let before = self.state.fetch_add(1, Ordering::SeqCst);
        let slot = Slot(self.clone());
        (before & CLOSED == 0).then_some(slot)
    }

    /// Takes a slot when fewer than `limit` are taken; `None` as well when the replica lets no new
    /// call in.
    pub fn enter_below(self: &Arc<Self>, limit: u64) -> Option<Slot> {
        if limit >= CLOSED {
            return self.enter();
        }
        let free = |state: u64| (state < limit).then_some(state + 1);
        let taken = self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, free);
        taken.ok().map(|_| Slot(self.clone()))
    }

    /// Calls in flight now.
    pub fn in_flight(&self) -> u64 {
        self.state.load(Ordering::SeqCst) & !CLOSED
    }

    /// Whether it lets no new call in.
    pub fn is_closed(&self) -> bool {
        self.state.load(Ordering::Relaxed) & CLOSED != 0
    }

    fn close(&self) {
        self.state.fetch_or(CLOSED, Ordering::SeqCst);
    }

    async fn idle(&self) {
        loop {
            let notified = self.idle.notified();
            if self.in_flight() == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.0.state.fetch_sub(1, Ordering::SeqCst) == CLOSED | 1 {
            self.0.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_drain_waits_for_calls_and_refuses_new_ones() {
        let calls = Calls::default();
        let counter = calls.counter("a");
        let slot = counter.enter().unwrap();
        let drain = tokio::spawn({
            let calls = calls.clone();
            async move { calls.drain("a", Duration::from_secs(60)).await }
        });
        while !counter.is_closed() {
            tokio::task::yield_now().await;
        }
        assert!(counter.enter().is_none());
        assert!(!drain.is_finished());
        drop(slot);
        assert_eq!(drain.await.unwrap(), 0);
    }

    #[tokio::test]
    async fn no_more_slots_are_taken_than_there_are() {
        let calls = Calls::default();
        let counter = calls.counter("a");
        let held = [counter.enter_below(2), counter.enter_below(2)];
        assert!(held.iter().all(Option::is_some));
        assert!(counter.enter_below(2).is_none() && counter.in_flight() == 2);
        assert!(counter.enter_below(u64::MAX).is_some());
        drop(held);
        calls.drain("a", Duration::ZERO).await;
        assert!(counter.enter_below(2).is_none() && counter.enter_below(u64::MAX).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_at_its_limit_and_says_what_was_cut() {
        let calls = Calls::default();
        let _slot = calls.counter("a").enter().unwrap();
        assert_eq!(calls.drain("a", Duration::from_secs(5)).await, 1);
        calls.open("a");
        assert!(calls.counter("a").enter().is_some());
    }
}
