//! What all other gateways together have to do. Time is what the caller says.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::letter::{Counts, Letter};

/// Most other gateways.
const MAX_PEERS: usize = 100;
/// After so long without a letter it is not known what a gateway has to do.
const SILENT: Duration = Duration::from_secs(5);
/// After so long without a letter a gateway is taken for gone, and its calls with it.
const GONE: Duration = Duration::from_secs(120);

/// The letters of other gateways, summed up.
#[derive(Default)]
pub struct Tally(Mutex<Book>);

#[derive(Default)]
struct Book {
    peers: BTreeMap<String, Peer>,
    /// Calls that have begun elsewhere, by function, since this one listens: it only grows.
    begun: HashMap<Box<str>, u64>,
}

/// One other gateway.
struct Peer {
    /// When its last letter came.
    heard: Instant,
    told: HashMap<Box<str>, Told>,
}

/// What it has told of one function last.
struct Told {
    started: u64,
    in_flight: u64,
    per_second: f64,
}

/// Why a letter was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing is known of its sender: it is to begin with a first one.
    Stranger,
    /// There are too many gateways.
    Crowd,
}

/// What other gateways have to do with one function.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Calls that have begun there since this gateway listens.
    pub begun: u64,
    /// Calls that begin there in a second.
    pub per_second: f64,
    /// Calls in flight there.
    pub in_flight: u64,
    /// A gateway that served it and does not tell any more what it has to do.
    pub silent: Option<String>,
}

/// How many other gateways there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// Those that tell what they have to do.
    pub heard: usize,
    /// Those that did, and are not taken for gone yet.
    pub silent: usize,
}

impl Tally {
    /// Takes in a letter.
    pub fn take_in(&self, peer: &str, letter: &Letter, now: Instant) -> Result<(), Refusal> {
        let mut book = self.book(now);
        if !book.peers.contains_key(peer) {
            let room = book.peers.len() < MAX_PEERS;
            match (letter.is_first, room) {
                (false, _) => return Err(Refusal::Stranger),
                (true, false) => return Err(Refusal::Crowd),
                (true, true) => (),
            }
            let peer = peer.to_owned();
            book.peers.insert(peer, Peer { heard: now, told: HashMap::new() });
        }
        let Book { peers, begun } = &mut *book;
        if let Some(peer) = peers.get_mut(peer) {
            peer.take_in(letter, begun, now);
        }
        Ok(())
    }

    /// A gateway has ended, and all its calls have.
    pub fn goodbye(&self, peer: &str) {
        self.lock().peers.remove(peer);
    }

    /// What is to be done elsewhere with a function.
    pub fn seen(&self, function: &str, now: Instant) -> Seen {
        let book = self.book(now);
        let begun = book.begun.get(function).copied().unwrap_or_default();
        let mut seen = Seen { begun, ..Seen::default() };
        for (name, peer) in &book.peers {
            let Some(told) = peer.told.get(function) else { continue };
            seen.in_flight = seen.in_flight.saturating_add(told.in_flight);
            seen.per_second += told.per_second;
            if peer.is_silent(now) {
                seen.silent.get_or_insert_with(|| name.clone());
            }
        }
        seen
    }

    /// How many other gateways there are.
    pub fn peers(&self, now: Instant) -> Peers {
        let book = self.book(now);
        let silent = book.peers.values().filter(|peer| peer.is_silent(now)).count();
        Peers { heard: book.peers.len() - silent, silent }
    }

    /// Forgets functions that are not there any more.
    pub fn keep(&self, is_there: impl Fn(&str) -> bool) {
        let mut book = self.lock();
        book.begun.retain(|function, _| is_there(function));
        for peer in book.peers.values_mut() {
            peer.told.retain(|function, _| is_there(function));
        }
    }

    /// Forgets everything: who leads anew has not heard what the others told meanwhile.
    pub fn clear(&self) {
        *self.lock() = Book::default();
    }

    /// The book without who is gone.
    fn book(&self, now: Instant) -> MutexGuard<'_, Book> {
        let mut book = self.lock();
        book.peers.retain(|_, peer| now.saturating_duration_since(peer.heard) < GONE);
        book
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    fn take_in(&mut self, letter: &Letter, begun: &mut HashMap<Box<str>, u64>, now: Instant) {
        let elapsed = now.saturating_duration_since(self.heard).as_secs_f64();
        self.heard = now;
        for (function, told) in &mut self.told {
            if !letter.functions.contains_key(&**function) {
                (told.in_flight, told.per_second) = (0, 0.0);
            }
        }
        for (function, counts) in &letter.functions {
            let before = self.told.get(&**function).map(|told| told.started);
            let new = match before {
                // It was removed and deployed again.
                Some(before) if counts.started < before => counts.started,
                Some(before) => counts.started - before,
                None if letter.is_first => 0,
                None => counts.started,
            };
            let per_second = if elapsed > 0.0 { new as f64 / elapsed } else { 0.0 };
            let &Counts { started, in_flight, .. } = counts;
            self.told.insert(function.as_str().into(), Told { started, in_flight, per_second });
            *begun.entry(function.as_str().into()).or_default() += new;
        }
    }

