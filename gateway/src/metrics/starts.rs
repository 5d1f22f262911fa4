//! How long it takes until replicas that are wanted take calls, step by step.

use std::sync::{Mutex, PoisonError};

use prometheus::{HistogramOpts, HistogramVec};
use tokio::time::Instant;

/// Upper bounds in seconds: a frozen function is there within a millisecond, an image that must be
/// pulled first takes a minute.
pub(super) const BUCKETS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The last step of every start: the replicas run, and do not take calls yet.
const READY: &str = "ready";

/// The first step of a start, by what there is to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Replicas are made, and started.
    Create,
    /// Replicas that were kept are started.
    Start,
    /// Replicas that were frozen go on.
    Thaw,
}

/// The starts of one function. One is measured at a time, the latest.
pub struct Starts {
    seconds: HistogramVec,
    now: Mutex<Option<Start>>,
}

/// One that is under way.
struct Start {
    cause: &'static str,
    step: Step,
    /// It is over when so many replicas take calls.
    replicas: u32,
    begun: Instant,
    /// When the provider had done its part.
    done: Option<Instant>,
}

impl Step {
    fn label(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Thaw => "thaw",
        }
    }
}

impl Starts {
    pub(super) fn new(opts: HistogramOpts) -> prometheus::Result<Self> {
        let seconds = HistogramVec::new(opts.buckets(BUCKETS.to_vec()), &["cause", "step"])?;
        Ok(Self { seconds, now: Mutex::default() })
    }

    pub(super) fn family(&self) -> HistogramVec {
        self.seconds.clone()
    }

    /// The provider is about to be told to see to it that so many replicas run. The causes are few
    /// and fixed.
    pub fn begin(&self, cause: &'static str, step: Step, replicas: u32) {
        let start = Start { cause, step, replicas, begun: Instant::now(), done: None };
        *self.lock() = Some(start);
    }

    /// The provider has done it: they run.
    pub fn done(&self) {
        if let Some(start) = &mut *self.lock() {
            start.done.get_or_insert_with(Instant::now);
        }
    }

    /// Nothing came of it.
    pub fn failed(&self) {
        *self.lock() = None;
    }

    /// So many are wanted, and so many take calls.
    pub fn seen(&self, wanted: u32, ready: usize) {
        let mut now = self.lock();
        let Some(start) = &*now else { return };
        if ready >= start.replicas as usize {
            let end = Instant::now();
            // What a replica does can be known before the provider has said that it is done.
            let done = start.done.unwrap_or(end);
            self.observe((start.cause, start.step.label()), done - start.begun);
            self.observe((start.cause, READY), end - done);
            *now = None;
        } else if start.done.is_some() && wanted < start.replicas {
            *now = None;
        }
    }

    fn observe(&self, (cause, step): (&str, &str), took: std::time::Duration) {
        self.seconds.with_label_values(&[cause, step]).observe(took.as_secs_f64());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Start>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn starts() -> Starts {
        Starts::new(HistogramOpts::new("starts", "starts")).unwrap()
    }

    /// How many there were, and how long they took together.
    fn of(starts: &Starts, cause: &str, step: &str) -> (u64, f64) {
        let histogram = starts.seconds.with_label_values(&[cause, step]);
        (histogram.get_sample_count(), histogram.get_sample_sum())
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_is_split_where_the_provider_is_done() {
        let starts = starts();
        starts.begin("call", Step::Start, 2);
        starts.seen(0, 0);
        tokio::time::advance(Duration::from_secs(2)).await;
        starts.done();
        starts.seen(2, 1);
        tokio::time::advance(Duration::from_secs(3)).await;
        starts.seen(2, 2);
        starts.seen(2, 2);
        assert_eq!(of(&starts, "call", "start"), (1, 2.0));
        assert_eq!(of(&starts, "call", "ready"), (1, 3.0));
    }

    #[tokio::test(start_paused = true)]
    async fn ready_before_the_provider_said_so_is_all_in_the_first_step() {
        let starts = starts();
        starts.begin("call", Step::Thaw, 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        starts.seen(1, 1);
        starts.done();
        assert_eq!(of(&starts, "call", "thaw"), (1, 1.0));
        assert_eq!(of(&starts, "call", "ready"), (1, 0.0));
    }

    #[test]
    fn what_failed_or_was_called_off_is_not_counted() {
        let starts = starts();
        starts.begin("load", Step::Create, 2);
        starts.failed();
        starts.seen(2, 2);
        starts.begin("load", Step::Create, 5);
        starts.done();
        starts.seen(1, 1);
        starts.seen(5, 5);
        assert_eq!(of(&starts, "load", "create").0, 0);
    }
}
