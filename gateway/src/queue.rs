//! Calls of one function that wait for a slot, in the order in which they came.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use prometheus::IntGauge;
use tokio::sync::{Mutex, MutexGuard, Notify};

/// A bounded FIFO. Only the call at its head looks for a slot; when it has one, the next call is
/// at the head and looks at once. So one wake-up is enough for any number of slots.
pub struct Queue {
    waiting: AtomicUsize,
    /// Given away in the order in which it was asked for.
    turn: Mutex<()>,
    freed: Notify,
    gauge: IntGauge,
}

/// One of the calls that wait.
pub struct Place<'a>(&'a Queue);

impl Queue {
    /// An empty one; `gauge` shows how many wait.
    pub fn new(gauge: IntGauge) -> Self {
        Self { waiting: AtomicUsize::new(0), turn: Mutex::default(), freed: Notify::new(), gauge }
    }

    /// Whether a call that came now would have to wait behind others.
    pub fn is_empty(&self) -> bool {
        self.waiting.load(SeqCst) == 0
    }

    /// How many calls wait.
    pub fn len(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// A place in the queue; `None` when it has `limit` already.
    pub fn enter(&self, limit: usize) -> Option<Place<'_>> {
        let before = self.waiting.fetch_add(1, SeqCst);
        self.gauge.inc();
        let place = Place(self);
        (before < limit).then_some(place)
    }

    /// A slot was freed. Costs one look when nobody waits.
    pub fn slot_freed(&self) {
        if !self.is_empty() {
            self.freed.notify_one();
        }
    }
}

impl Place<'_> {
    /// Returns when all calls that came earlier have left. The guard is the place at the head.
    pub async fn head(&self) -> MutexGuard<'_, ()> {
        self.0.turn.lock().await
    }

    /// Returns when a slot was freed, perhaps before this was called.
    pub async fn freed(&self) {
        self.0.freed.notified().await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
        self.0.gauge.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn queue() -> Arc<Queue> {
        Arc::new(Queue::new(IntGauge::new("waiting", "waiting").unwrap()))
    }

    #[test]
    fn it_is_bounded_and_counts() {
        let queue = queue();
        assert!(queue.is_empty());
        let held = [queue.enter(2), queue.enter(2)];
        assert!(held.iter().all(Option::is_some));
        assert!(queue.enter(2).is_none());
        assert_eq!(queue.gauge.get(), 2);
        drop(held);
        assert!(queue.is_empty() && queue.gauge.get() == 0);
    }

    #[tokio::test]
    async fn who_came_first_is_first_at_the_head() {
        let queue = queue();
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let first = queue.enter(9).unwrap();
        let head = first.head().await;
        let mut waiting = Vec::new();
        for number in 0..4 {
            let (queue, order) = (queue.clone(), order.clone());
            waiting.push(tokio::spawn(async move {
                let place = queue.enter(9).unwrap();
                let _head = place.head().await;
                order.lock().unwrap().push(number);
            }));
            tokio::task::yield_now().await;
        }
        // One that goes away while it waits stops nobody.
        waiting.remove(1).abort();
        drop(head);
        for call in waiting {
            call.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [0, 2, 3]);
    }

    #[tokio::test]
    async fn a_slot_freed_before_the_wait_is_seen() {
        let queue = queue();
        let place = queue.enter(1).unwrap();
        let _head = place.head().await;
        queue.slot_freed();
        place.freed().await;
    }
}
