//! Where an upstream answers, and how to get a connection to it.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use http::HeaderValue;
use rustix::fs::{FileType, Mode, OFlags};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::sleep;

use crate::stream::Stream;

/// Longest pause between two tries to connect to a unix socket whose backlog is full.
const MAX_BACKLOG_PAUSE: Duration = Duration::from_millis(20);

/// Where an upstream answers. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A path of a unix socket, of any length.
    Unix(Arc<OsStr>),
}

impl Target {
    /// The unix socket at `path`.
    pub fn unix(path: impl AsRef<Path>) -> Self {
        Target::Unix(path.as_ref().as_os_str().into())
    }

    /// What `Host` says when nobody has said it.
    pub(crate) fn host(&self) -> HeaderValue {
        let tcp = match self {
            Target::Tcp(address) => HeaderValue::from_str(&address.to_string()).ok(),
            Target::Unix(_) => None,
        };
        tcp.unwrap_or(HeaderValue::from_static("localhost"))
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> io::Result<Stream> {
        match self {
            Target::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Target::Unix(path) => connect_unix(Path::new(path)).await.map(Stream::Unix),
        }
    }

    /// Whether something accepts connections there now; the connection is closed at once.
    ///
    /// # Errors
    /// Whatever connecting says, such as `ConnectionRefused`.
    pub async fn probe(&self) -> io::Result<()> {
        self.connect().await.map(drop)
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Target::Tcp(address)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp(address) => address.fmt(f),
            Target::Unix(path) => write!(f, "unix:{}", Path::new(path).display()),
        }
    }
}

/// Connects to exactly the socket that lies at `path`. The directory may be writable by a hostile
/// function, so a symlink there is refused and the file is opened only once: what was checked is
/// what is connected to. Going through `/proc` also lifts the limit of 108 bytes on paths.
async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    let socket = open_socket(path)?;
    let by_descriptor = format!("/proc/self/fd/{}", socket.as_raw_fd());
    let mut pause = Duration::from_millis(1);
    loop {
        match UnixStream::connect(&by_descriptor).await {
            // A full backlog is no error of TCP's kind: connect fails at once. The caller bounds
            // the wait.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => sleep(pause).await,
            other => return other,
        }
        pause = (pause * 2).min(MAX_BACKLOG_PAUSE);
    }
}

fn open_socket(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
    if kind != FileType::Socket {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a socket"));
    }
    Ok(file)
}
