//! One function as the autoscaler watches it, and what it decides about it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use provider::{Measure, Target};

use super::desired::{Advice, Policy, Why, desired};
use super::idle;
use super::journal::{Cause, Decision, Numbers};
use super::load::{Calls, Loads};
use super::window::{Timing, Window};
use crate::directory::{Entry, Live};

/// After a change that failed, the same is not tried again for so long.
const RETRY: Duration = Duration::from_secs(10);
/// Seconds of a minute: schedules change with the minute.
const MINUTE: i64 = 60;

/// What is the same for all functions at one look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment<'a> {
    /// Since the autoscaler began.
    pub(super) at: Duration,
    /// The time of the day.
    pub(super) now: Timestamp,
    /// How long the windows are.
    pub(super) timing: &'a Timing,
    /// Whether anything wakes functions that were put to sleep.
    pub(super) wakes: bool,
    /// Whether other gateways may have calls in flight of which nothing is known here yet.
    pub(super) is_quiet: bool,
    /// Whether replicas can be frozen.
    pub(super) freezes: bool,
    /// Whether load changes nothing.
    pub(super) ignores_load: bool,
}

/// A change to be made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) to: Target,
    pub(super) decision: Decision,
}

/// What is known of one function from one look to the next.
pub(super) struct Watched {
    /// Whose it is: a function that is removed and deployed again is another one.
    live: Arc<Live>,
    window: Window,
    calls: Calls,
    /// Why there may be more to do than is known, if so.
    held: Option<String>,
    looked: Option<Duration>,
    /// The calls at the last glance, and when that was.
    glanced: (Calls, Option<Duration>),
    /// When it had something to do last.
    busy: Duration,
    replicas: u32,
    /// How often somebody else had decided.
    outside: u64,
    /// The minute, the generation, and the replicas that its schedule keeps.
    floor: Option<(i64, u64, u32)>,
    retry: Option<Duration>,
}

impl Watched {
    /// Nothing is known yet.
    pub(super) fn new(entry: &Entry, at: Duration) -> Self {
        Self {
            live: entry.live.clone(),
            window: Window::default(),
            calls: Calls::default(),
            held: None,
            looked: None,
            glanced: Default::default(),
            busy: at,
            replicas: entry.status.desired,
            outside: entry.live.journal.outside(),
            floor: None,
            retry: None,
        }
    }

    /// Whether it is this function's.
    pub(super) fn is_of(&self, entry: &Entry) -> bool {
        Arc::ptr_eq(&self.live, &entry.live)
    }

    /// A change was not made.
    pub(super) fn failed(&mut self, at: Duration) {
        self.retry = Some(at + RETRY);
    }

    /// Looks at the function, and decides. `None` when nothing is to change now.
    pub(super) fn look(
        &mut self,
        entry: &Entry,
        loads: &Loads,
        moment: &Moment<'_>,
    ) -> Option<Step> {
        let load = self.observe(entry, loads, moment);
        let step = self.decide(entry, load.err(), moment);
        match step {
            Step { ref decision, to: Target::Replicas(to) } if to == decision.from => {
                entry.live.journal.write(moment.now, step.decision);
                None
            }
            step => self.retry.is_none_or(|retry| moment.at >= retry).then_some(step),
        }
    }

    /// Sees between two looks whether far more is to be done all at once, and if so, decides.
    pub(super) fn glance(
        &mut self,
        entry: &Entry,
        loads: &Loads,
        moment: &Moment<'_>,
    ) -> Option<Step> {
        if entry.is_asleep() || moment.ignores_load {
            return None;
        }
        self.take_glance(entry, loads, moment.at);
        let (current, floor) = (entry.status.desired, self.floor(entry, moment.now));
        let is_held = self.held.is_some();
        let policy = Policy { scale: &entry.scale, floor, is_held, timing: moment.timing };
        let advice = desired(&policy, &self.window, moment.at, current);
        if advice.replicas <= current || self.retry.is_some_and(|retry| moment.at < retry) {
            return None;
        }
        self.note(&advice, (entry, moment.at));
        Some(by_load(current, &advice, None))
    }

    fn take_glance(&mut self, entry: &Entry, loads: &Loads, at: Duration) {
        let (calls, then) = self.glanced;
        let calls = calls.look(entry, &loads.elsewhere(entry), then.map(|then| at - then));
        self.glanced = (calls, Some(at));
        self.window.glance(loads.glance(entry, &calls));
    }

    /// Takes in what has happened since the last look.
    fn observe(
        &mut self,
        entry: &Entry,
        loads: &Loads,
        moment: &Moment<'_>,
    ) -> Result<f64, String> {
        let at = moment.at;
        let seen = loads.elsewhere(entry);
        self.calls = self.calls.look(entry, &seen, self.looked.map(|looked| at - looked));
        self.looked = Some(at);
        self.held = match seen.silent {
            Some(peer) => Some(format!("gateway {peer} does not tell what it has to do")),
            None if moment.is_quiet => Some("other gateways may have calls".to_owned()),
            None => None,
        };
        if self.calls.begun > 0 || self.calls.in_flight > 0 || self.held.is_some() {
            self.busy = at;
        }
        // Whoever asked for more, it holds until the load says otherwise.
        let (replicas, outside) = (entry.status.desired, entry.live.journal.outside());
        if replicas > self.replicas || outside != self.outside {
            self.window.raised(at);
        }
        (self.replicas, self.outside) = (replicas, outside);
        if entry.is_asleep() {
            self.window.clear();
            return Err("nothing runs".to_owned());
        }
        let load = match moment.ignores_load {
            true => Err("scaling by load is off, see --scale-by-load".to_owned()),
            false => loads.load(entry, &self.calls),
        };
        if !moment.ignores_load {
            self.take_glance(entry, loads, at);
        }
        self.window.push(at, load.as_ref().ok().copied(), moment.timing);
        // Calls that other gateways have.
        let is_calls = matches!(entry.scale.measure, Measure::Rps | Measure::Capacity);
        if is_calls && load.as_ref().is_ok_and(|load| *load > 0.0) {
            self.busy = at;
        }
        load
    }

