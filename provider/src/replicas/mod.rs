//! Functions on one machine: replicas that an [`Engine`] runs, and all that is decided about them.
//!
//! What is wanted and what serves is decided over and over from the replicas as the engine shows
//! them ([`group`]), so a gateway that was killed at any point goes on where it was. The engine's
//! events drive everything; nothing is polled but the readiness of images without our watchdog.

mod apply;
mod attend;
mod core;
pub(crate) mod deploy;
pub(crate) mod engine;
pub(crate) mod files;
mod follow;
mod frost;
mod group;
pub(crate) mod logs;
pub(crate) mod machine;
pub(crate) mod namespaces;
mod ready;
mod remove;
mod report;
mod scale;
mod secrets;
mod see_off;
pub(crate) mod seen;
mod sockets;
mod stock;
pub(crate) mod usage;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use self::core::Core;
use self::engine::Engine;
use self::files::disk;
use self::namespaces::{NamespaceStore, ReplicaNamespaces};
use crate::{
    Calls, Event, Function, Info, LogLine, LogQuery, Name, Namespaces, Provider, Result, Secrets,
    Status, Target, Usage,
};

/// What every engine's backend is told.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where secrets and the replicas' directories are. Nobody else may use it.
    pub(crate) state_dir: PathBuf,
    /// Calls in flight: a replica is stopped when it has none, or its function's timeout is over.
    pub(crate) calls: Calls,
    /// Timeout of functions that name none.
    pub(crate) default_timeout: Duration,
    /// After so long without an answer a replica's status says so.
    pub(crate) listen_timeout: Duration,
}

/// Functions on one engine. Dropping it ends its tasks and leaves every replica as it is.
pub struct Replicas<E> {
    core: Arc<Core>,
    namespaces: ReplicaNamespaces,
    info: Info,
    pub(crate) engine: Arc<E>,
}

/// Takes over all that the engine runs.
pub(crate) async fn open<E: Engine + 'static>(
    engine: E,
    namespaces: Box<dyn NamespaceStore>,
    settings: Settings,
    info: Info,
) -> Result<Arc<Replicas<E>>> {
    let engine = Arc::new(engine);
    let core = Core::open(engine.clone(), namespaces, settings)?;
    let since = watch::adopt(&core).await?;
    core.spawn(watch::run(core.clone(), since));
    let namespaces = ReplicaNamespaces {
        set: core.namespaces.clone(),
        secrets: core.secrets.clone(),
        gate: core.gate.clone(),
    };
    Ok(Arc::new(Replicas { core, namespaces, info, engine }))
}

impl<E> Replicas<E> {
    /// Ends every task, as dropping it does: no replica changes from then on by our doing, and
    /// another gateway may take them over.
    pub fn stop(&self) {
        self.core.stop();
    }
}

impl<E> Drop for Replicas<E> {
    fn drop(&mut self) {
        self.core.stop();
    }
}

/// Runs an operation to its end even if its caller goes away: half of one helps nobody.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    tokio::spawn(work).await.map_err(|e| disk(e.to_string()))?
}

#[async_trait]
impl<E: Engine + 'static> Provider for Replicas<E> {
    async fn apply(&self, function: &Function) -> Result<Status> {
        to_the_end(self.core.clone().apply(function.clone())).await
    }

    async fn remove(&self, name: &Name) -> Result<()> {
        to_the_end(self.core.clone().remove(name.clone())).await
    }

    async fn scale(&self, name: &Name, to: Target) -> Result<()> {
        to_the_end(self.core.clone().scale(name.clone(), to)).await
    }

    fn watch(&self) -> BoxStream<'static, Event> {
        self.core.feed.watch()
    }

    async fn logs(&self, query: LogQuery) -> Result<BoxStream<'static, Result<LogLine>>> {
        self.core.logs(query)
    }

    async fn usage(&self) -> Result<Vec<Usage>> {
        self.core.usage().await
    }

    fn secrets(&self) -> &dyn Secrets {
        &*self.core.secrets
    }

    fn namespaces(&self) -> Option<&dyn Namespaces> {
        Some(&self.namespaces)
    }

    fn info(&self) -> Info {
        self.info.clone()
    }

    async fn health(&self) -> Result<()> {
        self.core.engine.ping().await
    }
}
