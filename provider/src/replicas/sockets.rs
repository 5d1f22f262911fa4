//! Word from the kernel when a replica's socket comes or goes.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt;
use inotify::{EventStream, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::sync::Notify;

use crate::confine::SOCKET;

/// Room for the events of one read; each is at most 272 bytes.
const BUFFER_BYTES: usize = 16 * 1024;

/// The directories that are watched.
#[derive(Clone)]
pub(super) struct Sockets(Arc<Mutex<Inner>>);

struct Inner {
    watches: Watches,
    wakers: HashMap<WatchDescriptor, Arc<Notify>>,
}

/// One watched directory; dropping it ends the watch.
pub(super) struct Watched {
    /// Told whenever the socket there came or went.
    pub(super) changed: Arc<Notify>,
    watch: Option<(Sockets, WatchDescriptor)>,
}

impl Sockets {
    /// Opens the kernel's stream of events; the returned future reads it and must be run.
    pub(super) fn open() -> io::Result<(Self, impl Future<Output = ()> + Send + use<>)> {
        let events = Inotify::init()?.into_event_stream(vec![0; BUFFER_BYTES])?;
        let inner = Inner { watches: events.watches(), wakers: HashMap::new() };
        let sockets = Self(Arc::new(Mutex::new(inner)));
        Ok((sockets.clone(), sockets.run(events)))
    }

    /// Watches a replica's directory.
    ///
    /// Where the kernel's limit of watches is reached the replica is still found ready, since it
    /// is asked again and again until then; that its socket went is then not seen at once.
    pub(super) fn watch(&self, dir: &Path) -> Watched {
        let changed = Arc::new(Notify::new());
        let mask = WatchMask::CREATE
            | WatchMask::MOVED_TO
            | WatchMask::DELETE
            | WatchMask::MOVED_FROM
            | WatchMask::ONLYDIR;
        let mut inner = self.lock();
        let watch = match inner.watches.add(dir, mask) {
            Ok(watch) => {
                inner.wakers.insert(watch.clone(), changed.clone());
                Some((self.clone(), watch))
            }
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "cannot watch a replica's directory");
                None
            }
        };
        Watched { changed, watch }
    }

    async fn run(self, mut events: EventStream<Vec<u8>>) {
        while let Some(event) = events.next().await {
            let Ok(event) = event else { continue };
            let inner = self.lock();
            if event.mask.contains(inotify::EventMask::Q_OVERFLOW) {
                inner.wakers.values().for_each(|waker| waker.notify_one());
            } else if event.name.is_some_and(|name| name == SOCKET) {
                inner.wakers.get(&event.wd).inspect(|waker| waker.notify_one());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let Some((sockets, watch)) = self.watch.take() else { return };
        let mut inner = sockets.lock();
        // The kernel gives a directory one watch: a newer watcher of it may have taken over.
        if inner.wakers.get(&watch).is_some_and(|waker| Arc::ptr_eq(waker, &self.changed)) {
            inner.wakers.remove(&watch);
            // The watch is gone already when its directory is.
            let _gone = inner.watches.remove(watch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_comes_and_goes_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (sockets, reader) = Sockets::open().unwrap();
        let reader = tokio::spawn(reader);
        let watched = sockets.watch(dir.path());
        std::fs::write(dir.path().join("tmp"), "").unwrap();
        std::fs::rename(dir.path().join("tmp"), dir.path().join(SOCKET)).unwrap();
        watched.changed.notified().await;
        std::fs::remove_file(dir.path().join(SOCKET)).unwrap();
        watched.changed.notified().await;
        drop(watched);
        assert!(sockets.lock().wakers.is_empty());
        reader.abort();
    }
}
