//! How many calls run at a time.

use std::cell::Cell;
use std::rc::Rc;

/// Counts calls in flight and says when there are enough.
#[derive(Debug)]
pub struct Limiter {
    max: usize,
    in_flight: Rc<Cell<usize>>,
}

/// A call in flight; it is over when this is dropped.
#[derive(Debug)]
pub struct Slot(Rc<Cell<usize>>);

impl Limiter {
    /// At most `max` calls; 0 is no limit.
    pub fn new(max: usize) -> Self {
        Self { max, in_flight: Rc::default() }
    }

    /// A place for one more call, if there is one.
    pub fn acquire(&self) -> Option<Slot> {
        if self.is_full() {
            return None;
        }
        self.in_flight.set(self.in_flight.get() + 1);
        Some(Slot(Rc::clone(&self.in_flight)))
    }

    /// Whether there is no place for one more.
    pub fn is_full(&self) -> bool {
        self.max > 0 && self.in_flight.get() >= self.max
    }

    /// The limit; 0 is none.
    pub fn max(&self) -> usize {
        self.max
    }

    /// Calls in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.get()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_allowed_and_again_when_one_is_over() {
        let limiter = Limiter::new(2);
        let first = limiter.acquire();
        let second = limiter.acquire();
        assert!(first.is_some() && second.is_some() && limiter.acquire().is_none());
        drop(first);
        assert!(!limiter.is_full() && limiter.acquire().is_some());
    }

    #[test]
    fn zero_is_no_limit() {
        let limiter = Limiter::new(0);
        let slots: Vec<_> = (0..100).map(|_| limiter.acquire()).collect();
        assert!(slots.iter().all(Option::is_some));
        assert_eq!(limiter.in_flight(), 100);
    }
}
