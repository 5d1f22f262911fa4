//! How many replicas a load needs: one pure function of policy, window and current count.

use std::time::Duration;

use provider::{Measure, Scale};

use super::journal::Numbers;
use super::window::{Means, NOW, Timing, Window};

/// Load above what the replicas are meant for that is answered at once, and below it that is taken
/// for the same: a tenth.
const TOLERANCE: f64 = 1.1;
/// Times of what the replicas are meant for at which the load is a reason to panic.
const PANIC: f64 = 2.0;
/// Most replicas after one step up, in times of those that were.
const UP_TIMES: u32 = 10;
/// What one step up may always add: as many as functions have at most, unless they say otherwise. The
/// next step waits until this one is made.
const UP_LEAST: u32 = 20;
/// Most times fewer replicas after one step down.
const DOWN_TIMES: u32 = 2;
/// A load that is over by less than this is a sum of fractions that do not add up.
const ROUNDING: f64 = 1e-9;

/// What decides, beside the load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy<'a> {
    /// The function's labels.
    pub(super) scale: &'a Scale,
    /// The replicas that a schedule keeps now; 0 when none does.
    pub(super) floor: u32,
    /// Whether nothing is taken away, since somebody may have more to do than is known.
    pub(super) is_held: bool,
    /// How long the windows are.
    pub(super) timing: &'a Timing,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Advice {
    /// How many replicas there are to be.
    pub(super) replicas: u32,
    /// Why.
    pub(super) why: Why,
    /// Whether the load is far more than the replicas are meant for.
    pub(super) panics: bool,
    /// Whether it is more than they are meant for.
    pub(super) rises: bool,
    /// What it was decided from.
    pub(super) numbers: Numbers,
}

/// Why there are to be as many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Nothing runs; a call starts it.
    Asleep,
    /// There is but one number that is allowed.
    Static,
    /// There are fewer or more than allowed.
    Bounds,
    /// A schedule keeps more.
    Schedule,
    /// Somebody else decides.
    Others,
    /// It is not known how much is to be done.
    NoData,
    /// The load is far more than the replicas are meant for.
    Panic,
    /// The load is more than the replicas are meant for.
    More,
    /// The replicas are as many as they are to be.
    Enough,
    /// There could be fewer, if there had not been more load just now.
    Held,
    /// There could be fewer, if the load had been watched for long enough.
    Unsure,
    /// There could be fewer, if the label `down.window` did not keep them.
    DownWindow,
    /// The load is less than the replicas are meant for.
    Less,
}

impl Why {
    /// In words for a person.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Asleep => "nothing runs: the next call starts it",
            Self::Static => "min and max are the same",
            Self::Bounds => "outside of min and max",
            Self::Schedule => "a scheduled window is open",
            Self::Others => "the type is none: others decide",
            Self::NoData => "the load is not known, so nothing changes",
            Self::Panic => "more than twice the load that the replicas are meant for",
            Self::More => "more load than the replicas are meant for",
            Self::Enough => "the replicas fit the load",
            Self::Held => "less load, but there was more within the stable window",
            Self::Unsure => "less load, but not known for a whole stable window",
            Self::DownWindow => "less load, but the down window holds the highest need in it",
            Self::Less => "less load than the replicas are meant for",
        }
    }
}

impl Policy<'_> {
    /// The least replicas while any run.
    pub(super) fn least(&self) -> u32 {
        self.scale.initial().max(self.floor).min(self.most())
    }

    fn most(&self) -> u32 {
        self.scale.max.max(1)
    }

    fn clamp(&self, replicas: u32) -> u32 {
        if self.is_left_alone() {
            return replicas.max(self.floor);
        }
        replicas.clamp(self.least(), self.most())
    }

    /// Whether somebody else decides, who has bounds of his own.
    fn is_left_alone(&self) -> bool {
        self.scale.measure == Measure::None
    }

    /// Replicas that a load needs (contract 4.2).
    fn needed(&self, load: f64) -> u32 {
        // A number too large for the type becomes its largest.
        (load / self.scale.per_replica() - ROUNDING).ceil() as u32
    }
}

