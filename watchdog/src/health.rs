//! Whether calls are taken, and how others learn of it (contract 5.1).

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use tokio::sync::watch;

/// What the function is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Starting,
    Ready,
    Draining,
    /// Told to end before it was ready.
    GaveUp,
}

/// Whether calls are taken. A file says so to who looks from outside.
#[derive(Debug)]
pub struct Health {
    stage: watch::Sender<Stage>,
    lock_file: Option<PathBuf>,
}

impl Health {
    /// A function that is starting.
    pub fn new(lock_file: Option<PathBuf>) -> Self {
        Self { stage: watch::Sender::new(Stage::Starting), lock_file }
    }

    /// The function takes calls from now on.
    ///
    /// # Errors
    /// When the lock file cannot be written; it takes calls all the same.
    pub fn ready(&self) -> io::Result<()> {
        let written = self.lock_file.as_ref().map_or(Ok(()), |path| {
            OpenOptions::new().create(true).append(true).mode(0o660).open(path).map(|_| ())
        });
        self.stage.send_replace(Stage::Ready);
        written
    }

    /// The function is about to end and should get no new calls.
    pub fn drain(&self) {
        self.stage.send_modify(|stage| {
            *stage = if *stage == Stage::Starting { Stage::GaveUp } else { Stage::Draining };
        });
        if let Some(path) = &self.lock_file {
            // Somebody may have removed it before.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Whether calls are taken.
    pub fn is_ready(&self) -> bool {
        *self.stage.borrow() == Stage::Ready
    }

    /// Whether calls are taken, and the lock file is there to say so.
    pub fn is_healthy(&self) -> bool {
        self.is_ready() && self.lock_file.as_ref().is_none_or(|path| path.exists())
    }

    /// Waits until the function has started. `false` when it ends before that. Calls that come
    /// while draining are still served.
    pub async fn started(&self) -> bool {
        let mut stage = self.stage.subscribe();
        let settled = stage.wait_for(|stage| *stage != Stage::Starting).await;
        settled.is_ok_and(|stage| *stage != Stage::GaveUp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_there_while_ready() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(".lock");
        let health = Health::new(Some(path.clone()));
        assert!(!health.is_healthy() && !path.exists());
        health.ready().expect("writable");
        assert!(health.is_healthy() && path.exists());
        std::fs::remove_file(&path).expect("removable");
        assert!(!health.is_healthy());
        health.ready().expect("writable");
        health.drain();
        assert!(!health.is_healthy() && !path.exists());
    }

    #[test]
    fn no_file_no_matter() {
        let health = Health::new(None);
        health.ready().expect("nothing to write");
        assert!(health.is_healthy());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told() {
        assert!(Health::new(Some("/nowhere/.lock".into())).ready().is_err());
    }
}
