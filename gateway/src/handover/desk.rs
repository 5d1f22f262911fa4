//! The side of the gateway that leaves.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixListener;
use tokio::time::timeout;

use super::door::open_door;
use super::link::{Given, Hello, Link};
use super::{RELEASE, RELEASED, SERVING, SOCKET_FILE};

/// How long a new gateway may take to look at what it was given.
const LOOK: Duration = Duration::from_secs(60);
/// How long one may take to end that has failed.
const DEATH: Duration = Duration::from_secs(2);

/// Where a gateway can be asked for its place. The file stays when this is dropped: by then it may
/// be the next gateway's.
#[derive(Debug)]
pub struct Desk {
    listener: UnixListener,
    /// How long a new gateway may take to serve from when everything is its own.
    patience: Duration,
}

/// A new gateway that wants the place of this one.
#[derive(Debug)]
pub struct Visitor {
    link: Link,
    process: AsyncFd<OwnedFd>,
    patience: Duration,
}

impl Desk {
    /// Opens it in the state folder, which must be this gateway's. A new gateway that was given
    /// everything must serve within `patience`.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn open(state_dir: &Path, patience: Duration) -> io::Result<Self> {
        let listener = open_door(&state_dir.join(SOCKET_FILE))?;
        Ok(Self { listener: UnixListener::from_std(listener)?, patience })
    }

    /// Returns when a new gateway has the sockets and can go on alone. One that only looks, or
    /// fails before that, leaves everything as it is.
    pub async fn visitor(&self, sockets: &[Given]) -> Visitor {
        loop {
            let link = match self.listener.accept().await {
                Ok((stream, _)) => Link::new(stream),
                Err(error) => {
                    tracing::warn!(%error, "cannot be asked to hand over");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            let pid = link.peer().unwrap_or_default();
            match self.introduce(link, sockets).await {
                Ok(visitor) => return visitor,
                Err(error) => tracing::info!(pid, %error, "a new gateway did not take over"),
            }
        }
    }

    async fn introduce(&self, mut link: Link, sockets: &[Given]) -> io::Result<Visitor> {
        let pid = link.peer().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("its process is not known"))?;
        let process = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        #[expect(
            deprecated,
            reason = "the other way is unsafe code; this descriptor belongs to the value for good"
        )]
        let process = AsyncFd::with_interest(process, Interest::READABLE)?;
        let hello = Hello {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            roles: sockets.iter().map(|given| given.role).collect(),
        };
        link.say(&serde_json::to_string(&hello)?, sockets).await?;
        link.expect(RELEASE, LOOK).await?;
        Ok(Visitor { link, process, patience: self.patience })
    }
}

impl Visitor {
    /// Its process.
    pub fn pid(&self) -> i32 {
        self.link.peer().unwrap_or_default()
    }

    /// Tells it that everything is its own now, and returns when it serves.
    ///
    /// # Errors
    /// When it ends or takes too long before that: then nobody serves.
    pub async fn succeed(&mut self) -> io::Result<()> {
        self.link.say(RELEASED, &[]).await?;
        self.link.expect(SERVING, self.patience).await
    }

    /// Waits for the end of one that failed: until then it has the state folder, which the next one
    /// needs. One that hangs is killed.
    pub async fn end(&self, error: &io::Error) {
        if error.kind() == io::ErrorKind::TimedOut {
            // One that has ended is no error.
            let _ = pidfd_send_signal(self.process.get_ref(), Signal::KILL);
        }
        if timeout(DEATH, self.process.readable()).await.is_err() {
            tracing::warn!(pid = self.pid(), "the new gateway has not ended");
        }
    }
}
