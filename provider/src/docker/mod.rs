//! Backend for Docker: a function is a few containers whose labels hold all of it.
//!
//! There is no other state. What is wanted and what serves is decided over and over from the
//! containers as the engine shows them ([`group`]), so a gateway that was killed at any point goes
//! on where it was. The engine's events drive everything; nothing is polled but the readiness of
//! images without our watchdog.

mod apply;
mod attend;
mod auth;
mod core;
mod engine;
mod files;
mod follow;
mod group;
mod image;
mod labels;
mod locks;
mod logs;
mod namespaces;
mod network;
mod node;
mod ready;
mod remove;
mod render;
mod report;
mod scale;
mod secrets;
mod see_off;
mod seen;
mod sockets;
mod watch;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use self::core::Core;
use self::engine::refused;
use self::namespaces::DockerNamespaces;
use crate::{
    Calls, Event, Function, Info, LogLine, LogQuery, Name, Namespaces, Provider, Result, Secrets,
    Status, Target,
};

/// Where Docker's engine listens unless told otherwise.
pub const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// The network of a gateway that names none.
pub const DEFAULT_NETWORK: &str = "flint";
/// The timeout of functions that name none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// After so long without an answer a replica's status says so.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(60);

/// How to use an engine.
#[derive(Clone, Debug)]
pub struct DockerConfig {
    /// The engine, as in `DOCKER_HOST`: `unix://...` or `tcp://...`. It must be on this machine,
    /// since replicas and gateway share directories.
    pub host: String,
    /// Name of the bridge network; it also marks which containers belong to this gateway.
    pub network: String,
    /// Where secrets and the replicas' directories are. Nobody else may use it.
    pub state_dir: PathBuf,
    /// Directory of Docker's `config.json`, for registry credentials.
    pub docker_config: Option<PathBuf>,
    /// Calls in flight: a replica is stopped when it has none, or its function's timeout is over.
    pub calls: Calls,
    /// Timeout of functions that name none.
    pub default_timeout: Duration,
    /// After so long without an answer a replica's status says so.
    pub listen_timeout: Duration,
}

impl DockerConfig {
    /// The usual engine and network.
    pub fn new(state_dir: PathBuf, calls: Calls) -> Self {
        Self {
            host: DEFAULT_HOST.to_owned(),
            network: DEFAULT_NETWORK.to_owned(),
            state_dir,
            docker_config: None,
            calls,
            default_timeout: DEFAULT_TIMEOUT,
            listen_timeout: LISTEN_TIMEOUT,
        }
    }
}

/// Functions on one Docker engine. Dropping it ends its tasks and leaves every container as it is.
pub struct Docker {
    core: Arc<Core>,
    namespaces: DockerNamespaces,
}

impl Docker {
    /// Connects to the engine and takes over all that belongs to this network.
    pub async fn connect(config: DockerConfig) -> Result<Arc<Self>> {
        let core = Core::open(config).await?;
        let since = watch::adopt(&core).await?;
        core.spawn(watch::run(core.clone(), since));
        let namespaces = DockerNamespaces {
            volumes: core.namespaces.clone(),
            secrets: core.secrets.clone(),
            gate: core.gate.clone(),
        };
        Ok(Arc::new(Self { core, namespaces }))
    }

    /// This machine's address on the functions' network, where they look for the gateway.
    ///
    /// Makes the network if need be, and keeps it from then on: without this call the network goes
    /// with the last function, and comes back with another address.
    pub async fn gateway_ip(&self) -> Result<Ipv4Addr> {
        self.core.network.pin().await;
        self.core.network.ensure(&self.core.engine).await
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.core.stop();
    }
}

/// Runs an operation to its end even if its caller goes away: half of one helps nobody.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    tokio::spawn(work).await.map_err(|e| refused(e.to_string()))?
}

#[async_trait]
impl Provider for Docker {
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

    fn secrets(&self) -> &dyn Secrets {
        &*self.core.secrets
    }

    fn namespaces(&self) -> Option<&dyn Namespaces> {
        Some(&self.namespaces)
    }

    fn info(&self) -> Info {
        Info { provider: "flint-docker", orchestration: "docker" }
    }

    async fn health(&self) -> Result<()> {
        self.core.engine.ping().await
    }
}
