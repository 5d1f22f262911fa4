//! Which replica takes a call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use provider::{Counter, Slot};
use relay::Target;
use tokio::time::Instant;

/// How long a new replica is given less than its share, so that it can warm up.
const SLOW_START: Duration = Duration::from_secs(5);
/// The share that a new replica begins with, in percent.
const FIRST_SHARE: u64 = 10;
/// How long a replica that cannot be connected to is set aside at first; it doubles each time.
const FIRST_ASIDE: Duration = Duration::from_millis(50);
/// The longest that it is set aside.
const LONGEST_ASIDE: Duration = Duration::from_secs(10);

/// A replica that takes calls.
pub struct Endpoint {
    /// The replica's name.
    pub replica: Arc<str>,
    /// Where it answers.
    pub target: Target,
    /// What is known of it from calls.
    pub health: Arc<Health>,
    counter: Arc<Counter>,
    max_inflight: u64,
}

/// What calls have shown of a replica. All threads share it.
#[derive(Debug)]
pub struct Health {
    born: Instant,
    /// Connections in a row that failed.
    failures: AtomicU32,
    /// Until when it is set aside, in milliseconds since `born`.
    aside_until_ms: AtomicU64,
}

/// One look for a replica.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    /// Any number, another one each time.
    pub dice: usize,
    /// Replicas that have refused this call.
    pub tried: &'a [Arc<str>],
    /// The time.
    pub now: Instant,
}

/// What a look for a replica found.
pub enum Pick<'a> {
    /// A replica, and a slot on it.
    Taken(&'a Endpoint, Slot),
    /// Replicas that take calls, and as many as they take at a time.
    Busy,
    /// No replica that takes calls and was not tried.
    None,
}

/// The calls that replicas have, and take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// Calls that they have now.
    pub taken: u64,
    /// Calls that they take at a time, where that is limited.
    pub limit: Option<u64>,
    /// How many replicas are set aside for now.
    pub aside: usize,
}

/// Those of all replicas together.
pub(crate) fn slots(endpoints: &[Endpoint]) -> Slots {
    let now = Instant::now();
    let limit = |e: &Endpoint| (e.max_inflight < u64::MAX).then_some(e.max_inflight);
    Slots {
        taken: endpoints.iter().map(|e| e.counter.in_flight()).sum(),
        limit: endpoints.iter().map(limit).sum(),
        aside: endpoints.iter().filter(|e| e.health.is_aside(now)).count(),
    }
}

impl Endpoint {
    /// A replica that takes at most `max_inflight` calls at a time.
    pub fn new(
        (replica, target): (&str, Target),
        counter: Arc<Counter>,
        health: Arc<Health>,
        max_inflight: u64,
    ) -> Self {
        Self { replica: replica.into(), target, health, counter, max_inflight }
    }

    /// Whether it may be asked for a slot at all.
    fn is_open(&self, tried: &[Arc<str>]) -> bool {
        !self.counter.is_closed() && (tried.is_empty() || !tried.contains(&self.replica))
    }

    fn is_full(&self) -> bool {
        self.counter.in_flight() >= self.max_inflight
    }

    /// Calls in flight with the one to come, the heavier the newer it is.
    fn load(&self, now: Instant) -> u64 {
        (self.counter.in_flight() + 1) * 1000 / self.health.share(now)
    }

    fn take(&self, now: Instant) -> Option<(&Self, Slot)> {
        if self.is_full() || !self.health.admits(now) {
            return None;
        }
        Some((self, self.counter.enter_below(self.max_inflight)?))
    }
}

