//! How many connections there may be.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places for connections, shared by servers on any threads. When there is none, a server accepts
/// nobody: who comes waits in the kernel's queue, in the order of coming, and is not refused.
///
/// Each server keeps one place for whoever comes next, so `count` places and one more for each
/// server let `count` connections be open in any case. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Places(Arc<Semaphore>);

/// One of the places, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place(
    #[expect(dead_code, reason = "is kept to be dropped")] OwnedSemaphorePermit,
);

impl Places {
    /// So many; at least one.
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS))))
    }

    /// The next place that is free, in the order in which they are asked for.
    pub(crate) async fn take(&self) -> Option<Place> {
        // It is never closed.
        self.0.clone().acquire_owned().await.ok().map(Place)
    }
}
