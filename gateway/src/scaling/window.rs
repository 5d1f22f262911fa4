//! The load of one function over the last minute or so. No IO; time is what the caller says.

use std::collections::VecDeque;
use std::time::Duration;

/// What counts as now.
pub(super) const NOW: Duration = Duration::from_secs(2);
/// Part of a window's samples that must be there for its mean to be a reason to scale down.
const WHOLE: f64 = 0.8;

/// How long the windows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Time between two looks at the load, each of which is a sample of the windows.
    pub tick: Duration,
    /// Time between two glances, which only see whether far more is to be done all at once.
    pub glance: Duration,
    /// The window whose mean decides about scaling down, and in which nothing must have panicked.
    pub stable: Duration,
    /// The window whose mean decides about scaling up.
    pub panic: Duration,
}

/// One look at the load; `None` where it could not be told.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    load: Option<f64>,
}

/// The last samples, and the last times at which more replicas were asked for. Times are since
/// any moment that stays the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    samples: VecDeque<Sample>,
    /// The last two glances.
    glances: [Option<f64>; 2],
    began: Option<Duration>,
    needed: VecDeque<(Duration, u32)>,
    panicked: Option<Duration>,
    rose: Option<Duration>,
    raised: Option<Duration>,
}

/// What a window comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Means {
    /// The mean of the last two seconds.
    pub(super) now: Option<f64>,
    /// What both of the last two glances have seen. What one of them sees may be a single burst,
    /// or a glance in the middle of which the load changed.
    pub(super) held: Option<f64>,
    /// The mean of the panic window.
    pub(super) recent: Option<f64>,
    /// The mean of the stable window.
    pub(super) stable: Option<f64>,
    /// Whether the stable window has been watched from its begin to its end.
    pub(super) is_whole: bool,
}

impl Default for Timing {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        let glance = Duration::from_millis(250);
        Self { tick: seconds(1), glance, stable: seconds(60), panic: seconds(6) }
    }
}

impl Window {
    /// Takes in a sample, and lets go of what no window needs.
    pub(super) fn push(&mut self, at: Duration, load: Option<f64>, timing: &Timing) {
        self.began.get_or_insert(at);
        let load = load.filter(|load| load.is_finite() && *load >= 0.0);
        self.samples.push_back(Sample { at, load });
        let longest = timing.stable.max(timing.panic);
        while self.samples.front().is_some_and(|old| old.at + longest <= at) {
            self.samples.pop_front();
        }
    }

    /// Takes in what the last moment looked like; `None` when that is too short a time to tell.
    pub(super) fn glance(&mut self, load: Option<f64>) {
        self.glances = [self.glances[1], load];
    }

    /// Forgets everything: what is watched from now on has nothing to do with what was before.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The means at this moment.
    pub(super) fn means(&self, at: Duration, timing: &Timing) -> Means {
        let within = |length| self.samples.iter().rev().take_while(move |s| s.at + length > at);
        let have = within(timing.stable).filter(|sample| sample.load.is_some()).count();
        let want = timing.stable.as_secs_f64() / timing.tick.as_secs_f64();
        let is_old = self.began.is_some_and(|began| began + timing.stable <= at + timing.tick);
        Means {
            now: mean(within(timing.panic.min(NOW))),
            held: self.glances[0].zip(self.glances[1]).map(|(last, newest)| newest.min(last)),
            recent: mean(within(timing.panic)),
            stable: mean(within(timing.stable)),
            is_whole: is_old && have as f64 >= want * WHOLE,
        }
    }

    /// Notes how many replicas the load needed, for as long as that may matter.
    pub(super) fn note_needed(&mut self, at: Duration, needed: u32, keep: Duration) {
        while self.needed.front().is_some_and(|(old, _)| *old + keep <= at) {
            self.needed.pop_front();
        }
        if !keep.is_zero() {
            self.needed.push_back((at, needed));
        }
    }

    /// The most replicas that the load needed lately.
    pub(super) fn highest(&self, at: Duration, within: Duration) -> u32 {
        let recent = self.needed.iter().filter(|(then, _)| *then + within > at);
        recent.map(|(_, needed)| *needed).max().unwrap_or(0)
    }

    /// The load is far more than the replicas are meant for.
    pub(super) fn panicked(&mut self, at: Duration) {
        self.panicked = Some(at);
    }

