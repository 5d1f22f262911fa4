//! The last decisions about one function's replicas, with the numbers that made them.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Decisions that are kept of each function.
const MAX_KEPT: usize = 20;

/// Why the number of replicas changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// Somebody asked for it.
    Manual,
    /// An alert came.
    Alert,
    /// So much is to be done.
    Load,
    /// It is that time of the day.
    Schedule,
    /// Nothing is to be done.
    Idle,
    /// A call came, and nothing runs.
    Call,
}

impl Cause {
    /// Its name in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Alert => "alert",
            Self::Load => "load",
            Self::Schedule => "schedule",
            Self::Idle => "idle",
            Self::Call => "call",
        }
    }
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// What made it necessary.
    pub cause: Cause,
    /// How many replicas were wanted before.
    pub from: u32,
    /// How many are wanted from then on.
    pub to: u32,
    /// Whether they are to be frozen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub frozen: bool,
    /// Why, in words for a person; the same for the same kind of decision, so without numbers.
    pub reason: Cow<'static, str>,
    /// The numbers that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numbers: Option<Numbers>,
    /// Why nothing came of it; empty when it was done.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub refused: String,
}

/// What a decision by load was made from, in the unit of the function's measure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Numbers {
    /// The load of the last two seconds.
    pub now: Option<f64>,
    /// The mean of the panic window.
    pub recent: Option<f64>,
    /// The mean of the stable window.
    pub stable: Option<f64>,
    /// The load that one replica is meant for: the target times its proportion.
    pub per_replica: f64,
    /// The replicas that this load needs, before bounds and limits.
    pub needed: u32,
}

/// A decision, and how often it was made in a row.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// When it was made first.
    pub first: Timestamp,
    /// When it was made last.
    pub last: Timestamp,
    /// How often it was made.
    pub count: u64,
    /// What was decided; its numbers are those of the last time.
    #[serde(rename = "decision")]
    pub what: Decision,
    /// How many decisions had been made here by then; 0 when it was made by another gateway.
    #[serde(skip)]
    number: u64,
}

/// The last decisions. The same one again takes no more room.
#[derive(Default)]
pub struct Journal(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    records: VecDeque<Record>,
    /// How many decisions were made here.
    made: u64,
    /// How often somebody else than the autoscaler has decided.
    outside: u64,
    /// How many decisions there were, by what made them necessary and what came of them.
    counts: BTreeMap<(&'static str, &'static str), u64>,
}

impl Decision {
    /// One without numbers, about which nothing is wrong.
    pub fn new(cause: Cause, from: u32, to: u32, reason: impl Into<Cow<'static, str>>) -> Self {
        let (frozen, numbers, refused) = Default::default();
        Self { cause, from, to, frozen, reason: reason.into(), numbers, refused }
    }

    /// Whether somebody else than the autoscaler or a call has changed something.
    fn is_outside(&self) -> bool {
        matches!(self.cause, Cause::Manual | Cause::Alert) && self.refused.is_empty()
    }

    /// Whether nothing was to change.
    fn is_rest(&self) -> bool {
        self.from == self.to && !self.frozen && self.refused.is_empty()
    }

    /// Whether it is the same again, whatever its numbers.
    fn is_like(&self, other: &Self) -> bool {
        let key = |d: &Self| (d.cause, d.from, d.to, d.frozen);
        key(self) == key(other) && self.reason == other.reason && self.refused == other.refused
    }
}

impl Journal {
    /// Writes a decision down.
    pub fn write(&self, at: Timestamp, what: Decision) {
        let mut kept = self.lock();
        let outcome = if what.refused.is_empty() { "decided" } else { "refused" };
        *kept.counts.entry((what.cause.label(), outcome)).or_default() += 1;
        kept.outside += u64::from(what.is_outside());
        kept.made += 1;
        let number = kept.made;
        if let Some(last) = kept.records.back_mut().filter(|last| last.what.is_like(&what)) {
            (last.last, last.count, last.what) = (at, last.count + 1, what);
            last.number = number;
            return;
        }
        // Of the times at which nothing was to change the last one is enough: the reasons may go
        // back and forth, and would drive out the changes.
        if what.is_rest() && kept.records.back().is_some_and(|last| last.what.is_rest()) {
            kept.records.pop_back();
        }
        if kept.records.len() == MAX_KEPT {
            kept.records.pop_front();
        }
        kept.records.push_back(Record { first: at, last: at, count: 1, what, number });
    }

    /// Writes down what another gateway has decided, where it belongs by its time. What is known
    /// already is left out.
    pub fn hear(&self, at: Timestamp, what: Decision) {
        let mut kept = self.lock();
        let is_known = |known: &Record| known.last == at && known.what.is_like(&what);
        if kept.records.iter().any(is_known) {
            return;
        }
        kept.outside += u64::from(what.is_outside());
        let place = kept.records.partition_point(|known| known.last <= at);
        let heard = Record { first: at, last: at, count: 1, what, number: 0 };
        kept.records.insert(place, heard);
        if kept.records.len() > MAX_KEPT {
            kept.records.pop_front();
        }
    }

    /// What was decided here since so many decisions, but for what only the one that leads decides;
    /// and how many there have been.
    pub fn made_since(&self, number: u64) -> (u64, Vec<Record>) {
        let kept = self.lock();
        let is_told = |record: &&Record| {
            let cause = record.what.cause;
            record.number > number && matches!(cause, Cause::Manual | Cause::Alert | Cause::Call)
        };
        (kept.made, kept.records.iter().filter(is_told).cloned().collect())
    }

