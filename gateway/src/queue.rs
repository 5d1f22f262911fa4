//! Calls of one function that wait for a slot, in the order in which they came.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex as Lock, PoisonError};
use std::time::Duration;

use prometheus::{Histogram, IntGauge};
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::time::Instant;

/// The longest that who finds it full is told to stay away: slots may be freed much sooner.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// A bounded FIFO. Only the call at its head looks for a slot; when it has one, the next call is
/// at the head and looks at once. So one wake-up is enough for any number of slots.
pub struct Queue {
    waiting: AtomicUsize,
    /// Given away in the order in which it was asked for.
    turn: Mutex<()>,
    freed: Notify,
    pace: Lock<Option<Pace>>,
    gauge: IntGauge,
    held: Histogram,
}

/// How fast calls leave it, since the last time that it was empty.
#[derive(Clone, Copy)]
struct Pace {
    /// When a call got a slot last, or when the first one began to wait.
    since: Instant,
    /// How long that call had waited.
    wait: Duration,
}

/// One of the calls that wait.
pub struct Place<'a> {
    queue: &'a Queue,
    since: Instant,
}

impl Queue {
    /// An empty one; `gauge` shows how many wait, and `held` how long they did.
    pub fn new(gauge: IntGauge, held: Histogram) -> Self {
        let (waiting, turn, freed, pace) = Default::default();
        Self { waiting, turn, freed, pace, gauge, held }
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
        if before >= limit {
            self.waiting.fetch_sub(1, SeqCst);
            return None;
        }
        self.gauge.inc();
        let since = Instant::now();
        if before == 0 {
            self.paced(Pace { since, wait: Duration::ZERO });
        }
        Some(Place { queue: self, since })
    }

    /// How long a call that finds it full had better stay away: as long as the last one waited that
    /// got a slot, or, when that is longer, as nobody has got one.
    pub fn retry_after(&self) -> Duration {
        let pace = *self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = pace.map_or(Duration::ZERO, |pace| pace.wait.max(pace.since.elapsed()));
        wait.min(LONGEST_RETRY)
    }

    fn paced(&self, pace: Pace) {
        *self.pace.lock().unwrap_or_else(PoisonError::into_inner) = Some(pace);
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
        self.queue.turn.lock().await
    }

    /// The call has got a slot.
    pub fn served(&self) {
        let (since, wait) = (Instant::now(), self.since.elapsed());
        self.queue.paced(Pace { since, wait });
    }

    /// Returns when a slot was freed, perhaps before this was called.
    pub async fn freed(&self) {
        self.queue.freed.notified().await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.waiting.fetch_sub(1, SeqCst);
        self.queue.gauge.dec();
        self.queue.held.observe(self.since.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus::HistogramOpts;

    use super::*;

    fn queue() -> Arc<Queue> {
        let held = Histogram::with_opts(HistogramOpts::new("held", "held")).unwrap();
        Arc::new(Queue::new(IntGauge::new("waiting", "waiting").unwrap(), held))
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
        assert_eq!(queue.held.get_sample_count(), 2, "who was refused did not wait");
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_it_full_is_told_how_long_others_wait() {
        let (queue, second) = (queue(), Duration::from_secs(1));
        assert_eq!(queue.retry_after(), Duration::ZERO);
        let [first, last] = [queue.enter(2).unwrap(), queue.enter(2).unwrap()];
        tokio::time::advance(second * 3).await;
        assert_eq!(queue.retry_after(), second * 3, "nobody has got a slot for so long");
        first.served();
        drop(first);
        tokio::time::advance(second).await;
        assert_eq!(queue.retry_after(), second * 3, "the last one to get a slot waited so long");
        tokio::time::advance(second * 100).await;
        assert_eq!(queue.retry_after(), LONGEST_RETRY);
        drop(last);
        tokio::time::advance(second * 100).await;
        let _next = queue.enter(2).unwrap();
        assert_eq!(queue.retry_after(), Duration::ZERO, "a new crowd, of which nothing is known");
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
