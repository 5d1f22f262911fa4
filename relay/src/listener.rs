//! Sockets that accept calls.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::stream::{Arrival, Peer, Stream};
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// After this silence the kernel asks whether the client is still there.
const KEEPALIVE: std::time::Duration = std::time::Duration::from_secs(60);

/// A socket that accepts calls.
#[derive(Debug)]
pub enum Listener {
    /// On a TCP port.
    Tcp(TcpListener),
    /// On a unix socket.
    Unix(UnixListener),
    /// On a TCP port, with TLS.
    #[cfg(feature = "tls")]
    Tls(TcpListener, Tls),
}

impl Listener {
    /// Binds `count` sockets to one address, one for each thread; the kernel spreads connections
    /// over them. With port 0 all get the same free port. They become [`Listener`]s inside their
    /// thread's runtime, by [`Listener::from_tcp`].
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind_tcp(address: SocketAddr, count: usize) -> io::Result<Vec<std::net::TcpListener>> {
        let first = bind_one(address, count > 1)?;
        let bound = first.local_addr()?;
        let mut all = vec![first];
        for _ in 1..count {
            all.push(bind_one(bound, true)?);
        }
        Ok(all)
    }

    /// Takes over a bound TCP socket, within a runtime.
    ///
    /// # Errors
    /// When the socket cannot be registered with the runtime.
    pub fn from_tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Listener::Tcp)
    }

    /// Takes over a bound TCP socket that is to speak TLS, within a runtime.
    ///
    /// # Errors
    /// When the socket cannot be registered with the runtime.
    #[cfg(feature = "tls")]
    pub fn from_tls(listener: std::net::TcpListener, tls: Tls) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Listener::Tls(TcpListener::from_std(listener)?, tls))
    }

    /// Takes over a bound unix socket, within a runtime.
    ///
    /// # Errors
    /// When the socket cannot be registered with the runtime.
    pub fn from_unix(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener).map(Listener::Unix)
    }

    /// Binds a unix socket, within a runtime. Nothing may exist at `path`.
    ///
    /// # Errors
    /// When the path cannot be bound.
    pub fn bind_unix(path: impl AsRef<Path>) -> io::Result<Self> {
        UnixListener::bind(path).map(Listener::Unix)
    }

    pub(crate) async fn accept(&self) -> io::Result<(Arrival, Peer)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Arrival::Plain(Stream::Tcp(prepared(stream))), Peer::Tcp(address)))
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Arrival::Plain(Stream::Unix(stream)), Peer::Unix))
            }
            #[cfg(feature = "tls")]
            Listener::Tls(listener, tls) => {
                let (stream, address) = listener.accept().await?;
                Ok((Arrival::Tls(prepared(stream), tls.clone()), Peer::Tls(address)))
            }
        }
    }

    /// Accepts whoever waits already, then closes.
    pub(crate) fn accept_rest(self, mut accepted: impl FnMut(Arrival, Peer)) {
        match self {
            Listener::Tcp(listener) => all_tcp(listener, |stream, address| {
                accepted(Arrival::Plain(Stream::Tcp(stream)), Peer::Tcp(address));
            }),
            Listener::Unix(listener) => {
                let Ok(listener) = listener.into_std() else { return };
                while let Some((stream, _)) = at_once(|| listener.accept()) {
                    let stream =
                        stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream));
                    if let Ok(stream) = stream {
                        accepted(Arrival::Plain(Stream::Unix(stream)), Peer::Unix);
                    }
                }
            }
            #[cfg(feature = "tls")]
            Listener::Tls(listener, tls) => all_tcp(listener, |stream, address| {
                accepted(Arrival::Tls(stream, tls.clone()), Peer::Tls(address));
            }),
        }
    }
}

fn all_tcp(listener: TcpListener, mut accepted: impl FnMut(TcpStream, SocketAddr)) {
    // Directly, as the runtime does not know yet of who came this instant.
    let Ok(listener) = listener.into_std() else { return };
    while let Some((stream, address)) = at_once(|| listener.accept()) {
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        if let Ok(stream) = stream {
            accepted(prepared(stream), address);
        }
    }
}

/// The next connection, if there is one; clients that left again are passed over.
fn at_once<T>(mut accept: impl FnMut() -> io::Result<T>) -> Option<T> {
    loop {
        match accept() {
            Ok(accepted) => return Some(accepted),
            Err(error) if is_of_one_connection(&error) => (),
            Err(_) => return None,
        }
    }
}

/// Whether `accept` failed because of the client that it was about to return.
pub(crate) fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn prepared(stream: TcpStream) -> TcpStream {
    // Options that fail to be set make a slower connection, not a broken one.
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    stream
}

fn bind_one(address: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        // `::` means every address, IPv4 included.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
