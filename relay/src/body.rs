//! The one body type of both ways.

use std::any::Any;
use std::error::Error as StdError;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::{fmt, mem};

use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::clock::Alarm;
use crate::error::BodyError;
use crate::h1::{Io, RequestBody, Upstream};
use crate::lines::Lines;
use crate::replay::Reader;

type BoxedSource = Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError>>>;

/// A request's or a response's body: frames of data, and perhaps trailers, as they come.
///
/// What hangs on it (guards, the upstream connection, the deadline) is let go when the body ends,
/// fails, or is dropped, whichever is first.
#[derive(Default)]
pub struct Body {
    source: Source,
    guards: Vec<Box<dyn Any>>,
    deadline: Option<Deadline>,
    limit: Option<Box<Limit>>,
    lines: Lines,
}

#[derive(Default)]
enum Source {
    #[default]
    Empty,
    Full(Bytes),
    Request(RequestBody),
    Upstream(Box<Upstream>),
    Incoming(Incoming),
    Boxed(BoxedSource),
    Replay(Reader),
    Tunnel(Box<Io>),
}

struct Deadline {
    at: Instant,
    alarm: Alarm,
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
        self.deadline = Some(Deadline { at, alarm: Alarm::default() });
        self
    }

    /// Lets the body fail with [`BodyError::TooLarge`] when it has more than `max` bytes.
    #[must_use]
    pub fn with_limit(mut self, max: u64) -> Self {
        self.limit = Some(Box::new(Limit { max, left: max }));
        self
    }

    /// Header lines that are sent beside the headers of the answer that this is the body of; each
    /// must have another name.
    pub fn lines_mut(&mut self) -> &mut Lines {
        if self.lines.is_empty() {
            self.lines = Lines::take();
        }
        &mut self.lines
    }

    /// Takes these lines out.
    pub(crate) fn take_lines(&mut self) -> Lines {
        mem::take(&mut self.lines)
    }

    /// The body of a request that was accepted here.
    pub(crate) fn request(body: RequestBody) -> Self {
        Self::from(Source::Request(body))
    }

    /// The body of an upstream's answer.
    pub(crate) fn upstream(connection: Box<Upstream>) -> Self {
        Self::from(Source::Upstream(connection))
    }

    /// An upstream that switched protocols.
    pub(crate) fn tunnel(upstream: Io) -> Self {
        Self::from(Source::Tunnel(Box::new(upstream)))
    }

    /// One pass over a body that may be sent again.
    pub(crate) fn replay(reader: Reader) -> Self {
        Self::from(Source::Replay(reader))
    }

    /// Takes out the upstream of a switch of protocols, with all that hangs on the body.
    pub(crate) fn take_tunnel(&mut self) -> Option<(Io, Vec<Box<dyn Any>>)> {
        match mem::take(&mut self.source) {
            Source::Tunnel(upstream) => Some((*upstream, mem::take(&mut self.guards))),
            other => {
                self.source = other;
                None
            }
        }
    }

    /// When the body must have ended.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline.as_ref().map(|deadline| deadline.at)
    }

    fn poll_limited(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(Deadline { at, .. }) = self.deadline else { return self.poll_source(cx) };
        // A source that is always ready would never let the alarm be asked.
        if !self.source.is_short() && at <= Instant::now() {
            return Poll::Ready(Some(Err(BodyError::Deadline)));
        }
        let polled = self.poll_source(cx);
        match &mut self.deadline {
            Some(deadline) if polled.is_pending() => {
                deadline.alarm.poll(at, cx).map(|()| Some(Err(BodyError::Deadline)))
            }
            _ => polled,
        }
    }

    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
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
    fn end(&mut self) {
        match mem::take(&mut self.source) {
            Source::Upstream(connection) => connection.give_back(),
            other => drop(other),
        }
        self.deadline = None;
        self.guards.clear();
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
        let polled = this.poll_limited(cx);
        let is_end = match &polled {
            Poll::Pending => false,
            Poll::Ready(None | Some(Err(_))) => true,
            Poll::Ready(Some(Ok(_))) => this.source.is_end(),
        };
        if is_end {
            this.end();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty | Source::Tunnel(_) => SizeHint::with_exact(0),
            Source::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Request(body) => hint(body.left()),
            Source::Upstream(connection) => hint(connection.left()),
            Source::Replay(body) => body.size_hint(),
            Source::Incoming(body) => body.size_hint(),
            Source::Boxed(body) => body.size_hint(),
        }
    }
}

fn hint(left: Option<u64>) -> SizeHint {
    left.map_or_else(SizeHint::default, SizeHint::with_exact)
}

impl Source {
    /// Whether it ends at once.
    fn is_short(&self) -> bool {
        matches!(self, Source::Empty | Source::Full(_))
    }

    fn is_end(&self) -> bool {
        match self {
            Source::Empty | Source::Tunnel(_) => true,
            Source::Full(_) => false,
            Source::Request(body) => body.is_end(),
            Source::Upstream(connection) => connection.is_end(),
            Source::Replay(body) => body.is_end_stream(),
            Source::Incoming(body) => body.is_end_stream(),
            Source::Boxed(body) => body.is_end_stream(),
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
            Source::Request(body) => body.poll_frame(cx),
            Source::Upstream(connection) => connection.poll_frame(cx),
            Source::Replay(body) => Pin::new(body).poll_frame(cx),
            Source::Incoming(body) => {
                Pin::new(body).poll_frame(cx).map_err(|e| BodyError::Source(e.into()))
            }
            Source::Boxed(body) => body.as_mut().poll_frame(cx),
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
