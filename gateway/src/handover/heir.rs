//! The side of the gateway that comes.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;

use super::link::{Given, Hello, Link, Role};
use super::{RELEASE, RELEASED, SERVING, SOCKET_FILE};

/// How long the old gateway may take to introduce itself.
const HELLO: Duration = Duration::from_secs(10);
/// How long it may take to let go: what it does for clients of its API is finished first.
const LET_GO: Duration = Duration::from_secs(90);

/// The gateway whose place this one takes.
#[derive(Debug)]
pub struct Predecessor {
    link: Link,
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    sockets: Vec<Given>,
}

impl Predecessor {
    /// The gateway that uses this state folder. `None` when none does.
    ///
    /// # Errors
    /// When it is there and cannot be talked to.
    pub async fn find(state_dir: &Path) -> io::Result<Option<Self>> {
        let stream = match UnixStream::connect(state_dir.join(SOCKET_FILE)).await {
            Ok(stream) => stream,
            Err(error) => {
                use io::ErrorKind::{ConnectionRefused, NotFound};
                let nobody = matches!(error.kind(), ConnectionRefused | NotFound);
                return if nobody { Ok(None) } else { Err(error) };
            }
        };
        let mut link = Link::new(stream);
        let (line, sockets) = link.hear(HELLO).await?;
        let hello: Hello = serde_json::from_str(&line)?;
        if hello.roles.len() != sockets.len() {
            return Err(io::Error::other("sockets of the other gateway were lost on the way"));
        }
        let given = |(role, fd)| Given { role, listener: TcpListener::from(fd) };
        let sockets = hello.roles.into_iter().zip(sockets).map(given).collect();
        Ok(Some(Self { link, pid: hello.pid, version: hello.version, sockets }))
    }

    /// Takes out the sockets with this role and address. Port 0 stands for any port.
    pub fn take(&mut self, role: Role, address: SocketAddr) -> Vec<TcpListener> {
        let fits = |given: &mut Given| {
            let bound = given.listener.local_addr().ok();
            given.role == role
                && bound.is_some_and(|bound| {
                    bound.ip() == address.ip() && [0, bound.port()].contains(&address.port())
                })
        };
        self.sockets.extract_if(.., fits).map(|given| given.listener).collect()
    }

    /// Asks it to let go, and returns when the state folder and what runs are free.
    ///
    /// # Errors
    /// When it does not; it goes on serving then.
    pub async fn release(&mut self) -> io::Result<()> {
        self.link.say(RELEASE, &[]).await?;
        self.link.expect(RELEASED, LET_GO).await
    }

    /// Tells it that this gateway serves, so that it may end.
    pub async fn serving(self) {
        if let Err(error) = self.link.say(SERVING, &[]).await {
            tracing::warn!(pid = self.pid, %error, "the old gateway has gone already");
        }
    }
}
