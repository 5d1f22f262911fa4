//! Word from the kernel when a file in a replica's folder is written.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventMask, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::sync::watch;
use tokio::time::sleep;

/// Room for the events of one read; each is at most 272 bytes.
const BUFFER_BYTES: usize = 16 * 1024;
/// Pause between two looks at a folder that the kernel cannot watch for us.
const BLIND_PAUSE: Duration = Duration::from_millis(100);

/// The folders that are watched.
#[derive(Clone)]
pub(super) struct Folders(Arc<Mutex<Inner>>);

struct Inner {
    watches: Watches,
    told: HashMap<WatchDescriptor, watch::Sender<()>>,
}

/// One watcher of one folder; dropping it ends the watch.
pub(super) struct Watched {
    changes: watch::Receiver<()>,
    watch: Option<(Folders, WatchDescriptor)>,
}

impl Folders {
    /// Opens the kernel's stream of events; the returned future reads it and must be run.
    pub(super) fn open() -> io::Result<(Self, impl Future<Output = ()> + Send + use<>)> {
        let events = Inotify::init()?.into_event_stream(vec![0; BUFFER_BYTES])?;
        let inner = Inner { watches: events.watches(), told: HashMap::new() };
        let folders = Self(Arc::new(Mutex::new(inner)));
        Ok((folders.clone(), folders.run(events)))
    }

    /// Watches a folder from now on. Where the kernel's limit of watches is reached it is looked
    /// at again and again instead.
    pub(super) fn watch(&self, dir: &Path) -> Watched {
        let mask = WatchMask::CREATE | WatchMask::MODIFY | WatchMask::MOVED_TO | WatchMask::ONLYDIR;
        let mut inner = self.lock();
        match inner.watches.add(dir, mask) {
            Ok(watch) => {
                let told = inner.told.entry(watch.clone());
                let changes = told.or_insert_with(|| watch::Sender::new(())).subscribe();
                Watched { changes, watch: Some((self.clone(), watch)) }
            }
            Err(error) => {
                tracing::debug!(dir = %dir.display(), %error, "cannot watch a replica's folder");
                Watched { changes: watch::Sender::new(()).subscribe(), watch: None }
            }
        }
    }

    async fn run(self, mut events: EventStream<Vec<u8>>) {
        while let Some(event) = events.next().await {
            let Ok(event) = event else { continue };
            let inner = self.lock();
            if event.mask.contains(EventMask::Q_OVERFLOW) {
                inner.told.values().for_each(|told| told.send_replace(()));
            } else if let Some(told) = inner.told.get(&event.wd) {
                told.send_replace(());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// Returns when something was written there since the watch began or this was called last.
    pub(super) async fn changed(&mut self) {
        if self.watch.is_none() || self.changes.changed().await.is_err() {
            sleep(BLIND_PAUSE).await;
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let Some((folders, watch)) = self.watch.take() else { return };
        let mut inner = folders.lock();
        // The kernel gives a folder one watch, which others may share.
        if inner.told.get(&watch).is_some_and(|told| told.receiver_count() == 1) {
            inner.told.remove(&watch);
            // The watch is gone already when its folder is.
            let _gone = inner.watches.remove(watch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_told_to_all_who_watch() {
        let dir = tempfile::tempdir().unwrap();
        let (folders, reader) = Folders::open().unwrap();
        let reader = tokio::spawn(reader);
        let (mut one, mut two) = (folders.watch(dir.path()), folders.watch(dir.path()));
        std::fs::write(dir.path().join("log"), "line").unwrap();
        one.changed().await;
        two.changed().await;
        drop(one);
        std::fs::write(dir.path().join("new"), "").unwrap();
        std::fs::rename(dir.path().join("new"), dir.path().join("report")).unwrap();
        two.changed().await;
        drop(two);
        assert!(folders.lock().told.is_empty());
        reader.abort();
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_watched_is_looked_at_anyway() {
        let (folders, _reader) = Folders::open().unwrap();
        let mut blind = folders.watch(Path::new("/nowhere"));
        blind.changed().await;
    }
}
