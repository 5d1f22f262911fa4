//! Which protocol a client speaks, by its first bytes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::PREFACE;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Too few to tell.
    Unclear,
    /// A client that speaks HTTP/2.
    Http2,
    /// Anything else; HTTP/1, if it is HTTP at all.
    Other,
}

impl Opening {
    /// Looks at what has come so far.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        if bytes.starts_with(PREFACE) {
            Self::Http2
        } else if PREFACE.starts_with(bytes) {
            Self::Unclear
        } else {
            Self::Other
        }
    }
}

/// Reads until it is clear what the client speaks; `begun` is called at the first byte. `None`
/// when the client leaves before.
pub(crate) async fn open<S>(mut stream: S, begun: impl FnOnce()) -> Option<(Opening, Rewind<S>)>
where
    S: AsyncRead + Unpin,
{
    let mut read = BytesMut::new();
    let mut begun = Some(begun);
    while Opening::of(&read) == Opening::Unclear {
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
        if let Some(begun) = begun.take() {
            begun();
        }
    }
    Some((Opening::of(&read), Rewind::new(stream, read.freeze())))
}

/// A stream of which some was read already.
#[derive(Debug)]
pub(crate) struct Rewind<S> {
    stream: S,
    read: Bytes,
}

impl<S> Rewind<S> {
    /// Puts back what was read.
    pub(crate) fn new(stream: S, read: Bytes) -> Self {
        Self { stream, read }
    }

    /// The stream itself.
    pub(crate) fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewind<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let len = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read[..len]);
        self.read.advance(len);
        if self.read.is_empty() {
            // Gives the memory back.
            self.read = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewind<S> {
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
        self.stream.is_write_vectored()
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
    use super::*;

    #[test]
    fn the_preface_is_known_when_it_is_whole() {
        for (bytes, opening) in [
            (&b""[..], Opening::Unclear),
            (b"P", Opening::Unclear),
            (&PREFACE[..23], Opening::Unclear),
            (PREFACE, Opening::Http2),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore", Opening::Http2),
            (b"POST", Opening::Other),
            (b"PRI * HTTP/2.0\r\nA: b", Opening::Other),
            (b"GET", Opening::Other),
            (b"\x16\x03", Opening::Other),
        ] {
            assert_eq!(Opening::of(bytes), opening, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn what_was_read_is_read_again() {
        for (sent, opening) in [("PRX and more", Opening::Other), ("x", Opening::Other)] {
            let (opened, mut stream) = open(sent.as_bytes(), || ()).await.expect("some bytes");
            assert_eq!(opened, opening);
            let mut text = String::new();
            stream.read_to_string(&mut text).await.expect("text");
            assert_eq!(text, sent);
        }
        assert!(open(&b"PRI"[..], || ()).await.is_none(), "it left");
    }
}
