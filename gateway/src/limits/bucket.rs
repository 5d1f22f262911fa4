//! The one rule of all limits: a bucket of calls that fills evenly.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use provider::Rate;
use tokio::time::Instant;

/// A rate, as a bucket is asked with it.
///
/// A bucket is one number: the time at which it would be full again, in nanoseconds (the generic
/// cell rate algorithm). Calls add to it, and are refused when it is too far ahead of the clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    interval: u64,
    /// How far ahead a bucket may be for one more call.
    ahead: u64,
}

impl Pace {
    pub(super) fn new(rate: Rate) -> Self {
        let interval = nanos(rate.interval());
        Self { interval, ahead: interval.saturating_mul(u64::from(rate.burst()) - 1) }
    }

    /// Takes a call from a bucket that is full again at `full`: when it is full from now on, and,
    /// when the bucket is empty, how long until it has a call.
    pub(super) fn take(self, full: u64, now: u64) -> (u64, Result<(), Duration>) {
        // A bucket that was filled at another rate may be further ahead than this one allows. That
        // must be kept, or it would be as far ahead the next time.
        let most = now.saturating_add(self.ahead).saturating_add(self.interval);
        let full = full.clamp(now, most);
        match (full - now).checked_sub(self.ahead) {
            None | Some(0) => (full + self.interval, Ok(())),
            Some(wait) => (full, Err(Duration::from_nanos(wait))),
        }
    }
}

/// The calls that may come to one function.
#[derive(Debug)]
pub struct Bucket {
    begin: Instant,
    full: AtomicU64,
}

impl Default for Bucket {
    fn default() -> Self {
        Self { begin: Instant::now(), full: AtomicU64::new(0) }
    }
}

impl Bucket {
    /// Takes a call that comes now. The error is how long until there is one.
    pub fn take(&self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let (pace, now) = (Pace::new(rate), nanos(now.saturating_duration_since(self.begin)));
        let mut taken = Ok(());
        let next = |full| {
            let (full, result) = pace.take(full, now);
            taken = result;
            Some(full)
        };
        // It always gives a next value.
        let _ = self.full.fetch_update(Relaxed, Relaxed, next);
        taken
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bucket: &Bucket, rate: Rate, now: Instant) -> usize {
        (0..1000).take_while(|_| bucket.take(rate, now).is_ok()).count()
    }

    #[test]
    fn a_burst_and_then_as_many_as_the_rate_says() {
        let (bucket, rate) = (Bucket::default(), "10/s burst 25".parse().unwrap());
        let mut now = Instant::now();
        assert_eq!(taken(&bucket, rate, now), 25);
        for millis in [100, 200, 1000, 2500, 60_000] {
            now += Duration::from_millis(millis);
            let most = usize::try_from(millis / 100).unwrap().min(25);
            assert_eq!(taken(&bucket, rate, now), most, "after {millis} ms");
        }
    }

    #[test]
    fn whoever_waits_as_long_as_it_is_told_is_taken() {
        for rate in ["1/s", "3/s", "7/m burst 2", "1000000/s", "1/h"] {
            let (bucket, rate) = (Bucket::default(), rate.parse().unwrap());
            let mut now = Instant::now();
            for _ in 0..10 {
                while bucket.take(rate, now).is_ok() {}
                let wait = bucket.take(rate, now).unwrap_err();
                let early = now + wait - Duration::from_nanos(1);
                assert!(bucket.take(rate, early).is_err(), "{rate}");
                now += wait;
                assert!(bucket.take(rate, now).is_ok(), "{rate}");
            }
        }
    }

    #[test]
    fn no_more_than_the_rate_over_any_time() {
        let (bucket, rate) = (Bucket::default(), "50/s burst 5".parse().unwrap());
        let begin = Instant::now();
        let all = (0..10_000).map(|step| begin + Duration::from_millis(step));
        let taken = all.filter(|now| bucket.take(rate, *now).is_ok()).count();
        assert!((500..=505).contains(&taken), "{taken} in 10 s");
    }

    #[test]
    fn a_new_rate_counts_at_once() {
        let (bucket, now) = (Bucket::default(), Instant::now());
        assert_eq!(taken(&bucket, "2/h".parse().unwrap(), now), 2);
        let rate = "10/s".parse().unwrap();
        let wait = bucket.take(rate, now).unwrap_err();
        assert!(wait <= rate.interval(), "{wait:?}");
        assert!(bucket.take(rate, now + wait).is_ok(), "the hours of before are forgotten");
    }
}
