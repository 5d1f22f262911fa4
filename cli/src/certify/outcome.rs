//! What became of calls: each one, and all of a step together.

use std::fmt;
use std::time::{Duration, Instant};

use super::call::Call;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection could be made.
    #[error("no connection: {0}")]
    Refused(String),
    /// The connection broke before an answer began.
    #[error("broken off without an answer: {0}")]
    Reset(String),
    /// The answer was no success.
    #[error("status {0}: {1}")]
    Status(u16, String),
    /// The answer began and did not end.
    #[error("answer cut off: {0}")]
    Truncated(String),
    /// The answer is complete, and is not what was asked for.
    #[error("wrong answer: {0}")]
    Wrong(String),
    /// It took longer than any call may.
    #[error("no end in time")]
    Timeout,
    /// It was not made: too many calls had not ended yet.
    #[error("not made: {0} calls before it have not ended")]
    Stalled(usize),
}

/// What became of one call.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which call, from 0 on.
    pub number: u64,
    /// The step in which it was made, from 0 on.
    pub step: usize,
    /// The call.
    pub call: Call,
    /// When it was to be made.
    pub planned: Instant,
    /// When it was made.
    pub sent: Instant,
    /// When it ended.
    pub ended: Instant,
    /// Whether an answer began.
    pub answered: bool,
    /// The replica that answered, where the function tells.
    pub replica: Option<String>,
    /// Why it failed; `None` when it did not.
    pub failure: Option<Failure>,
}

/// A part of the time under load, in which one thing changes.
#[derive(Clone, Debug)]
pub struct Step {
    /// What changes.
    pub name: String,
    /// When it began.
    pub began: Instant,
}

/// All that became of a load.
#[derive(Debug)]
pub struct Report {
    /// The steps in their order; there is one at least.
    pub steps: Vec<Step>,
    /// The calls in the order in which they ended.
    pub outcomes: Vec<Outcome>,
}

/// The figures of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Calls that were made in it.
    pub calls: usize,
    /// Those that failed.
    pub failures: usize,
    /// Half of the calls took no longer than this, from the time at which they were to be made.
    pub p50: Duration,
    /// 99 of 100.
    pub p99: Duration,
    /// All.
    pub max: Duration,
}

impl Outcome {
    /// How long it took, from the time at which it was to be made.
    pub fn took(&self) -> Duration {
        self.ended.saturating_duration_since(self.planned)
    }

    /// Whether whoever relays it may send it a second time after its replica died: nothing of the
    /// answer was passed on, and doing it twice does no more than doing it once.
    pub fn could_be_sent_again(&self) -> bool {
        let began = matches!(self.failure, Some(Failure::Truncated(_) | Failure::Wrong(_)));
        self.call.is_idempotent() && !began
    }

    /// How late it was made.
    pub fn late(&self) -> Duration {
        self.sent.saturating_duration_since(self.planned)
    }
}

impl Report {
    /// Calls that failed, in the order of their numbers.
    pub fn failures(&self) -> Vec<&Outcome> {
        let mut failed: Vec<_> = self.outcomes.iter().filter(|o| o.failure.is_some()).collect();
        failed.sort_by_key(|outcome| outcome.number);
        failed
    }

    /// The figures of a step.
    pub fn figures(&self, step: usize) -> Figures {
        let of_step = || self.outcomes.iter().filter(|outcome| outcome.step == step);
        let mut took: Vec<Duration> = of_step().map(Outcome::took).collect();
        took.sort_unstable();
        let failures = of_step().filter(|outcome| outcome.failure.is_some()).count();
        let (p50, p99, max) =
            (percentile(&took, 50), percentile(&took, 99), percentile(&took, 100));
        Figures { calls: took.len(), failures, p50, p99, max }
    }

    /// How late the latest call was made: this program's own trouble, not the gateway's.
    pub fn late(&self) -> Duration {
        self.outcomes.iter().map(Outcome::late).max().unwrap_or_default()
    }

    /// A line on a call: its number, its step, since when, what it was, and what happened.
    pub fn line<'a>(&'a self, outcome: &'a Outcome) -> Line<'a> {
        Line { report: self, outcome }
    }
}

/// See [`Report::line`].
#[derive(Debug)]
pub struct Line<'a> {
    report: &'a Report,
    outcome: &'a Outcome,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (steps, outcome) = (&self.report.steps, self.outcome);
        let step = &steps[outcome.step];
        let since = outcome.sent.saturating_duration_since(step.began).as_secs_f64();
        let took = outcome.ended.saturating_duration_since(outcome.sent).as_secs_f64();
        let (number, name, call) = (outcome.number, &step.name, outcome.call.title());
        write!(f, "call {number}, {name} +{since:.3} s, {call}, after {took:.3} s: ")?;
        match &outcome.failure {
            Some(failure) => write!(f, "{failure}")?,
            None => f.write_str("answered")?,
        }
        let last = steps.iter().rposition(|step| step.began <= outcome.ended).unwrap_or_default();
        if last > outcome.step {
            write!(f, " (during {})", steps[last].name)?;
        }
        Ok(())
    }
}

/// The smallest of the sorted values that so many of a hundred do not exceed; 0 when there is none.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certify::Expect;

    fn outcome(number: u64, (step, begin): (usize, Instant), failure: Option<Failure>) -> Outcome {
        let call = Call::get("/f".to_owned(), Expect::Complete);
        let sent = begin + Duration::from_millis(10);
        let ended = sent + Duration::from_millis(number);
        let (planned, answered, replica) = (begin, true, None);
        Outcome { number, step, call, planned, sent, ended, answered, replica, failure }
    }

    #[test]
    fn percentiles() {
        let all: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&all, 50), Duration::from_millis(100));
        assert_eq!(percentile(&all, 99), Duration::from_millis(198));
        assert_eq!(percentile(&all, 100), Duration::from_millis(200));
        assert_eq!(percentile(&all[..1], 1), Duration::from_millis(1));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }

    #[test]
    fn a_step_has_its_own_figures_and_a_failure_its_line() {
        let began = Instant::now();
        let second = began + Duration::from_millis(500);
        let step = |name: &str, began| Step { name: name.to_owned(), began };
        let broken = Failure::Status(502, "no".to_owned());
        let report = Report {
            steps: vec![step("steady", began), step("update", second)],
            outcomes: vec![
                outcome(700, (0, began), Some(broken.clone())),
                outcome(2, (0, began), None),
                outcome(3, (1, second), Some(broken)),
            ],
        };
        let figures = report.figures(0);
        assert_eq!((figures.calls, figures.failures), (2, 1));
        assert_eq!(figures.p50, Duration::from_millis(12), "from when it was to be made");
        assert_eq!(figures.max, Duration::from_millis(710));
        assert_eq!(report.late(), Duration::from_millis(10));
        let lines: Vec<_> = report.failures().iter().map(|o| report.line(o).to_string()).collect();
        assert_eq!(
            lines,
            [
                "call 3, update +0.010 s, GET /f, after 0.003 s: status 502: no",
                "call 700, steady +0.010 s, GET /f, after 0.700 s: status 502: no (during update)"
            ]
        );
    }
}
