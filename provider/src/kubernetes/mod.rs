//! Backend for Kubernetes: a function is a Deployment and a Service.
//!
//! The cluster holds all state and does the scheduling. Watches tell what becomes of it, so no call
//! and no look at a function costs a request; while the API server is away, what was known last
//! stays, and calls go on.

mod adopt;
mod apply;
mod core;
mod crd;
mod deployments;
mod dial;
mod error;
mod follow;
mod lease;
mod logs;
mod manifests;
mod namespaces;
mod pods;
mod profiles;
mod read;
mod remove;
mod render;
mod report;
mod scale;
mod scope;
mod secrets;
mod state;
mod usage;
mod watch;
#[cfg(test)]
mod watch_tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};

use self::core::{Core, Parts, asked};
use self::error::{away, refused};
pub use self::lease::{Candidacy, ElectionConfig, campaign};
pub use self::manifests::manifests;
use self::namespaces::ClusterNamespaces;
pub use self::render::{ProbeTimes, Settings};
use self::scope::Scope;
use self::secrets::ClusterSecrets;
use crate::function::label;
use crate::limits::LISTEN_TIMEOUT;
use crate::{
    Calls, DEFAULT_NAMESPACE, Error, Event, Function, Info, Leadership, LogLine, LogQuery, Name,
    Namespaces, Provider, Result, Secrets, Status, Target, Usage,
};

/// Longest that a connection to the API server may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the first lists.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for an answer to whether the API server is there.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// How to use a cluster.
#[derive(Clone, Debug)]
pub struct KubernetesConfig {
    /// A kubeconfig file. Without one it is the cluster that this process runs in, else what
    /// `KUBECONFIG` names.
    pub kubeconfig: Option<PathBuf>,
    /// The cluster's namespace that the API's default one stands for.
    pub function_namespace: String,
    /// Whether other namespaces are served too: those that are annotated so.
    pub cluster_wide: bool,
    /// Where profiles are.
    pub profiles_namespace: String,
    /// Calls in flight: a pod that is about to go takes none.
    pub calls: Calls,
    /// After so long without an answer a replica's status says so.
    pub listen_timeout: Duration,
    /// What functions are made with.
    pub settings: Settings,
    /// How it is decided which gateway leads; `None` when there is but one.
    pub election: Option<ElectionConfig>,
}

impl KubernetesConfig {
    /// The usual namespaces.
    pub fn new(calls: Calls) -> Self {
        let settings = Settings::default();
        Self {
            kubeconfig: None,
            function_namespace: DEFAULT_NAMESPACE.to_owned(),
            cluster_wide: false,
            profiles_namespace: settings.gateway_namespace.clone(),
            calls,
            listen_timeout: LISTEN_TIMEOUT,
            settings,
            election: None,
        }
    }
}

/// Functions on one cluster. Dropping it ends its tasks and leaves everything in the cluster as it
/// is.
pub struct Kubernetes {
    core: Arc<Core>,
    secrets: ClusterSecrets,
    namespaces: ClusterNamespaces,
    candidacy: Option<Candidacy>,
}

impl Kubernetes {
    /// Connects to the API server, and learns all that runs.
    ///
    /// # Errors
    /// When the API server does not answer, or does not let this process read what it needs.
    pub async fn connect(config: KubernetesConfig) -> Result<Arc<Self>> {
        let client = client(config.kubeconfig.as_ref()).await?;
        let gateway = &config.settings.gateway_namespace;
        let scope = Scope::new(&config.function_namespace, gateway, config.cluster_wide);
        let core = Core::new(Parts {
            client,
            scope: Arc::new(scope),
            settings: config.settings,
            profiles_namespace: config.profiles_namespace,
            listen_timeout: config.listen_timeout,
            calls: config.calls,
        });
        let candidacy = config.election.map(|election| campaign(core.client.clone(), election));
        let kubernetes = Arc::new(Self {
            candidacy,
            secrets: ClusterSecrets::new(core.client.clone(), core.scope.clone()),
            namespaces: ClusterNamespaces::new(core.client.clone(), core.scope.clone()),
            core,
        });
        kubernetes.follow();
        kubernetes.until_listed().await?;
        let core = &kubernetes.core;
        core.spawn(crd::operate(core.clone(), kubernetes.leadership()));
        Ok(kubernetes)
    }