    fn is_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) > SILENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn letter(is_first: bool, functions: &[(&str, u64, u64)]) -> Letter {
        let counts = |&(name, started, in_flight): &(&str, u64, u64)| {
            (name.to_owned(), Counts { started, in_flight, notes: Vec::new() })
        };
        Letter { is_first, functions: functions.iter().map(counts).collect() }
    }

    fn seen(begun: u64, per_second: f64, in_flight: u64) -> Seen {
        Seen { begun, per_second, in_flight, silent: None }
    }

    #[test]
    fn what_was_before_the_first_letter_is_not_counted_as_new() {
        let (tally, now) = (Tally::default(), Instant::now());
        tally.take_in("a", &letter(true, &[("f", 1000, 3)]), now).unwrap();
        assert_eq!(tally.seen("f", now), seen(0, 0.0, 3));
        // Whatever was left out of the first one, for it would have been too long.
        tally.take_in("a", &letter(true, &[("f", 1001, 1), ("g", 500, 1)]), now + SECOND).unwrap();
        assert_eq!(tally.seen("g", now + SECOND), seen(0, 0.0, 1));
        let later = now + 3 * SECOND;
        tally.take_in("a", &letter(false, &[("f", 1021, 0), ("new", 4, 4)]), later).unwrap();
        assert_eq!(tally.seen("f", later), seen(21, 10.0, 0), "one letter was lost, no call");
        assert_eq!(tally.seen("new", later), seen(4, 2.0, 4));
        assert_eq!(tally.seen("g", later), seen(0, 0.0, 0), "it was left out: nothing goes on");
    }

    #[test]
    fn gateways_are_summed_up_and_who_leaves_takes_nothing_back() {
        let (tally, now) = (Tally::default(), Instant::now());
        for (peer, started) in [("a", 10), ("b", 20)] {
            tally.take_in(peer, &letter(true, &[]), now).unwrap();
            let second = letter(false, &[("f", started, 2)]);
            tally.take_in(peer, &second, now + SECOND).unwrap();
        }
        let now = now + SECOND;
        assert_eq!(tally.seen("f", now), seen(30, 30.0, 4));
        assert_eq!(tally.peers(now), Peers { heard: 2, silent: 0 });
        tally.goodbye("b");
        assert_eq!(tally.seen("f", now), seen(30, 10.0, 2));
        tally.take_in("a", &letter(false, &[("f", 3, 0)]), now + SECOND).unwrap();
        assert_eq!(tally.seen("f", now + SECOND).begun, 33, "it was deployed anew there");
    }

    #[test]
    fn who_is_silent_is_not_known_and_then_gone() {
        let (tally, now) = (Tally::default(), Instant::now());
        let (late, over) = (now + SILENT + SECOND, now + GONE);
        tally.take_in("a", &letter(true, &[("f", 7, 2)]), now).unwrap();
        assert_eq!(tally.seen("f", now + SILENT).silent, None);
        assert_eq!(tally.seen("f", late).silent.as_deref(), Some("a"));
        assert_eq!(tally.seen("f", late).in_flight, 2, "as far as is known");
        assert_eq!(tally.seen("g", late).silent, None, "it has not served that");
        assert_eq!(tally.peers(late), Peers { heard: 0, silent: 1 });
        assert_eq!(tally.seen("f", over), Seen::default());
        assert_eq!(tally.peers(over), Peers::default());
        let again = tally.take_in("a", &letter(false, &[("f", 9, 0)]), over);
        assert_eq!(again, Err(Refusal::Stranger));
    }

    #[test]
    fn there_is_an_end_to_gateways_and_to_functions() {
        let (tally, now) = (Tally::default(), Instant::now());
        for peer in 0..MAX_PEERS {
            tally.take_in(&peer.to_string(), &letter(true, &[("f", 1, 1)]), now).unwrap();
        }
        assert_eq!(tally.take_in("x", &letter(true, &[]), now), Err(Refusal::Crowd));
        assert_eq!(tally.seen("f", now).in_flight, MAX_PEERS as u64);
        tally.keep(|function| function != "f");
        assert_eq!(tally.seen("f", now), Seen::default());
        tally.clear();
        tally.take_in("x", &letter(true, &[]), now).unwrap();
    }
}