/// Takes a slot on the less busy of two replicas picked at random; when neither has one, on any
/// other. Those that were set aside come last, and only when there is no other.
pub(crate) fn pick<'a>(endpoints: &'a [Endpoint], look: Look<'_>) -> Pick<'a> {
    let (count, Look { dice, tried, now }) = (endpoints.len(), look);
    if count == 0 {
        return Pick::None;
    }
    let one = dice % count;
    let two = (one + 1 + (dice / count) % (count - 1).max(1)) % count;
    let pair = [&endpoints[one], &endpoints[two]];
    let usable = |e: &&&Endpoint| e.is_open(tried) && !e.health.is_aside(now) && !e.is_full();
    let best = pair.iter().filter(usable).min_by_key(|e| e.load(now));
    if let Some((endpoint, slot)) = best.and_then(|e| e.take(now)) {
        return Pick::Taken(endpoint, slot);
    }
    let open = || {
        let turned = endpoints[one..].iter().chain(&endpoints[..one]);
        turned.filter(|e| e.is_open(tried))
    };
    if let Some((endpoint, slot)) = open().find_map(|e| e.take(now)) {
        return Pick::Taken(endpoint, slot);
    }
    // What was set aside is better than nothing at all.
    if open().all(|e| e.health.is_aside(now)) {
        let slot = |e: &'a Endpoint| Some((e, e.counter.enter_below(e.max_inflight)?));
        if let Some((endpoint, slot)) = open().find_map(slot) {
            return Pick::Taken(endpoint, slot);
        }
    }
    if open().next().is_some() { Pick::Busy } else { Pick::None }
}

impl Default for Health {
    fn default() -> Self {
        let (failures, aside_until_ms) = Default::default();
        Self { born: Instant::now(), failures, aside_until_ms }
    }
}

impl Health {
    /// A connection could not be made: the replica is set aside, longer each time.
    pub fn failed(&self, now: Instant) {
        let failures = self.failures.fetch_add(1, Relaxed) + 1;
        self.set_aside(now, failures);
    }

    /// It answered.
    pub fn worked(&self) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    fn set_aside(&self, now: Instant, failures: u32) {
        let factor = 1 << failures.saturating_sub(1).min(16);
        let until = now + (FIRST_ASIDE * factor).min(LONGEST_ASIDE);
        self.aside_until_ms.store(self.ms(until), Relaxed);
    }

    fn is_aside(&self, now: Instant) -> bool {
        self.failures.load(Relaxed) != 0 && self.ms(now) < self.aside_until_ms.load(Relaxed)
    }

    /// Whether a call may go there: always to one that works, and one call at a time to one whose
    /// time aside is over, to see whether it works again.
    fn admits(&self, now: Instant) -> bool {
        let failures = self.failures.load(Relaxed);
        if failures == 0 {
            return true;
        }
        let until = self.aside_until_ms.load(Relaxed);
        let next = self.ms(now + FIRST_ASIDE);
        self.ms(now) >= until
            && self.aside_until_ms.compare_exchange(until, next, Relaxed, Relaxed).is_ok()
    }

    fn share(&self, now: Instant) -> u64 {
        let age = now.saturating_duration_since(self.born);
        if age >= SLOW_START {
            return 100;
        }
        FIRST_SHARE + (100 - FIRST_SHARE) * age.as_millis() as u64 / SLOW_START.as_millis() as u64
    }

    fn ms(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.born).as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(name: &str, max_inflight: u64) -> Endpoint {
        let target = Target::Tcp(([127, 0, 0, 1], 9).into());
        Endpoint::new((name, target), Arc::default(), Arc::default(), max_inflight)
    }