    /// All that are kept, the newest first.
    pub fn read(&self) -> Vec<Record> {
        self.lock().records.iter().rev().cloned().collect()
    }

    /// How many decisions there were, by cause and outcome (`decided`, `refused`).
    pub fn counts(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        self.lock().counts.clone()
    }

    /// How often somebody else than the autoscaler has decided: by hand, or by an alert.
    pub fn outside(&self) -> u64 {
        self.lock().outside
    }

    /// Whether the last change that was made was to zero, by hand.
    pub fn is_stopped_by_hand(&self) -> bool {
        let kept = self.lock();
        let mut changes = kept.records.iter().rev().map(|record| &record.what);
        let last = changes.find(|what| what.from != what.to && what.refused.is_empty());
        last.is_some_and(|what| what.cause == Cause::Manual && what.to == 0)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn load(from: u32, to: u32, now: f64) -> Decision {
        let numbers =
            Numbers { now: Some(now), recent: None, stable: None, per_replica: 45.0, needed: to };
        Decision { numbers: Some(numbers), ..Decision::new(Cause::Load, from, to, "load") }
    }

    #[test]
    fn the_same_again_is_counted_and_its_numbers_are_the_last() {
        let journal = Journal::default();
        for second in 0..5 {
            journal.write(at(second), load(1, 1, second as f64));
        }
        journal.write(at(5), load(1, 2, 80.0));
        let records = journal.read();
        assert_eq!(records.len(), 2);
        let first = &records[1];
        assert_eq!((first.count, first.first, first.last), (5, at(0), at(4)));
        assert_eq!(first.what.numbers.as_ref().unwrap().now, Some(4.0));
        journal.write(at(6), Decision { refused: "no room".to_owned(), ..load(1, 2, 80.0) });
        assert_eq!(journal.read().len(), 3, "one that was refused is another one");
    }

    #[test]
    fn changes_are_not_driven_out_by_rest() {
        let journal = Journal::default();
        journal.write(at(0), load(1, 3, 80.0));
        for second in 1..100 {
            let reason = if second % 2 == 0 { "enough" } else { "held" };
            journal.write(at(second), Decision::new(Cause::Load, 3, 3, reason));
        }
        let records = journal.read();
        assert_eq!((records.len(), records[0].last, records[1].what.to), (2, at(99), 3));
    }

    #[test]
    fn the_oldest_go_first() {
        let journal = Journal::default();
        for to in 1..=30 {
            journal.write(at(0), load(0, to, 1.0));
        }
        let records = journal.read();
        assert_eq!((records.len(), records[0].what.to, records[19].what.to), (MAX_KEPT, 30, 11));
    }

    #[test]
    fn who_was_stopped_by_hand_is_known_until_something_else_happens() {
        let journal = Journal::default();
        assert!(!journal.is_stopped_by_hand());
        journal.write(at(0), Decision::new(Cause::Manual, 3, 0, "scaled"));
        journal.write(at(1), Decision::new(Cause::Schedule, 0, 0, "stopped by hand"));
        let refused = Decision::new(Cause::Call, 0, 1, "a call came");
        journal.write(at(2), Decision { refused: "no image".to_owned(), ..refused.clone() });
        assert!(journal.is_stopped_by_hand());
        journal.write(at(3), refused);
        assert!(!journal.is_stopped_by_hand());
        assert_eq!(journal.outside(), 1);
        let counts = journal.counts();
        let of = |cause, outcome| counts.get(&(cause, outcome)).copied();
        assert_eq!((of("call", "refused"), of("call", "decided")), (Some(1), Some(1)));
        assert_eq!((of("manual", "decided"), of("load", "decided")), (Some(1), None));
    }

    #[test]
    fn what_other_gateways_decide_is_heard_once_in_its_place_and_not_passed_on() {
        let journal = Journal::default();
        journal.write(at(5), Decision::new(Cause::Call, 0, 1, "a call came"));
        let by_hand = Decision::new(Cause::Manual, 3, 0, "asked for by hand");
        for _ in 0..2 {
            journal.hear(at(3), by_hand.clone());
        }
        assert_eq!((journal.read().len(), journal.outside()), (2, 1));
        assert!(!journal.is_stopped_by_hand(), "a call came later");
        journal.hear(at(7), by_hand);
        assert!(journal.is_stopped_by_hand());
        journal.write(at(8), load(0, 1, 2.0));
        let (made, told) = journal.made_since(0);
        assert_eq!((made, told.len(), told[0].what.cause), (2, 1, Cause::Call));
        assert!(journal.made_since(made).1.is_empty());
        (10..60).for_each(|second| journal.hear(at(second), load(0, second as u32, 2.0)));
        assert_eq!(journal.read().len(), MAX_KEPT);
    }

    #[test]
    fn it_is_readable_as_json() {
        let journal = Journal::default();
        journal.write(at(0), Decision { frozen: true, ..Decision::new(Cause::Idle, 1, 1, "idle") });
        journal.write(at(1), load(1, 2, 80.5));
        let json = serde_json::to_value(journal.read()).unwrap();
        assert_eq!(json[0]["decision"]["numbers"]["perReplica"], 45.0);
        assert_eq!(json[0]["decision"]["cause"], "load");
        assert_eq!(json[1]["first"], "1970-01-01T00:00:00Z");
        assert_eq!(json[1]["decision"]["frozen"], true);
    }
}
