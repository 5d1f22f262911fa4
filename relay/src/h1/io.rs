//! One connection: its socket, and what was read from it and not used yet.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::buffers;
use super::out::Out;
use crate::stream::Stream;

/// Most that is read at once.
const MAX_READ: usize = 64 << 10;

/// With less room than this, a buffer grows before it is read into.
const MIN_READ: usize = 1 << 10;

/// A socket with a read buffer, which it only has while there is something to read.
#[derive(Debug)]
pub(crate) struct Io {
    stream: Stream,
    /// What was read.
    pub(crate) buf: BytesMut,
    /// How much room the next read gets.
    read_size: usize,
}

impl Io {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, buf: BytesMut::new(), read_size: buffers::SIZE }
    }

    /// Reads more into the buffer; zero bytes are the end.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buf.capacity() == 0 {
            ready!(self.stream.poll_read_ready(cx))?;
            self.buf = buffers::take();
            let polled = self.poll_read_more(cx);
            if polled.is_pending() {
                // It was thought to be ready, and was not.
                self.release();
            }
            return polled;
        }
        self.poll_read_more(cx)
    }

    fn poll_read_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buf.capacity() - self.buf.len() < MIN_READ {
            self.buf.reserve(self.read_size);
        }
        let room = self.buf.capacity() - self.buf.len();
        let read = ready!(pin!(self.stream.read_buf(&mut self.buf)).poll(cx))?;
        if read == room {
            // There is more than was thought.
            self.read_size = (self.read_size * 2).min(MAX_READ);
        }
        Poll::Ready(Ok(read))
    }

    /// Gives the buffer away if there is nothing in it.
    pub(crate) fn release(&mut self) {
        if self.buf.is_empty() {
            let buffer = std::mem::take(&mut self.buf);
            if self.read_size == buffers::SIZE {
                buffers::put(buffer);
            }
            self.read_size = buffers::SIZE;
        }
    }

    /// Whether nothing has come since the last read, not even the end, as far as is known without
    /// waiting.
    pub(crate) fn is_quiet(&self) -> bool {
        let nothing = self.stream.try_read(&mut [0]);
        self.buf.is_empty() && nothing.is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
    }

    /// Writes until all of `out` is written.
    pub(crate) fn poll_write_out(
        &mut self,
        out: &mut Out,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !out.is_empty() {
            let written = ready!(out.with_slices(|slices| self.write_slices(slices, cx)))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            out.advance(written);
        }
        // TLS may hold back the end of it.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn write_slices(
        &mut self,
        slices: &[io::IoSlice<'_>],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        match slices {
            [one] => stream.poll_write(cx, one),
            many => stream.poll_write_vectored(cx, many),
        }
    }

    /// Makes the coming close a reset.
    pub(crate) fn reset_on_close(&self) {
        self.stream.reset_on_close();
    }
}

/// What was read ahead comes first.
impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.buf.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let some = self.buf.len().min(buf.remaining());
        buf.put_slice(&self.buf[..some]);
        self.buf.advance(some);
        self.release();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
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
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
