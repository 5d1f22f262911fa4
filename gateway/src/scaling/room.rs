//! Who may start something now: one function after the other, and not more than fits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::available_parallelism;

use provider::{Error, Name, Result};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

use crate::directory::Directory;

/// Fewest functions that are started at once unless told otherwise: much of a start is waiting.
const LEAST_STARTS: usize = 4;
/// Functions that are started at once for each core.
const STARTS_PER_CORE: usize = 2;

/// Bounds of all functions together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most functions of which replicas are started at the same time.
    pub starts: usize,
    /// Most replicas; `None` is no bound.
    pub replicas: Option<u32>,
}

/// Hands out turns, permits to start, and places for replicas.
pub(super) struct Room {
    directory: Arc<Directory>,
    bounds: Bounds,
    /// First come, first served.
    permits: Arc<Semaphore>,
    turns: Mutex<HashMap<Name, Weak<tokio::sync::Mutex<()>>>>,
    /// What functions were promised that the directory does not show yet.
    promised: Arc<Mutex<HashMap<Name, u32>>>,
}

/// A function's turn and its permit; dropping it lets the next one start.
pub(super) struct Start {
    _turn: OwnedMutexGuard<()>,
    /// The turn is nothing to wait for others with: so the permit comes second.
    _permit: Option<OwnedSemaphorePermit>,
}

/// Places for a function's replicas, kept until the directory shows them.
#[derive(Debug)]
pub struct Places {
    /// How many replicas the function may have.
    pub count: u32,
    name: Name,
    promised: Arc<Mutex<HashMap<Name, u32>>>,
}

impl Default for Bounds {
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, std::num::NonZero::get);
        Self { starts: (STARTS_PER_CORE * cores).max(LEAST_STARTS), replicas: None }
    }
}

impl Room {
    pub(super) fn new(directory: Arc<Directory>, bounds: Bounds) -> Self {
        let permits = Arc::new(Semaphore::new(bounds.starts));
        let (turns, promised) = Default::default();
        Self { directory, bounds, permits, turns, promised }
    }

    /// Waits for the function's turn, then for a permit: a function that is asked for a hundred
    /// times has one place in the line.
    pub(super) async fn start(&self, name: &Name) -> Start {
        let turn = self.turn(name).lock_owned().await;
        // It is never closed.
        let permit = self.permits.clone().acquire_owned().await.ok();
        Start { _turn: turn, _permit: permit }
    }

    fn turn(&self, name: &Name) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = locked(&self.turns);
        if let Some(turn) = turns.get(name).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(name.clone(), Arc::downgrade(&turn));
        turn
    }

    /// Places for up to `wanted` replicas of a function, and not fewer than `least`. What does not
    /// make it larger than it is always has its place.
    pub(super) fn places(&self, name: &Name, wanted: u32, least: u32) -> Result<Places> {
        let mut promised = locked(&self.promised);
        let have = self.directory.find(name).map_or(0, |entry| entry.status.desired);
        let count = match self.bounds.replicas {
            Some(max) if wanted > have => {
                let others = self.others(&promised, name);
                let count = wanted.min(max.saturating_sub(others));
                if count < least.min(wanted) || count <= have {
                    return Err(full(name, wanted, have, (others, max)));
                }
                count
            }
            _ => wanted,
        };
        promised.insert(name.clone(), count);
        Ok(Places { count, name: name.clone(), promised: self.promised.clone() })
    }

    /// How many replicas all other functions have or were promised.
    fn others(&self, promised: &HashMap<Name, u32>, name: &Name) -> u32 {
        let all = self.directory.all();
        let known = all
            .iter()
            .filter(|entry| entry.name != *name)
            .map(|entry| entry.status.desired.max(promised.get(&entry.name).copied().unwrap_or(0)));
        let is_new = |other: &Name| other != name && self.directory.find(other).is_none();
        let new = promised.iter().filter(|(other, _)| is_new(other)).map(|(_, count)| *count);
        known.chain(new).fold(0, u32::saturating_add)
    }
}

fn full(name: &Name, wanted: u32, have: u32, (others, max): (u32, u32)) -> Error {
    Error::Conflict(format!(
        "{name} stays at {have} replicas though {wanted} are wanted: the other functions have \
         {others}, and the gateway's --max-replicas is {max}; raise it, or let others have fewer"
    ))
}

impl Drop for Places {
    fn drop(&mut self) {
        let mut promised = locked(&self.promised);
        // A later step of the same function may have been promised more meanwhile.
        if promised.get(&self.name) == Some(&self.count) {
            promised.remove(&self.name);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use provider::Calls;
    use tokio::task::yield_now;

    use super::*;
    use crate::metrics::Metrics;

    fn room(starts: usize, replicas: Option<u32>) -> Arc<Room> {
        let metrics = Metrics::new().unwrap();
        let directory = Directory::new(Calls::default(), metrics, Duration::from_secs(60));
        Arc::new(Room::new(Arc::new(directory), Bounds { starts, replicas }))
    }

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn places_are_given_away_once() {
        let room = room(1, Some(5));
        let three = room.places(&name("a"), 3, 1).unwrap();
        let two = room.places(&name("b"), 9, 1).unwrap();
        assert_eq!((three.count, two.count), (3, 2));
        let error = room.places(&name("c"), 1, 1).unwrap_err().to_string();
        assert!(error.contains("--max-replicas is 5") && error.contains("have 5"), "{error}");
        drop(two);
        assert!(room.places(&name("c"), 3, 3).is_err(), "all of them or none");
        assert_eq!(room.places(&name("c"), 3, 1).unwrap().count, 2);
        drop(three);
        assert_eq!(room.places(&name("c"), 9, 5).unwrap().count, 5);
    }

    #[test]
    fn the_end_of_one_step_takes_nothing_from_the_next() {
        let room = room(1, Some(5));
        let first = room.places(&name("a"), 2, 1).unwrap();
        let next = room.places(&name("a"), 4, 1).unwrap();
        drop(first);
        assert_eq!(room.places(&name("b"), 9, 1).unwrap().count, 1);
        drop(next);
        assert_eq!(room.places(&name("b"), 9, 1).unwrap().count, 5);
    }

    #[tokio::test]
    async fn a_burst_on_one_function_has_one_place_in_the_line() {
        let room = room(1, None);
        let held = room.start(&name("first")).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for function in ["burst", "burst", "burst", "burst", "small"] {
            let (room, order) = (room.clone(), order.clone());
            waiting.push(tokio::spawn(async move {
                let _start = room.start(&name(function)).await;
                order.lock().unwrap().push(function);
            }));
            yield_now().await;
        }
        drop(held);
        for start in waiting {
            start.await.unwrap();
        }
        assert_eq!(order.lock().unwrap()[..2], ["burst", "small"]);
    }
}