    fn look(dice: usize, now: Instant) -> Look<'static> {
        Look { dice, tried: &[], now }
    }

    fn taken<'a>(pick: Pick<'a>) -> Option<(&'a str, Slot)> {
        match pick {
            Pick::Taken(endpoint, slot) => Some((&*endpoint.replica, slot)),
            Pick::Busy | Pick::None => None,
        }
    }

    #[test]
    fn no_replica_takes_more_than_it_may() {
        let endpoints = [endpoint("a", 2), endpoint("b", 1)];
        let now = Instant::now();
        let held: Vec<_> = (0..3).map(|dice| pick(&endpoints, look(dice, now))).collect();
        assert!(held.iter().all(|pick| matches!(pick, Pick::Taken(..))));
        assert!(matches!(pick(&endpoints, look(7, now)), Pick::Busy));
        drop(held);
        assert!(matches!(pick(&endpoints, look(7, now)), Pick::Taken(..)));
    }

    #[test]
    fn slots_are_summed_where_they_are_limited() {
        let endpoints = [endpoint("a", 2), endpoint("b", 3)];
        let held = pick(&endpoints, look(0, Instant::now()));
        endpoints[1].health.failed(Instant::now());
        assert_eq!(slots(&endpoints), Slots { taken: 1, limit: Some(5), aside: 1 });
        drop(held);
        let unlimited = [endpoint("a", u64::MAX)];
        assert_eq!(slots(&unlimited), Slots { taken: 0, limit: None, aside: 0 });
    }

    #[test]
    fn replicas_that_refused_the_call_are_left_out() {
        let endpoints = [endpoint("a", u64::MAX), endpoint("b", u64::MAX)];
        let (a, now) = (["a".into()], Instant::now());
        for dice in 0..8 {
            let (name, _slot) = taken(pick(&endpoints, Look { dice, tried: &a, now })).unwrap();
            assert_eq!(name, "b");
        }
        let both = ["a".into(), "b".into()];
        assert!(matches!(pick(&endpoints, Look { dice: 1, tried: &both, now }), Pick::None));
    }

    #[test]
    fn who_cannot_be_reached_is_set_aside_and_probed_by_one_call() {
        let endpoints = [endpoint("a", u64::MAX), endpoint("b", u64::MAX)];
        let now = Instant::now();
        let by_a = |now| {
            let picks = (0..8).filter_map(|dice| taken(pick(&endpoints, look(dice, now))));
            picks.filter(|(name, _)| *name == "a").count()
        };
        endpoints[0].health.failed(now);
        assert_eq!(by_a(now), 0);
        let after = now + FIRST_ASIDE;
        assert_eq!(by_a(after), 1, "one call tries it");
        endpoints[0].health.failed(after);
        assert_eq!(by_a(after + FIRST_ASIDE), 0, "longer the second time");
        assert_eq!(by_a(after + FIRST_ASIDE * 2), 1);
        endpoints[0].health.worked();
        assert!(by_a(after) > 1);
    }

    #[test]
    fn the_last_replica_is_never_set_aside() {
        let endpoints = [endpoint("a", u64::MAX)];
        let now = Instant::now();
        endpoints[0].health.failed(now);
        assert!(matches!(pick(&endpoints, look(3, now)), Pick::Taken(..)));
        endpoints[0].health.failed(now);
        assert!(matches!(pick(&endpoints, look(4, now)), Pick::Taken(..)));
    }

    #[test]
    fn time_aside_has_an_end() {
        let (health, now) = (Health::default(), Instant::now());
        (0..40).for_each(|_| health.failed(now));
        assert!(health.is_aside(now + LONGEST_ASIDE / 2));
        assert!(!health.is_aside(now + LONGEST_ASIDE + Duration::from_millis(1)));
    }

    #[test]
    fn a_new_replica_gets_less_at_first() {
        let mut endpoints = [endpoint("old", u64::MAX), endpoint("new", u64::MAX)];
        let now = Instant::now() + SLOW_START;
        endpoints[1].health = Arc::new(Health { born: now, ..Health::default() });
        let share = |now| {
            let held: Vec<_> =
                (0..100).filter_map(|dice| taken(pick(&endpoints, look(dice, now)))).collect();
            held.iter().filter(|(name, _)| *name == "new").count()
        };
        let (first, later) = (share(now), share(now + SLOW_START));
        assert!(first > 0 && first <= 15, "{first} of 100 at first");
        assert_eq!(later, 50);
    }
}
