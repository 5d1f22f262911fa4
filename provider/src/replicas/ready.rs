//! Whether a replica answers, and where.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::Address;
use crate::probe::{HEALTH_PATH, PORT, status};

/// Longest that one question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Where a replica could answer.
pub(super) struct Probe {
    /// The socket that our watchdog makes when it is ready.
    pub(super) socket: PathBuf,
    /// Its address on the network, for images without our watchdog.
    pub(super) ip: Option<IpAddr>,
}

impl Probe {
    /// Where the replica answers now; the socket is preferred.
    pub(super) async fn ask(&self) -> Option<Address> {
        if let Some(address) = self.ask_socket().await {
            return Some(address);
        }
        let tcp = SocketAddr::new(self.ip?, PORT);
        if !is_healthy(tcp).await {
            return None;
        }
        // The watchdog may have become ready between the two questions.
        Some(self.ask_socket().await.unwrap_or(Address::Tcp(tcp)))
    }

    /// The socket's address, if somebody listens on it.
    pub(super) async fn ask_socket(&self) -> Option<Address> {
        listens(&self.socket).await.ok()?;
        Some(Address::Unix(self.socket.clone()))
    }
}

/// Connects to the socket and hangs up.
///
/// The function can write in that directory: a link to another socket must not be followed. So the
/// file is opened without following, and reached through the descriptor, which also serves paths
/// longer than a socket's address can hold (107 bytes).
async fn listens(path: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
    if kind != FileType::Socket {
        return Err(io::Error::other("not a socket"));
    }
    let through = format!("/proc/self/fd/{}", file.as_raw_fd());
    match UnixStream::connect(through).await {
        // Its queue is full, so somebody is there.
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
        other => other.map(drop),
    }
}

/// Whether something speaks HTTP there and does not say that it cannot serve.
async fn is_healthy(address: SocketAddr) -> bool {
    matches!(timeout(ANSWER_TIMEOUT, status(address, HEALTH_PATH)).await, Ok(Ok(status)) if status < 500)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UnixListener};

    use super::*;

    #[tokio::test]
    async fn a_socket_counts_when_somebody_listens_and_never_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("fn.sock");
        let probe = Probe { socket: socket.clone(), ip: None };
        assert!(probe.ask().await.is_none());
        let listener = UnixListener::bind(&socket).unwrap();
        assert_eq!(probe.ask().await, Some(Address::Unix(socket.clone())));
        let link = dir.path().join("link");
        symlink(&socket, &link).unwrap();
        assert!(listens(&link).await.is_err());
        drop(listener);
        assert!(probe.ask().await.is_none(), "a socket that nobody listens on is left over");
    }

    #[tokio::test]
    async fn a_long_path_is_no_trouble() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let short = dir.path().join("s");
        let _listener = UnixListener::bind(&short).unwrap();
        std::fs::rename(&short, deep.join("fn.sock")).unwrap();
        assert!(listens(&deep.join("fn.sock")).await.is_ok());
    }

    #[tokio::test]
    async fn any_answer_below_500_is_healthy() {
        for (status, healthy) in [(200, true), (404, true), (503, false)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let read = stream.read(&mut request).await.unwrap();
                assert!(request[..read].starts_with(b"GET /_/health HTTP/1.1\r\n"));
                let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            });
            assert_eq!(is_healthy(address).await, healthy, "{status}");
            server.await.unwrap();
        }
    }
}
