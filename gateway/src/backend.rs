//! Where functions run: the provider that was asked for, and what the gateway does for it.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use provider::bundle::Store;
use provider::docker::{self, Docker, DockerConfig};
use provider::kubernetes::{ElectionConfig, Kubernetes, KubernetesConfig};
use provider::process::{Process, ProcessConfig};
use provider::{Calls, Provider};
use sha2::{Digest, Sha256};

use crate::app::StartError;
use crate::config::{Config, Place, ProviderKind, is_inside_cluster};
use crate::peers::Lead;

/// Names of the gateway inside functions.
const GATEWAY_NAMES: [&str; 2] = ["gateway", "gateway.openfaas"];

/// The Lease of the gateway that leads.
const LEASE: &str = "flint-gateway";

/// A provider, and what belongs to it.
pub struct Backend {
    /// Where functions run.
    pub provider: Arc<dyn Provider>,
    /// The address at which functions look for the gateway, where it must listen there.
    pub functions_ip: Option<IpAddr>,
    /// What functions are made of, when that is bundles.
    pub bundles: Option<Arc<Store>>,
    /// Which gateway leads, of those in front of the same functions.
    pub lead: Lead,
    /// What this gateway is called among them; no other process has ever been.
    pub name: String,
    engine: Engine,
}

/// The provider by what it is.
enum Engine {
    Docker(Arc<Docker>),
    Process(Arc<Process>),
    Kubernetes(Arc<Kubernetes>),
}

/// Puts what is there in the place of [`ProviderKind::Auto`].
pub async fn resolve(config: Config) -> Config {
    if config.provider != ProviderKind::Auto {
        return config;
    }
    if is_inside_cluster() {
        return Config { provider: ProviderKind::Kubernetes, ..config };
    }
    let provider = match docker::answers(&config.docker_host).await {
        Ok(()) => ProviderKind::Docker,
        Err(reason) => {
            tracing::info!(%reason, "no Docker engine answers: functions run as processes");
            ProviderKind::Process
        }
    };
    Config { provider, ..config }
}

impl Backend {
    /// Takes over what runs already.
    pub async fn open(
        config: &Config,
        state_dir: &Path,
        calls: &Calls,
    ) -> Result<Self, StartError> {
        match config.provider {
            ProviderKind::Docker => on_docker(config, state_dir, calls).await,
            ProviderKind::Kubernetes => on_kubernetes(config, calls).await,
            ProviderKind::Process | ProviderKind::Auto => {
                on_processes(config, state_dir, calls).await
            }
        }
    }

    /// Lets another gateway lead at once, if this one does.
    pub async fn resign(&self) {
        if let Engine::Kubernetes(kubernetes) = &self.engine {
            kubernetes.resign().await;
        }
    }

    /// Ends what is of no use without a gateway. Containers stay: their engine looks after them.
    /// Processes end, and the next gateway starts them again.
    pub async fn close(self) {
        if let Engine::Process(process) = self.engine {
            process.shutdown().await;
        }
    }

    /// Leaves everything as it is from now on, for another gateway to take over.
    pub fn let_go(&self) {
        match &self.engine {
            Engine::Docker(docker) => docker.stop(),
            Engine::Process(process) => process.stop(),
            Engine::Kubernetes(kubernetes) => kubernetes.stop(),
        }
    }
}

async fn on_docker(
    config: &Config,
    state_dir: &Path,
    calls: &Calls,
) -> Result<Backend, StartError> {
    let usual = DockerConfig::new(state_dir.to_owned(), calls.clone());
    let docker = Docker::connect(DockerConfig {
        host: config.docker_host.clone(),
        network: config.docker_network.clone(),
        docker_config: config.docker_config(),
        default_timeout: config.upstream_timeout,
        ..usual
    })
    .await?;
    let functions_ip = Some(docker.gateway_ip().await?.into());
    let engine = Engine::Docker(docker.clone());
    let (bundles, lead, name) = Default::default();
    Ok(Backend { provider: docker, functions_ip, bundles, lead, name, engine })
}

/// Functions look for a Service there, whatever gateways are behind it.
async fn on_kubernetes(config: &Config, calls: &Calls) -> Result<Backend, StartError> {
    let election = config.place().map(election);
    let name = election.as_ref().map_or_else(String::new, |election| election.identity.clone());
    let kubernetes = Kubernetes::connect(KubernetesConfig {
        function_namespace: config.kubernetes.function_namespace.clone(),
        cluster_wide: config.kubernetes.cluster_wide,
        profiles_namespace: config.kubernetes.profiles(),
        settings: config.kubernetes_settings(),
        election,
        ..KubernetesConfig::new(calls.clone())
    })
    .await?;
    Ok(Backend {
        provider: kubernetes.clone(),
        functions_ip: None,
        bundles: None,
        lead: Lead::new(kubernetes.leadership()),
        name,
        engine: Engine::Kubernetes(kubernetes),
    })
}

/// How this gateway stands for the lease. A pod that is started again is another candidate.
fn election(Place { namespace, pod, url }: Place) -> ElectionConfig {
    let once = uuid::Uuid::new_v4().simple().to_string();
    let identity = format!("{pod}-{}", &once[..8]);
    ElectionConfig { namespace, name: LEASE.to_owned(), identity, url }
}

async fn on_processes(
    config: &Config,
    state_dir: &Path,
    calls: &Calls,
) -> Result<Backend, StartError> {
    let bundles = Store::open(state_dir, config.bundle_limits())?;
    let functions_ip: IpAddr = loopback_of(state_dir).into();
    let watchdog = config.watchdog()?;
    let usual = ProcessConfig::new(state_dir.to_owned(), watchdog, bundles.clone(), calls.clone());
    let process = Process::connect(ProcessConfig {
        path: std::env::var_os("PATH").unwrap_or_default(),
        home: std::env::var_os("HOME").map(PathBuf::from),
        hosts: GATEWAY_NAMES.map(|name| (name.to_owned(), functions_ip)).into(),
        default_timeout: config.upstream_timeout,
        ..usual
    })
    .await?;
    let (lead, name) = Default::default();
    Ok(Backend {
        provider: process.clone(),
        functions_ip: Some(functions_ip),
        bundles: Some(bundles),
        lead,
        name,
        engine: Engine::Process(process),
    })
}

/// An address of loopback that only this gateway uses, so that several can listen on the port at
/// which functions look for them. It is the same for a state folder at any time: replicas that
/// outlive a gateway know it.
fn loopback_of(state_dir: &Path) -> Ipv4Addr {
    let hash = Sha256::digest(state_dir.as_os_str().as_bytes());
    // Not 127.0.x.x, which others use, and no byte that stands for a network or for all of one.
    let inner = |byte: u8| byte.clamp(1, 254);
    Ipv4Addr::new(127, inner(hash[0]), inner(hash[1]), inner(hash[2]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_folder_has_an_address_of_its_own() {
        let one = loopback_of(Path::new("/var/lib/flint"));
        assert_eq!(one, loopback_of(Path::new("/var/lib/flint")));
        assert_ne!(one, loopback_of(Path::new("/home/a/.local/state/flint")));
        assert!(one.is_loopback() && one.octets()[1] != 0, "{one}");
    }
}
