//! What is known of one accepted connection, and the socket that keeps it up to date.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::http2::Rewind;
use crate::stream::Stream;

/// Waiting for the first byte of a request.
const IDLE: u8 = 0;
/// Some bytes of a request's head have come.
const HEAD: u8 = 1;
/// A call is in flight.
const BUSY: u8 = 2;

/// Most bytes of a head that are kept to look at.
const MAX_KEPT: usize = 64 << 10;

/// Memory that a connection may hold on to between requests.
const KEPT_CAPACITY: usize = 2 << 10;

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
    /// What was received since the last call. hyper does not show heads as they came.
    head: Mutex<Vec<u8>>,
}

impl ConnState {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            phase: AtomicU8::new(IDLE),
            since_ms: AtomicU64::new(0),
            deadline_ms: AtomicU64::new(NEVER),
            reset: AtomicBool::new(false),
            head: Mutex::default(),
        })
    }

    /// A request's head is complete. Tells whether it had a `Content-Length`, even if hyper took
    /// it away because of `Transfer-Encoding`. A request that was sent before the answer to the
    /// one before it may not be seen here; hyper's reading of it is safe, too.
    pub(crate) fn busy(&self, look: bool) -> bool {
        self.phase.store(BUSY, Relaxed);
        let Ok(mut head) = self.head.lock() else { return false };
        let found = look && has_content_length(&head);
        head.clear();
        head.shrink_to(KEPT_CAPACITY);
        found
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

    fn received(&self, bytes: &[u8]) {
        match self.phase.load(Relaxed) {
            BUSY => return,
            IDLE => self.enter(HEAD),
            _ => (),
        }
        if let Ok(mut head) = self.head.lock() {
            let room = MAX_KEPT - head.len();
            head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }
}

/// Whether a header of the first head in `bytes` is `Content-Length`.
fn has_content_length(bytes: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length:";
    let lines = bytes.split(|b| *b == b'\n').map(<[u8]>::trim_ascii_end);
    let mut headers = lines.skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty());
    headers.any(|line| line.get(..NAME.len()).is_some_and(|n| n.eq_ignore_ascii_case(NAME)))
}

/// An accepted connection's socket.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Rewind<Stream>,
    state: Arc<ConnState>,
}

impl Socket {
    pub(crate) fn new(stream: Rewind<Stream>, state: Arc<ConnState>) -> Self {
        Self { stream, state }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.state.reset.load(Relaxed) {
            self.stream.get_ref().reset_on_close();
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
            self.state.received(&buf.filled()[before..]);
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

#[cfg(test)]
mod tests {
    use super::has_content_length;

    #[test]
    fn only_headers_count() {
        for head in ["A / B\r\nCONTENT-length: 5\r\n\r\n", "\r\nA\r\nB: c\r\nContent-Length:5\r\n"]
        {
            assert!(has_content_length(head.as_bytes()), "{head}");
        }
        for head in ["", "A\r\nX-Content-Length: 5\r\n", "A\r\nB: c\r\n\r\nContent-Length: 5\r\n"] {
            assert!(!has_content_length(head.as_bytes()), "{head}");
        }
    }
}
