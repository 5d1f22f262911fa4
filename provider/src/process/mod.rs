//! Backend for local processes: a replica is a folder, and a confiner that runs in it.
//!
//! There is no other state. Confiners need no gateway: one that is killed leaves them as they are,
//! and the next one finds what is wanted in each folder's record and what runs by its lock. What is
//! decided about the replicas is in [`crate::replicas`].

mod cgroup;
mod engine;
mod life;
mod logs;
mod namespaces;
mod reclaim;
mod record;
mod render;
mod replica;
mod run;
mod shared;
mod tree;
mod usage;
mod watch;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use self::engine::ProcessEngine;
use self::namespaces::NamespaceFile;
use self::shared::Shared;
use crate::bundle::Store;
use crate::limits::{DEFAULT_TIMEOUT, LISTEN_TIMEOUT};
use crate::programs::Programs;
use crate::replicas::{self, Replicas, Settings};
use crate::{Calls, Error, Info, Result};

/// This backend's name in errors.
const BACKEND: &str = "process";
/// Names of the gateway inside functions.
const GATEWAY_NAMES: [&str; 2] = ["gateway", "gateway.openfaas"];
/// Where programs are looked for unless told otherwise.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// How to run functions as processes.
#[derive(Clone)]
pub struct ProcessConfig {
    /// Where secrets and the replicas' folders are. Nobody else may use it.
    pub state_dir: PathBuf,
    /// The program `fwatchdog`.
    pub watchdog: PathBuf,
    /// The bundles that functions are made of.
    pub bundles: Arc<Store>,
    /// The `PATH` on which the programs that bundles need are looked up.
    pub path: OsString,
    /// The home of this gateway's user, which functions never see as a whole.
    pub home: Option<PathBuf>,
    /// Calls in flight: a replica is stopped when it has none, or its function's timeout is over.
    pub calls: Calls,
    /// Names and addresses that functions know, the gateway's among them.
    pub hosts: BTreeMap<String, IpAddr>,
    /// Timeout of functions that name none.
    pub default_timeout: Duration,
    /// After so long without an answer a replica's status says so.
    pub listen_timeout: Duration,
}

impl ProcessConfig {
    /// The system's programs, and a gateway on this machine's loopback.
    pub fn new(state_dir: PathBuf, watchdog: PathBuf, bundles: Arc<Store>, calls: Calls) -> Self {
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        Self {
            state_dir,
            watchdog,
            bundles,
            path: DEFAULT_PATH.into(),
            home: None,
            calls,
            hosts: GATEWAY_NAMES.map(|name| (name.to_owned(), loopback)).into(),
            default_timeout: DEFAULT_TIMEOUT,
            listen_timeout: LISTEN_TIMEOUT,
        }
    }
}

/// Functions as processes of this machine. Dropping it ends its tasks and leaves every replica as it
/// is, for the next gateway to find.
pub type Process = Replicas<ProcessEngine>;

impl Process {
    /// Takes over all that is in the state directory.
    pub async fn connect(config: ProcessConfig) -> Result<Arc<Self>> {
        // Confiners are told paths, and have another working directory.
        let absolute =
            |path: &PathBuf| std::path::absolute(path).map_err(|e| refused(e.to_string()));
        let state_dir = absolute(&config.state_dir)?;
        let programs = Programs::new(&config.path, config.home, vec![state_dir.clone()]);
        let watchdog = absolute(&config.watchdog)?;
        let shared = Shared::new(watchdog, config.bundles, programs, config.hosts)?;
        let engine = ProcessEngine::open(shared, &state_dir).await?;
        let namespaces = Box::new(NamespaceFile::new(&state_dir));
        let settings = Settings {
            state_dir,
            calls: config.calls,
            default_timeout: config.default_timeout,
            listen_timeout: config.listen_timeout,
        };
        let info = Info { provider: "flint-process", orchestration: "process", freezes: true };
        replicas::open(engine, namespaces, settings, info).await
    }

    /// Ends all replicas, as a gateway does that is told to end: what is wanted stays, and the next
    /// one starts them again.
    pub async fn shutdown(&self) {
        self.stop();
        self.engine.shut_down().await;
    }
}

/// An [`Error::Backend`] of this backend.
fn refused(reason: impl Into<String>) -> Error {
    Error::Backend { backend: BACKEND, reason: reason.into() }
}

/// Runs what blocks beside the tasks that must not.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| refused(e.to_string()))?
}