/// How many replicas there are to be at this moment. Never outside of the bounds, but 0 stays 0.
pub(super) fn desired(policy: &Policy<'_>, window: &Window, at: Duration, current: u32) -> Advice {
    let means = window.means(at, policy.timing);
    let panics = current > 0 && is_panic(policy, &means, current);
    let rises = current > 0 && is_rise(policy, &means, current);
    let load = rising(
        &means,
        Rise {
            begins: rises || window.is_rising(at, policy.timing.panic),
            leaps: panics || window.is_panicking(at, NOW),
        },
    );
    let needed = load.map_or(0, |load| policy.needed(load));
    let (wanted, why) = match load {
        _ if current == 0 => (0, Why::Asleep),
        _ if policy.is_left_alone() && policy.floor > current => (policy.floor, Why::Schedule),
        _ if policy.is_left_alone() => (current, Why::Others),
        _ if policy.clamp(current) != current => out_of_bounds(policy, current),
        _ if policy.least() == policy.most() => (current, at_the_only_count(policy)),
        None => (current, Why::NoData),
        Some(_) if needed > current => (upward(current, needed), more(panics)),
        Some(_) => downward(policy, window, (at, current)),
    };
    let replicas = if current == 0 { 0 } else { policy.clamp(wanted) };
    let why = match why {
        Why::More | Why::Panic | Why::Less if replicas == current => bound(policy, why),
        why => why,
    };
    let numbers = Numbers {
        now: means.now.map(|now| now.max(means.held.unwrap_or(0.0))),
        recent: means.recent,
        stable: means.stable,
        per_replica: policy.scale.per_replica(),
        needed,
    };
    Advice { replicas, why, panics, rises, numbers }
}

/// How much of what was seen last is believed.
struct Rise {
    /// What the load is now, not only what it was on the whole.
    begins: bool,
    /// What two glances have seen, too.
    leaps: bool,
}

/// What the load is when it comes to more replicas: the mean of the panic window, or what it is
/// now when it rises. A rise that has begun is followed to its end: after its first step the
/// replicas are nearly enough, and what is missing is less than what begins one.
fn rising(means: &Means, Rise { begins, leaps }: Rise) -> Option<f64> {
    let (now, recent) = (means.now?, means.recent?);
    let held = means.held.filter(|_| leaps).unwrap_or(0.0);
    Some(if begins || leaps { now.max(recent).max(held) } else { recent })
}

fn is_rise(policy: &Policy<'_>, means: &Means, current: u32) -> bool {
    let meant = f64::from(current) * policy.scale.per_replica();
    means.now.is_some_and(|now| now > meant * TOLERANCE)
        || means.recent.is_some_and(|recent| policy.needed(recent) > current)
}

fn is_panic(policy: &Policy<'_>, means: &Means, current: u32) -> bool {
    let meant = f64::from(current) * policy.scale.per_replica();
    let all = [means.now, means.recent, means.held];
    all.into_iter().flatten().any(|load| load >= meant * PANIC)
}

fn more(panics: bool) -> Why {
    if panics { Why::Panic } else { Why::More }
}

fn upward(current: u32, needed: u32) -> u32 {
    let most = current.saturating_mul(UP_TIMES).max(current.saturating_add(UP_LEAST));
    needed.min(most)
}

/// Goes to what the bounds allow, with the reason for them.
fn out_of_bounds(policy: &Policy<'_>, current: u32) -> (u32, Why) {
    let by_schedule = current >= policy.scale.initial() && current < policy.least();
    (policy.clamp(current), if by_schedule { Why::Schedule } else { Why::Bounds })
}

fn at_the_only_count(policy: &Policy<'_>) -> Why {
    if policy.scale.initial() < policy.scale.max { Why::Schedule } else { Why::Static }
}

/// Why it stays as it is though the load says otherwise.
fn bound(policy: &Policy<'_>, why: Why) -> Why {
    match why {
        Why::Less if policy.floor > policy.scale.initial() => Why::Schedule,
        Why::Less => Why::Enough,
        why => why,
    }
}

fn downward(policy: &Policy<'_>, window: &Window, (at, current): (Duration, u32)) -> (u32, Why) {
    let timing = policy.timing;
    let means = window.means(at, timing);
    let (Some(stable), Some(recent)) = (means.stable, means.recent) else {
        return (current, Why::NoData);
    };
    let load = stable.max(recent);
    // Going down to where the next breath of load asks for more again would be pointless.
    if policy.needed(load * TOLERANCE).max(policy.least()) >= current {
        return (current, Why::Enough);
    }
    if policy.is_held
        || window.is_panicking(at, timing.stable)
        || window.is_raised(at, timing.stable)
    {
        return (current, Why::Held);
    }
    if !means.is_whole {
        return (current, Why::Unsure);
    }
    let kept = policy.scale.down_window.map_or(0, |within| window.highest(at, within));
    if kept >= current {
        return (current, Why::DownWindow);
    }
    (policy.needed(load).max(kept).max(current.div_ceil(DOWN_TIMES)), Why::Less)
}

#[cfg(test)]
#[path = "desired_tests.rs"]
mod tests;
