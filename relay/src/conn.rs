//! What is known of one accepted connection, and the socket that keeps it up to date.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::stream::Stream;

/// Waiting for the first byte of a request.
const IDLE: u8 = 0;
/// Some bytes of a request's head have come.
const HEAD: u8 = 1;
/// A call is in flight.
const BUSY: u8 = 2;

/// No deadline.
const NEVER: u64 = u64::MAX;

/// How long a connection may stay in a phase.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PhaseLimits {
    pub(crate) header: Duration,
    pub(crate) idle: Duration,
}

/// State that the socket, the response body and the connection's task share. They all live in one
/// thread; the atomics are there because hyper wants sockets to be `Send`, and cost nothing.
#[derive(Debug)]
pub(crate) struct ConnState {
    start: Instant,
    phase: AtomicU8,
    since_ms: AtomicU64,
    deadline_ms: AtomicU64,
    reset: AtomicBool,
}

impl ConnState {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            phase: AtomicU8::new(IDLE),
            since_ms: AtomicU64::new(0),
            deadline_ms: AtomicU64::new(NEVER),
            reset: AtomicBool::new(false),
        })
    }

    /// A request's head is complete.
    pub(crate) fn busy(&self) {
        self.phase.store(BUSY, Relaxed);
    }

    /// A response was handed over whole, or given up.
    pub(crate) fn idle(&self) {
        self.deadline_ms.store(NEVER, Relaxed);
        self.enter(IDLE);
    }

    /// The call in flight must be over by then, however slowly the client reads.
    pub(crate) fn limit(&self, deadline: Instant) {
        let ms = deadline.saturating_duration_since(self.start).as_millis() as u64;
        self.deadline_ms.store(ms, Relaxed);
    }

    /// Closing is to be a reset from now on.
    pub(crate) fn reset(&self) {
        self.reset.store(true, Relaxed);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.phase.load(Relaxed) == IDLE
    }

    /// When the connection has used up its time, as things stand.
    pub(crate) fn expires(&self, limits: PhaseLimits) -> Option<Instant> {
        let since = self.start + Duration::from_millis(self.since_ms.load(Relaxed));
        match self.phase.load(Relaxed) {
            IDLE => Some(since + limits.idle),
            HEAD => Some(since + limits.header),
            _ => match self.deadline_ms.load(Relaxed) {
                NEVER => None,
                ms => Some(self.start + Duration::from_millis(ms)),
            },
        }
    }

    fn enter(&self, phase: u8) {
        self.since_ms.store(self.start.elapsed().as_millis() as u64, Relaxed);
        self.phase.store(phase, Relaxed);
    }

    fn received(&self) {
        if self.phase.load(Relaxed) == IDLE {
            self.enter(HEAD);
        }
    }
}

/// An accepted connection's socket.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Stream,
    state: Arc<ConnState>,
}

impl Socket {
    pub(crate) fn new(stream: Stream, state: Arc<ConnState>) -> Self {
        Self { stream, state }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.state.reset.load(Relaxed) {
            self.stream.reset_on_close();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.state.received();
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