    fn decide(&mut self, entry: &Entry, unknown: Option<String>, moment: &Moment<'_>) -> Step {
        let (current, floor) = (entry.status.desired, self.floor(entry, moment.now));
        if entry.is_asleep() && floor > 0 {
            return open(entry, floor.max(current));
        }
        if floor == 0 && moment.wakes && self.held.is_none() {
            let idle = moment.at.saturating_sub(self.busy);
            let tier = idle::tier(&entry.scale, idle, &entry.status);
            if let Some(to) = tier.filter(|to| moment.freezes || *to != Target::Frozen) {
                return sleep(current, to);
            }
        }
        if entry.is_asleep() {
            let reason = if current == 0 { Why::Asleep.text() } else { FROZEN };
            return Step::rest(Decision::new(Cause::Idle, current, current, reason));
        }
        let is_held = self.held.is_some();
        let policy = Policy { scale: &entry.scale, floor, is_held, timing: moment.timing };
        let advice = desired(&policy, &self.window, moment.at, current);
        self.note(&advice, (entry, moment.at));
        let unknown = match advice.why {
            Why::NoData => unknown,
            Why::Held => self.held.clone(),
            _ => None,
        };
        by_load(current, &advice, unknown)
    }

    fn note(&mut self, advice: &Advice, (entry, at): (&Entry, Duration)) {
        if advice.panics {
            self.window.panicked(at);
        }
        if advice.rises {
            self.window.rose(at);
        }
        let keep = entry.scale.down_window.unwrap_or_default();
        self.window.note_needed(at, advice.numbers.needed, keep);
    }

    /// The replicas that a schedule keeps now. Expressions are looked at once a minute.
    fn floor(&mut self, entry: &Entry, now: Timestamp) -> u32 {
        if entry.scale.schedule.is_empty() {
            return 0;
        }
        let key = (now.as_second().div_euclid(MINUTE), entry.status.generation);
        match self.floor {
            Some((minute, generation, floor)) if (minute, generation) == key => floor,
            _ => {
                let floor = entry.scale.schedule.floor(now);
                self.floor = Some((key.0, key.1, floor));
                floor
            }
        }
    }
}

/// Why a frozen function stays as it is.
const FROZEN: &str = "frozen: the next call thaws it";

impl Step {
    fn rest(decision: Decision) -> Self {
        Self { to: Target::Replicas(decision.to), decision }
    }
}

/// What a schedule wants of a function that sleeps.
fn open(entry: &Entry, replicas: u32) -> Step {
    let current = entry.status.desired;
    if entry.live.journal.is_stopped_by_hand() {
        let reason = "stopped by hand: a call or a deploy starts it, no schedule";
        return Step::rest(Decision::new(Cause::Schedule, current, current, reason));
    }
    let to = entry.scale.clamp(replicas.max(entry.scale.initial()));
    // Frozen replicas count as wanted, though none takes calls.
    let decision = Decision::new(Cause::Schedule, 0, to, Why::Schedule.text());
    Step { to: Target::Replicas(to), decision }
}

fn sleep(current: u32, to: Target) -> Step {
    let decision = match to {
        Target::Frozen => Decision {
            frozen: true,
            ..Decision::new(Cause::Idle, current, current, "idle for as long as freeze-after says")
        },
        Target::Replicas(to) => {
            Decision::new(Cause::Idle, current, to, "idle for as long as zero-duration says")
        }
    };
    Step { to, decision }
}

fn by_load(current: u32, advice: &Advice, unknown: Option<String>) -> Step {
    let cause = if advice.why == Why::Schedule { Cause::Schedule } else { Cause::Load };
    let mut decision = Decision::new(cause, current, advice.replicas, advice.why.text());
    match (advice.why, unknown) {
        (Why::NoData, Some(unknown)) => {
            decision.reason = format!("{}: {unknown}", advice.why.text()).into();
        }
        (_, Some(unknown)) => decision.reason = format!("less load, but {unknown}").into(),
        _ => (),
    }
    let decision = Decision { numbers: Some(rounded(&advice.numbers)), ..decision };
    Step { to: Target::Replicas(advice.replicas), decision }
}

/// Nobody reads more than thousandths.
fn rounded(numbers: &Numbers) -> Numbers {
    let round = |number: f64| (number * 1000.0).round() / 1000.0;
    let &Numbers { now, recent, stable, per_replica, needed } = numbers;
    Numbers {
        now: now.map(round),
        recent: recent.map(round),
        stable: stable.map(round),
        per_replica: round(per_replica),
        needed,
    }
}
