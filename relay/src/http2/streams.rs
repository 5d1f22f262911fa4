//! The streams of one connection: counted, timed, and cut when they hang.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::body::Body;
use crate::error::BodyError;

/// A request that its client takes back sooner than this after it was sent is suspicious.
const HASTY: Duration = Duration::from_secs(1);
/// So many of them, and at least half of all, are an attack: each makes work and is not waited for.
const MAX_HASTY: u64 = 200;

/// What the streams of a connection share.
#[derive(Default)]
pub(super) struct Streams {
    open: Cell<usize>,
    all: Cell<u64>,
    hasty: Cell<u64>,
    idle_since: Cell<Option<Instant>>,
    /// Told when the client abuses the connection.
    pub(super) abused: Notify,
}

impl Streams {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self { idle_since: Cell::new(Some(Instant::now())), ..Self::default() })
    }

    /// When the last stream ended; `None` while there are any.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.idle_since.get()
    }

    /// Begins a stream, whose reader may stall for `stall` at the most.
    pub(super) fn begin(self: &Rc<Self>, stall: Duration) -> (Stream, Rc<Progress>) {
        self.open.set(self.open.get() + 1);
        self.all.set(self.all.get() + 1);
        self.idle_since.set(None);
        let progress = Rc::new(Progress::default());
        let streams = Rc::clone(self);
        let begun = Instant::now();
        (Stream { streams, begun, stall, progress: Rc::clone(&progress) }, progress)
    }

    fn end(&self, hasty: bool) {
        let open = self.open.get() - 1;
        self.open.set(open);
        if open == 0 {
            self.idle_since.set(Some(Instant::now()));
        }
        self.hasty.set(self.hasty.get() + u64::from(hasty));
        if self.hasty.get() > MAX_HASTY && self.hasty.get() * 2 > self.all.get() {
            self.abused.notify_one();
        }
    }
}

/// One stream, from its request's head to the end of its answer.
pub(super) struct Stream {
    streams: Rc<Streams>,
    begun: Instant,
    stall: Duration,
    progress: Rc<Progress>,
}

/// How far a stream's answer is.
#[derive(Default)]
pub(super) struct Progress {
    answered: Cell<bool>,
    deadline: Cell<Option<Instant>>,
    /// When a frame was handed over, until the next one is asked for.
    given: Cell<Option<Instant>>,
}

impl Stream {
    /// Returns when the client has not read for too long, or the deadline has passed. While hyper
    /// waits for the client to read it does not ask the body, so the body cannot tell.
    pub(super) async fn expired(&self) {
        let mut at = Instant::now() + self.stall;
        loop {
            sleep_until(at).await;
            let now = Instant::now();
            let stalls_at = self.progress.given.get().map(|given| given + self.stall);
            let ends = [stalls_at, self.progress.deadline.get()];
            at = ends.into_iter().flatten().fold(now + self.stall, Instant::min);
            if at <= now {
                return;
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let hasty = !self.progress.answered.get() && self.begun.elapsed() < HASTY;
        self.streams.end(hasty);
    }
}

/// An answer's body on its way to the client.
pub(super) struct Sent {
    body: Body,
    progress: Rc<Progress>,
}

impl Sent {
    pub(super) fn new(body: Body, progress: Rc<Progress>) -> Self {
        progress.answered.set(true);
        progress.deadline.set(body.deadline());
        Self { body, progress }
    }
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.progress.given.set(polled.is_ready().then(Instant::now));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
