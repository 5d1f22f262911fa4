//! One connection, over TCP or a unix socket.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A TCP address, with TLS.
    Tls(SocketAddr),
    /// A process of this machine, over a unix socket.
    Unix,
}

impl Peer {
    /// The address without the port; an IPv4 address is given as such even on an IPv6 socket.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Peer::Tcp(address) | Peer::Tls(address) => Some(address.ip().to_canonical()),
            Peer::Unix => None,
        }
    }

    /// The scheme of URLs that lead here.
    pub fn scheme(&self) -> &'static str {
        match self {
            Peer::Tls(_) => "https",
            Peer::Tcp(_) | Peer::Unix => "http",
        }
    }
}

#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

/// A client that was just accepted.
#[derive(Debug)]
pub(crate) enum Arrival {
    Plain(Stream),
    /// Hands are still to be shaken.
    #[cfg(feature = "tls")]
    Tls(TcpStream, crate::tls::Tls),
}

#[cfg(feature = "tls")]
impl Arrival {
    /// Shakes hands within `limit`, when that is to be done. `None` when the client does not.
    pub(crate) async fn greet(self, limit: Duration) -> Option<Stream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Tls(stream, tls) => match tls.accept(stream, limit).await {
                Ok(stream) => Some(Stream::Tls(Box::new(stream))),
                Err(error) => {
                    tracing::debug!(%error, "a TLS handshake failed");
                    None
                }
            },
        }
    }
}

impl Stream {
    /// Makes the coming close a reset: what was not delivered yet is thrown away, and the peer
    /// sees an error instead of an end.
    pub(crate) fn reset_on_close(&self) {
        let tcp = match self {
            Stream::Tcp(stream) => stream,
            Stream::Unix(_) => return,
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.get_ref().0,
        };
        // A socket that is broken already needs no reset.
        let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
    }
}

impl Stream {
    /// Ready when there may be something to read, or the end.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => stream.poll_read_ready(cx),
            Stream::Unix(stream) => stream.poll_read_ready(cx),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => match stream.get_ref() {
                // Some was decrypted and not read yet.
                (_, tls) if !tls.wants_read() => Poll::Ready(Ok(())),
                (tcp, _) => tcp.poll_read_ready(cx),
            },
        }
    }

    /// Reads what is there without waiting.
    pub(crate) fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_read(buf),
            Stream::Unix(stream) => stream.try_read(buf),
            #[cfg(feature = "tls")]
            Stream::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

macro_rules! on_stream {
    ($self:ident, $method:ident, $($arg:expr),*) => {
        match $self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).$method($($arg),*),
            Stream::Unix(stream) => Pin::new(stream).$method($($arg),*),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => Pin::new(stream).$method($($arg),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_stream!(self, poll_read, cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, poll_write, cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, poll_write_vectored, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, poll_flush, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, poll_shutdown, cx)
    }
}