    /// Which gateway leads, where there can be several.
    pub fn leadership(&self) -> Option<tokio::sync::watch::Receiver<Leadership>> {
        self.candidacy.as_ref().map(Candidacy::leadership)
    }

    /// Leads no more, and lets another gateway lead at once.
    pub async fn resign(&self) {
        if let Some(candidacy) = &self.candidacy {
            candidacy.resign().await;
        }
    }

    /// Ends every task, as dropping it does.
    pub fn stop(&self) {
        self.core.stop();
    }

    /// Begins the watches.
    fn follow(&self) {
        let core = &self.core;
        let (client, only) = (core.client.clone(), core.scope.function_namespace.clone());
        let (deployments, pods) = match core.scope.cluster_wide {
            true => (Api::all(client.clone()), Api::all(client.clone())),
            false => {
                (Api::namespaced(client.clone(), &only), Api::namespaced(client.clone(), &only))
            }
        };
        let functions = label::FUNCTION;
        core.spawn(watch::follow::<watch::Deployments>(core.clone(), deployments, functions));
        core.spawn(watch::follow::<watch::Pods>(core.clone(), pods, functions));
        if core.scope.cluster_wide {
            let all = Api::all(client);
            core.spawn(watch::follow::<watch::Namespaces>(core.clone(), all, ""));
        }
    }

    /// Waits for the first lists. What is refused is not waited for.
    async fn until_listed(&self) -> Result<()> {
        let core = &self.core;
        let mut trouble = core.trouble.subscribe();
        let is_refused = |error: &Option<Error>| {
            error.as_ref().is_some_and(|error| !matches!(error, Error::Unavailable { .. }))
        };
        let listed = tokio::select! {
            listed = core.until(LIST_TIMEOUT, |world| world.is_listed(&core.scope)) => listed,
            _ = trouble.wait_for(is_refused) => false,
        };
        if listed {
            return Ok(());
        }
        let silent = || away(format!("it has not answered for {} s", LIST_TIMEOUT.as_secs()));
        Err(core.trouble.borrow().clone().unwrap_or_else(silent))
    }
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        self.core.stop();
    }
}

/// A client of the cluster that this process runs in, or of the one that is named.
async fn client(kubeconfig: Option<&PathBuf>) -> Result<Client> {
    let inside = || kube::Config::incluster().map_err(|e| e.to_string());
    let mut config = match kubeconfig {
        Some(path) => named(path).await?,
        None => match inside() {
            Ok(config) => config,
            Err(inside) => kube::Config::from_kubeconfig(&KubeConfigOptions::default())
                .await
                .map_err(|outside| {
                    refused(format!(
                        "no cluster: {outside}; and this is no pod of one ({inside}); name one with \
                         KUBECONFIG"
                    ))
                })?,
        },
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    Client::try_from(config).map_err(|e| refused(e.to_string()))
}

async fn named(path: &PathBuf) -> Result<kube::Config> {
    let unreadable = |e: String| refused(format!("{}: {e}", path.display()));
    let kubeconfig = Kubeconfig::read_from(path).map_err(|e| unreadable(e.to_string()))?;
    kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|e| unreadable(e.to_string()))
}

/// A time near this one, so that many do not come back at the same moment.
fn jitter(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness all wait as long: that is no reason to fail.
    let _same = getrandom::fill(&mut byte);
    pause.mul_f64(0.5 + f64::from(byte[0]) / 255.0)
}

/// Runs an operation to its end even if its caller goes away: half of one helps nobody.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    tokio::spawn(work).await.map_err(|e| refused(e.to_string()))?
}

#[async_trait]
impl Provider for Kubernetes {
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
        &self.secrets
    }

    fn namespaces(&self) -> Option<&dyn Namespaces> {
        Some(&self.namespaces)
    }

    fn info(&self) -> Info {
        Info { provider: "flint-kubernetes", orchestration: "kubernetes", freezes: false }
    }

    async fn health(&self) -> Result<()> {
        let version = self.core.client.apiserver_version();
        match tokio::time::timeout(PING_TIMEOUT, asked("version", version)).await {
            Ok(answer) => answer.map(drop),
            Err(_) => Err(away(format!("it has not answered for {} s", PING_TIMEOUT.as_secs()))),
        }
    }
}