    /// The load is more than the replicas are meant for.
    pub(super) fn rose(&mut self, at: Duration) {
        self.rose = Some(at);
    }

    /// There are more replicas than before.
    pub(super) fn raised(&mut self, at: Duration) {
        self.raised = Some(at);
    }

    /// Whether it panicked within that time.
    pub(super) fn is_panicking(&self, at: Duration, within: Duration) -> bool {
        self.panicked.is_some_and(|then| then + within > at)
    }

    /// Whether the load rose within that time.
    pub(super) fn is_rising(&self, at: Duration, within: Duration) -> bool {
        self.rose.is_some_and(|then| then + within > at)
    }

    /// Whether there were fewer replicas within that time.
    pub(super) fn is_raised(&self, at: Duration, within: Duration) -> bool {
        self.raised.is_some_and(|then| then + within > at)
    }
}

fn mean<'a>(samples: impl Iterator<Item = &'a Sample>) -> Option<f64> {
    let (sum, count) = samples
        .filter_map(|s| s.load)
        .fold((0.0, 0u32), |(sum, count), load| (sum + load, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    fn filled(loads: impl IntoIterator<Item = Option<f64>>) -> (Window, Duration) {
        let (mut window, mut last) = (Window::default(), 0);
        for (second, load) in (1..).zip(loads) {
            window.push(at(second), load, &Timing::default());
            last = second;
        }
        (window, at(last))
    }

    #[test]
    fn each_window_has_its_mean() {
        let loads = (0..120).map(|second| Some(if second < 114 { 10.0 } else { 70.0 }));
        let (mut window, now) = filled(loads);
        let means = window.means(now, &Timing::default());
        assert_eq!((means.now, means.recent, means.stable), (Some(70.0), Some(70.0), Some(16.0)));
        assert!(means.is_whole && window.samples.len() == 60);
        window.push(now + at(1), Some(100.0), &Timing::default());
        assert_eq!(window.means(now + at(1), &Timing::default()).now, Some(85.0));
    }

    #[test]
    fn a_load_is_held_when_two_glances_see_it() {
        let (mut window, now) = filled([Some(3.0)]);
        let held = |window: &Window| window.means(now, &Timing::default()).held;
        for (glance, want) in [
            (Some(90.0), None),
            (Some(5.0), Some(5.0)),
            (Some(70.0), Some(5.0)),
            (Some(80.0), Some(70.0)),
            (None, None),
            (Some(80.0), None),
        ] {
            window.glance(glance);
            assert_eq!(held(&window), want, "{glance:?}");
        }
        window.clear();
        assert_eq!(held(&window), None);
    }

    #[test]
    fn a_window_is_whole_when_it_was_watched_all_along() {
        let whole = |loads: Vec<Option<f64>>| {
            let (window, now) = filled(loads);
            window.means(now, &Timing::default()).is_whole
        };
        assert!(!whole(vec![Some(1.0); 59]));
        assert!(whole(vec![Some(1.0); 60]));
        let with_gaps = |gap: usize| (0..90).map(|n| (n % gap != 0).then_some(1.0)).collect();
        assert!(whole(with_gaps(10)), "a sample here and there may be missing");
        assert!(!whole(with_gaps(3)), "a third may not");
    }

    #[test]
    fn what_is_missing_is_not_zero() {
        let (window, now) = filled([Some(8.0), None, Some(4.0), None]);
        let means = window.means(now, &Timing::default());
        assert_eq!((means.now, means.recent), (Some(4.0), Some(6.0)));
        let (window, now) = filled([Some(f64::NAN), Some(-1.0), Some(f64::INFINITY)]);
        assert_eq!(window.means(now, &Timing::default()), Means::default());
    }

    #[test]
    fn a_long_pause_leaves_nothing_of_before() {
        let (window, now) = filled(vec![Some(5.0); 60]);
        let later = window.means(now + at(3600), &Timing::default());
        assert_eq!(later, Means::default());
    }

    #[test]
    fn the_highest_need_is_known_for_its_time() {
        let (mut window, keep) = (Window::default(), at(30));
        for second in 0..100 {
            window.note_needed(at(second), if second == 50 { 9 } else { 2 }, keep);
            let want = if (50..80).contains(&second) { 9 } else { 2 };
            assert_eq!(window.highest(at(second), keep), want, "{second}");
        }
        assert!(window.needed.len() <= 30);
    }
}
