//! Backend for Docker: a function is a few containers whose labels hold all of it.
//!
//! There is no other state, so a gateway that was killed at any point goes on where it was. What is
//! decided about the containers is in [`crate::replicas`].

mod api;
mod auth;
mod engine;
mod image;
mod inspect;
mod labels;
mod logs;
mod namespaces;
mod network;
mod node;
mod render;
mod usage;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use self::api::Api;
use self::engine::DockerEngine;
use self::image::Images;
use self::namespaces::NamespaceVolumes;
use self::network::Network;
use self::node::Node;
use crate::limits::{DEFAULT_TIMEOUT, LISTEN_TIMEOUT};
use crate::replicas::{self, Replicas, Settings};
use crate::{Calls, Info, Result};

/// Where Docker's engine listens unless told otherwise.
pub const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// Where control groups are unless told otherwise.
const CGROUPS: &str = "/sys/fs/cgroup";
/// The network of a gateway that names none.
pub const DEFAULT_NETWORK: &str = "flint";

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
    /// Where control groups are, of either version. Of a replica that has none there the engine is
    /// asked what it uses.
    pub cgroups: PathBuf,
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
            cgroups: CGROUPS.into(),
        }
    }
}

/// Whether an engine answers there.
pub async fn answers(host: &str) -> Result<()> {
    Api::connect(host, DEFAULT_NETWORK).await?.ping().await
}

/// Functions on one Docker engine. Dropping it ends its tasks and leaves every container as it is.
pub type Docker = Replicas<DockerEngine>;

impl Docker {
    /// Connects to the engine and takes over all that belongs to this network.
    pub async fn connect(config: DockerConfig) -> Result<Arc<Self>> {
        let api = Api::connect(&config.host, &config.network).await?;
        let engine = DockerEngine {
            images: Images { engine: api.clone(), docker_config: config.docker_config },
            network: Network::default(),
            node: Mutex::new(Node::default()),
            cgroups: config.cgroups,
            api: api.clone(),
        };
        let settings = Settings {
            state_dir: config.state_dir,
            calls: config.calls,
            default_timeout: config.default_timeout,
            listen_timeout: config.listen_timeout,
        };
        let info = Info { provider: "flint-docker", orchestration: "docker", freezes: true };
        replicas::open(engine, Box::new(NamespaceVolumes { engine: api }), settings, info).await
    }

    /// This machine's address on the functions' network, where they look for the gateway.
    ///
    /// Makes the network if need be, and keeps it from then on: without this call the network goes
    /// with the last function, and comes back with another address.
    pub async fn gateway_ip(&self) -> Result<Ipv4Addr> {
        self.engine.network.pin().await;
        self.engine.network.ensure(&self.engine.api).await
    }
}
