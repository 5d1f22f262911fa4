//! The side of the gateway that leaves.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixListener;

use super::link::{Given, Hello, Link};
use super::{RELEASE, RELEASED, SERVING, SOCKET_FILE};

/// How long a new gateway may take to look at what it was given.
const LOOK: Duration = Duration::from_secs(60);
/// How long it may take to serve from when everything is its own.
const START: Duration = Duration::from_secs(120);

/// Where a gateway can be asked for its place. The file stays when this is dropped: by then it may
/// be the next gateway's.
#[derive(Debug)]
pub struct Desk(UnixListener);

/// A new gateway that wants the place of this one.
#[derive(Debug)]
pub struct Visitor(Link);

impl Desk {
    /// Opens it in the state folder, which must be this gateway's.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join(SOCKET_FILE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self(listener))
    }

    /// Returns when a new gateway has the sockets and can go on alone. One that only looks, or
    /// fails before that, leaves everything as it is.
    pub async fn visitor(&self, sockets: &[Given]) -> Visitor {
        loop {
            let link = match self.0.accept().await {
                Ok((stream, _)) => Link::new(stream),
                Err(error) => {
                    tracing::warn!(%error, "cannot be asked to hand over");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            let pid = link.peer().unwrap_or_default();
            match Visitor(link).introduce(sockets).await {
                Ok(visitor) => return visitor,
                Err(error) => tracing::info!(pid, %error, "a new gateway did not take over"),
            }
        }
    }
}

impl Visitor {
    async fn introduce(mut self, sockets: &[Given]) -> io::Result<Self> {
        let hello = Hello {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            roles: sockets.iter().map(|given| given.role).collect(),
        };
        self.0.say(&serde_json::to_string(&hello)?, sockets).await?;
        self.0.expect(RELEASE, LOOK).await?;
        Ok(self)
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.0.peer().unwrap_or_default()
    }

    /// Tells it that everything is its own now, and returns when it serves.
    ///
    /// # Errors
    /// When it ends or takes too long before that: then nobody serves.
    pub async fn succeed(&mut self) -> io::Result<()> {
        self.0.say(RELEASED, &[]).await?;
        self.0.expect(SERVING, START).await
    }
}
