//! Coarse timers of one thread.
//!
//! Nearly every timer here is a limit that is never reached. So they share one real timer, which
//! is set for the earliest of them when it was last looked at: setting and clearing one is
//! writing down a number.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;
use tokio::task::spawn_local;
use tokio::time::{Instant, Sleep, sleep_until};

/// How late an alarm may be.
const TICK: Duration = Duration::from_millis(5);

thread_local! {
    static CLOCK: Clock = Clock::default();
}

/// The alarms of a thread.
#[derive(Default)]
struct Clock {
    alarms: RefCell<Slab<Entry>>,
    /// When the ticker looks at the alarms next; `None` when it was not told of any.
    next: Cell<Option<Instant>>,
    ticker: RefCell<Option<Waker>>,
    ticking: Cell<bool>,
}

struct Entry {
    at: Instant,
    waker: Waker,
    /// Whether the time has come and the task was told so.
    rung: bool,
}

/// Something that may have to happen at some time. Dropping it clears it.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<usize>);

impl Alarm {
    /// Ready when `at` has passed and the task was woken for it, which is done at that time, or a
    /// little later. Another time takes the place of an earlier one. What time it is now is not
    /// looked at here, as that costs more than all the rest.
    pub(crate) fn poll(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let rung = CLOCK.with(|clock| clock.set(&mut self.0, at, cx.waker()));
        if !rung {
            return Poll::Pending;
        }
        self.clear();
        Poll::Ready(())
    }

    /// Wakes nobody.
    pub(crate) fn clear(&mut self) {
        if let Some(key) = self.0.take() {
            // At a thread's end there may be no clock any more.
            let _ = CLOCK.try_with(|clock| clock.alarms.borrow_mut().try_remove(key));
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Clock {
    /// Sets an alarm, unless it has rung for that time already.
    fn set(&self, key: &mut Option<usize>, at: Instant, waker: &Waker) -> bool {
        let mut alarms = self.alarms.borrow_mut();
        match key.and_then(|key| alarms.get_mut(key)) {
            Some(entry) if entry.rung && entry.at == at => return true,
            Some(entry) => {
                (entry.at, entry.rung) = (at, false);
                entry.waker.clone_from(waker);
            }
            None => {
                let waker = waker.clone();
                *key = Some(alarms.insert(Entry { at, waker, rung: false }));
            }
        }
        drop(alarms);
        if self.next.get().is_none_or(|next| at < next) {
            self.next.set(Some(at));
            self.tick();
        }
        false
    }

    /// Makes the ticker look at `next`.
    fn tick(&self) {
        if !self.ticking.replace(true) {
            spawn_local(Ticker::run());
        } else if let Some(ticker) = self.ticker.borrow_mut().take() {
            ticker.wake();
        }
    }

    /// Wakes whoever is due and finds out who is next.
    fn ring(&self) {
        let now = Instant::now();
        let mut alarms = self.alarms.borrow_mut();
        let mut next = None::<Instant>;
        for (_, entry) in alarms.iter_mut().filter(|(_, entry)| !entry.rung) {
            if entry.at <= now {
                entry.rung = true;
                entry.waker.wake_by_ref();
            } else {
                next = Some(next.map_or(entry.at, |next| next.min(entry.at)));
            }
        }
        self.next.set(next.map(|next| next.max(now + TICK)));
    }
}

/// The task behind the alarms. The clock learns when it is gone, which it is when its runtime is.
struct Ticker;

impl Ticker {
    async fn run() {
        let ticker = Self;
        let mut timer: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|cx| CLOCK.with(|clock| ticker.poll(clock, &mut timer, cx))).await;
    }

    fn poll(
        &self,
        clock: &Clock,
        timer: &mut Option<Pin<Box<Sleep>>>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        *clock.ticker.borrow_mut() = Some(cx.waker().clone());
        while let Some(next) = clock.next.get() {
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(next)));
            if timer.deadline() != next {
                timer.as_mut().reset(next);
            }
            std::task::ready!(timer.as_mut().poll(cx));
            clock.ring();
        }
        Poll::Pending
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        let _ = CLOCK.try_with(|clock| {
            clock.ticking.set(false);
            clock.next.set(None);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::threads::local_runtime;

    async fn rung(after: Duration) {
        let at = Instant::now() + after;
        let mut alarm = Alarm::default();
        poll_fn(|cx| alarm.poll(at, cx)).await;
        assert!(Instant::now() >= at);
    }

    #[test]
    fn alarms_ring_in_any_order_and_after_their_runtime() {
        for _ in 0..2 {
            local_runtime().expect("a runtime").block_on(async {
                let late = spawn_local(rung(Duration::from_millis(60)));
                rung(Duration::from_millis(30)).await;
                rung(Duration::from_millis(1)).await;
                late.await.expect("no panic");
            });
            CLOCK.with(|clock| assert!(clock.alarms.borrow().is_empty()));
        }
    }

    #[test]
    fn a_later_time_takes_the_place_of_an_earlier_one() {
        local_runtime().expect("a runtime").block_on(async {
            let start = Instant::now();
            let mut alarm = Alarm::default();
            let early = start + Duration::from_millis(10);
            let polled = poll_fn(|cx| Poll::Ready(alarm.poll(early, cx))).await;
            assert!(polled.is_pending());
            poll_fn(|cx| alarm.poll(start + Duration::from_millis(50), cx)).await;
            assert!(start.elapsed() >= Duration::from_millis(50));
            // What has passed already is told, too, but not before others had their turn.
            poll_fn(|cx| alarm.poll(start, cx)).await;
        });
    }
}
