//! The last decisions about one function's replicas, with the numbers that made them.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

/// Decisions that are kept of each function.
const MAX_KEPT: usize = 20;

/// Why the number of replicas changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// What made it necessary.
    pub cause: Cause,
    /// How many replicas were wanted before.
    pub from: u32,
    /// How many are wanted from then on.
    pub to: u32,
    /// Whether they are to be frozen.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub frozen: bool,
    /// Why, in words for a person; the same for the same kind of decision, so without numbers.
    pub reason: Cow<'static, str>,
    /// The numbers that it was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numbers: Option<Numbers>,
    /// Why nothing came of it; empty when it was done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub refused: String,
}

/// What a decision by load was made from, in the unit of the function's measure.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
}

/// The last decisions. The same one again takes no more room.
#[derive(Default)]
pub struct Journal(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    records: VecDeque<Record>,
    /// How often somebody else than the autoscaler has decided.
    outside: u64,
}

impl Decision {
    /// One without numbers, about which nothing is wrong.
    pub fn new(cause: Cause, from: u32, to: u32, reason: impl Into<Cow<'static, str>>) -> Self {
        let (frozen, numbers, refused) = Default::default();
        Self { cause, from, to, frozen, reason: reason.into(), numbers, refused }
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
        if matches!(what.cause, Cause::Manual | Cause::Alert) && what.refused.is_empty() {
            kept.outside += 1;
        }
        if let Some(last) = kept.records.back_mut().filter(|last| last.what.is_like(&what)) {
            (last.last, last.count, last.what) = (at, last.count + 1, what);
            return;
        }
        // Of the times at which nothing was to change the last one is enough: the reasons may go
        // back and forth, and would drive out the changes.
        if what.is_rest() {
            kept.records.pop_back_if(|last| last.what.is_rest());
        }
        if kept.records.len() == MAX_KEPT {
            kept.records.pop_front();
        }
        kept.records.push_back(Record { first: at, last: at, count: 1, what });
    }

    /// All that are kept, the newest first.
    pub fn read(&self) -> Vec<Record> {
        self.lock().records.iter().rev().cloned().collect()
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
