//! Learns at once that a file appears.

use std::ffi::OsString;
use std::fmt;
use std::future::pending;
use std::io;
use std::path::Path;

use futures_util::StreamExt;
use inotify::{EventStream, Inotify, WatchDescriptor, WatchMask};

/// Room for a few events with names of any length.
const EVENTS_BYTES: usize = 4096;

/// The appearance of one file.
///
/// Dropping it can take the kernel 10 ms, in which nothing else runs here: who is in a hurry
/// calls [`Appearance::stop`] and keeps it.
pub struct Appearance {
    events: EventStream<Vec<u8>>,
    watch: WatchDescriptor,
    name: OsString,
}

impl Appearance {
    /// Watches for `path` from now on, within a runtime.
    ///
    /// # Errors
    /// When its folder cannot be watched, as when it is missing.
    pub fn of(path: &Path) -> io::Result<Self> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let inotify = Inotify::init()?;
        let watch = inotify.watches().add(dir, WatchMask::CREATE | WatchMask::MOVED_TO)?;
        let events = inotify.into_event_stream(vec![0; EVENTS_BYTES])?;
        Ok(Self { events, watch, name: name.to_owned() })
    }

    /// Returns when the file appears; never when watching fails.
    pub async fn wait(&mut self) {
        while let Some(Ok(event)) = self.events.next().await {
            if event.name.is_some_and(|name| name == self.name) {
                return;
            }
        }
        pending::<()>().await;
    }

    /// Watches no longer.
    pub fn stop(&mut self) {
        // Without it, events would only pile up, and the kernel bounds that.
        let _ = self.events.watches().remove(self.watch.clone());
    }
}

impl fmt::Debug for Appearance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Appearance").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn only_the_file_itself_counts_and_every_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("up.sock");
        let runtime = relay::threads::local_runtime().expect("a runtime");
        runtime.block_on(async {
            let mut appearance = Appearance::of(&path).expect("a watch");
            std::fs::write(dir.path().join("other"), "").expect("writable");
            assert!(appearance.wait().now_or_never().is_none());
            for _ in 0..2 {
                std::fs::write(dir.path().join("new"), "").expect("writable");
                std::fs::rename(dir.path().join("new"), &path).expect("writable");
                appearance.wait().await;
            }
            appearance.stop();
            std::fs::write(&path, "").expect("writable");
            std::fs::remove_file(&path).expect("there");
            std::fs::write(&path, "").expect("writable");
            assert!(appearance.wait().now_or_never().is_none());
        });
    }

    #[test]
    fn a_missing_folder_cannot_be_watched() {
        let runtime = relay::threads::local_runtime().expect("a runtime");
        runtime.block_on(async { assert!(Appearance::of(Path::new("/nowhere/a")).is_err()) });
    }
}
