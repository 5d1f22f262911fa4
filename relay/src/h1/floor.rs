//! The least speed of a request's body.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Alarm;

/// How fast a body must come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyRate {
    /// Bytes per second, on average over `window`.
    pub bytes_per_second: u64,
    /// How much waiting is looked at together. A pause that is shorter does no harm.
    pub window: Duration,
}

/// Measures one body. Only the time counts in which we wait for the client; that of an upstream
/// which takes the body slowly does not.
#[derive(Debug)]
pub(super) struct Floor {
    rate: BodyRate,
    /// Waited in this window, until `since`.
    waited: Duration,
    bytes: u64,
    since: Option<Instant>,
    alarm: Alarm,
}

impl Floor {
    pub(super) fn new(rate: BodyRate) -> Self {
        Self { rate, waited: Duration::ZERO, bytes: 0, since: None, alarm: Alarm::default() }
    }

    /// Some of the body has come.
    pub(super) fn came(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
    }

    /// Nothing has come yet. Ready when that went on for too long.
    pub(super) fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = Instant::now();
            let since = *self.since.get_or_insert(now);
            let end = since + self.rate.window.saturating_sub(self.waited);
            if self.alarm.poll(end, cx).is_pending() {
                return Poll::Pending;
            }
            let wanted = self.rate.bytes_per_second as f64 * self.rate.window.as_secs_f64();
            if (self.bytes as f64) < wanted {
                return Poll::Ready(());
            }
            (self.waited, self.bytes, self.since) = (Duration::ZERO, 0, Some(now));
        }
    }
}
