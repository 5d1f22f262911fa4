//! The one body type of both ways.

use std::any::Any;
use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{fmt, mem};

use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::conn::ConnState;
use crate::error::BodyError;
use crate::pool::Lease;
use crate::replay::Reader;
use crate::tunnel::Tunnel;

type BoxedSource = Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError>>>;

/// A request's or a response's body: frames of data, and perhaps trailers, as they come.
///
/// What hangs on it (guards, the upstream connection, the deadline) is let go when the body ends,
/// fails, or is dropped, whichever is first.
#[derive(Default)]
pub struct Body {
    source: Source,
    guards: Vec<Box<dyn Any>>,
    lease: Option<Lease>,
    deadline: Option<Deadline>,
    hold: Option<Pin<Box<dyn Future<Output = ()>>>>,
    limit: Option<Limit>,
    conn: Option<Attached>,
    failed: Option<BodyError>,
}

#[derive(Default)]
enum Source {
    #[default]
    Empty,
    Full(Bytes),
    Incoming(Incoming),
    Boxed(BoxedSource),
    Replay(Reader),
    Tunnel(Box<Tunnel>),
}

/// The moment, and the timer that is only set when there is something to wait for.
struct Deadline {
    at: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

/// The connection that the body is sent on; it is idle again when this is dropped.
struct Attached(Arc<ConnState>);

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.idle();
    }
}

struct Limit {
    max: u64,
    left: u64,
}

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Self::default()
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Self::empty() } else { Self::from(Source::Full(bytes)) }
    }

    /// Any other body.
    pub fn boxed<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let body = http_body_util::BodyExt::map_err(body, |e| BodyError::Source(e.into()));
        Self::from(Source::Boxed(Box::pin(body)))
    }

    /// Attaches a value that is dropped when the body ends or is dropped; after a switch of
    /// protocols, when the tunnel ends.
    #[must_use]
    pub fn with_guard(mut self, guard: impl Any) -> Self {
        self.guards.push(Box::new(guard));
        self
    }

    /// Lets the body fail with [`BodyError::Deadline`] when it has not ended by then.
    #[must_use]
    pub fn with_deadline(mut self, at: Instant) -> Self {
        self.deadline = Some(Deadline { at, timer: None });
        self
    }

    /// When the body must have ended.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline.as_ref().map(|deadline| deadline.at)
    }

    /// Lets the body fail with [`BodyError::TooLarge`] when it has more than `max` bytes.
    #[must_use]
    pub fn with_limit(mut self, max: u64) -> Self {
        self.limit = Some(Limit { max, left: max });
        self
    }

    /// Yields nothing before `hold` is over.
    pub(crate) fn with_hold(mut self, hold: impl Future<Output = ()> + 'static) -> Self {
        self.hold = Some(Box::pin(hold));
        self
    }

    pub(crate) fn with_lease(mut self, lease: Lease) -> Self {
        if self.source.is_end() {
            lease.give_back();
        } else {
            self.lease = Some(lease);
        }
        self
    }

    pub(crate) fn replay(reader: Reader) -> Self {
        Self::from(Source::Replay(reader))
    }

    pub(crate) fn tunnel(tunnel: Tunnel) -> Self {
        Self::from(Source::Tunnel(Box::new(tunnel)))
    }

    /// Takes out the tunnel of a switch of protocols, with all that hangs on it.
    pub(crate) fn take_tunnel(&mut self) -> Option<(Tunnel, Vec<Box<dyn Any>>)> {
        match mem::take(&mut self.source) {
            Source::Tunnel(tunnel) => Some((*tunnel, mem::take(&mut self.guards))),
            other => {
                self.source = other;
                None
            }
        }
    }

    /// Ties the body to the connection it is sent on.
    pub(crate) fn attach(&mut self, conn: &Arc<ConnState>) {
        if let Some(deadline) = &self.deadline {
            conn.limit(deadline.at);
        }
        self.conn = Some(Attached(Arc::clone(conn)));
    }

    fn poll_limited(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // A source that is always ready would never let the timer be asked.
        if self.deadline.as_ref().is_some_and(|deadline| deadline.at <= Instant::now()) {
            return Poll::Ready(Some(Err(BodyError::Deadline)));
        }
        let polled = self.poll_source(cx);
        if polled.is_pending() && self.deadline.as_mut().is_some_and(|d| d.poll(cx).is_ready()) {
            return Poll::Ready(Some(Err(BodyError::Deadline)));
        }
        polled
    }

    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(hold) = &mut self.hold {
            std::task::ready!(hold.as_mut().poll(cx));
            self.hold = None;
        }
        let frame = std::task::ready!(self.source.poll(cx));
        Poll::Ready(frame.map(|frame| frame.and_then(|frame| self.count(frame))))
    }

    fn count(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        if let (Some(limit), Some(data)) = (&mut self.limit, frame.data_ref()) {
            let left = limit.left.checked_sub(data.remaining() as u64);
            limit.left = left.ok_or(BodyError::TooLarge(limit.max))?;
        }
        Ok(frame)
    }

    /// Lets go of everything, at the end of the body.
    fn end(&mut self, whole: bool) {
        self.source = Source::Empty;
        self.deadline = None;
        self.guards.clear();
        match self.lease.take() {
            Some(lease) if whole => lease.give_back(),
            // A connection with half a body on it is of no use to anybody.
            _ => (),
        }
        if let Some(conn) = self.conn.take()
            && !whole
        {
            conn.0.reset();
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(error) = this.failed.take() {
            this.end(false);
            return Poll::Ready(Some(Err(error)));
        }
        match this.poll_limited(cx) {
            Poll::Ready(Some(Err(error))) => {
                // hyper drops the connection at once, with what it has not written yet. Waiting
                // for another turn lets it write what came before the failure.
                this.failed = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(None) => {
                this.end(true);
                Poll::Ready(None)
            }
            other => {
                if this.source.is_end() {
                    this.end(true);
                }
                other
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty | Source::Tunnel(_) => SizeHint::with_exact(0),
            Source::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Incoming(body) => body.size_hint(),
            Source::Boxed(body) => body.size_hint(),
            Source::Replay(body) => body.size_hint(),
        }
    }
}

impl Deadline {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let at = self.at;
        self.timer.get_or_insert_with(|| Box::pin(sleep_until(at))).as_mut().poll(cx)
    }
}

impl Source {
    fn is_end(&self) -> bool {
        match self {
            Source::Empty | Source::Tunnel(_) => true,
            Source::Full(_) => false,
            Source::Incoming(body) => body.is_end_stream(),
            Source::Boxed(body) => body.is_end_stream(),
            Source::Replay(body) => body.is_end_stream(),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Source::Empty | Source::Tunnel(_) => Poll::Ready(None),
            Source::Full(bytes) => {
                let bytes = mem::take(bytes);
                *self = Source::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Source::Incoming(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::Broken),
            Source::Boxed(body) => body.as_mut().poll_frame(cx),
            Source::Replay(body) => Pin::new(body).poll_frame(cx),
        }
    }
}

impl From<Source> for Body {
    fn from(source: Source) -> Self {
        Self { source, ..Self::default() }
    }
}

impl From<Incoming> for Body {
    fn from(body: Incoming) -> Self {
        Self::from(Source::Incoming(body))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::full(text)
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::full(text)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("size", &self.size_hint()).finish_non_exhaustive()
    }
}
