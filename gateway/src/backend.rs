//! Where functions run: the provider that was asked for, and what the gateway does for it.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use provider::bundle::Store;
use provider::docker::{self, Docker, DockerConfig};
use provider::process::{Process, ProcessConfig};
use provider::{Calls, Provider};
use sha2::{Digest, Sha256};

use crate::app::StartError;
use crate::config::{Config, ProviderKind};

/// Names of the gateway inside functions.
const GATEWAY_NAMES: [&str; 2] = ["gateway", "gateway.openfaas"];

/// A provider, and what belongs to it.
pub struct Backend {
    /// Where functions run.
    pub provider: Arc<dyn Provider>,
    /// The address at which functions look for the gateway.
    pub functions_ip: IpAddr,
    /// What functions are made of, when that is bundles.
    pub bundles: Option<Arc<Store>>,
    engine: Engine,
}

/// The provider by what it is.
enum Engine {
    Docker(Arc<Docker>),
    Process(Arc<Process>),
}

/// Puts what is there in the place of [`ProviderKind::Auto`].
pub async fn resolve(config: Config) -> Config {
    if config.provider != ProviderKind::Auto {
        return config;
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
            ProviderKind::Process | ProviderKind::Auto => {
                on_processes(config, state_dir, calls).await
            }
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
    let functions_ip = docker.gateway_ip().await?.into();
    let engine = Engine::Docker(docker.clone());
    Ok(Backend { provider: docker, functions_ip, bundles: None, engine })
}

async fn on_processes(
    config: &Config,
    state_dir: &Path,
    calls: &Calls,
) -> Result<Backend, StartError> {
    let bundles = Store::open(state_dir, config.bundle_limits())?;
    let functions_ip = loopback_of(state_dir).into();
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
    Ok(Backend {
        provider: process.clone(),
        functions_ip,
        bundles: Some(bundles),
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
