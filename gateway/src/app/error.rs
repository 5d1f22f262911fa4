//! Why the gateway does not run, and what to do about it.

use std::io::ErrorKind;
use std::net::SocketAddr;

use crate::auth::CredentialsError;
use crate::config::ConfigError;
use crate::holder::Holder;
use crate::state::StateError;

/// Why the gateway does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A flag or variable cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The credentials cannot be read or made.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The provider does not answer.
    #[error(transparent)]
    Provider(#[from] provider::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}{}", in_use_by(.holder.as_ref()))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Who listens there, when that can be known.
        holder: Option<Holder>,
        /// Why.
        source: std::io::Error,
    },
    /// The gateway whose place this one was to take does not let go.
    #[error("the gateway that runs does not hand over: {0}; it goes on serving")]
    Takeover(std::io::Error),
    /// The metrics cannot be registered.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
    /// No client for Prometheus, or for other gateways, can be made.
    #[error("others cannot be asked over HTTP: {0}")]
    Client(#[from] reqwest::Error),
    /// A function cannot be on a cluster.
    #[error("line {line}: {source}")]
    Manifest {
        /// The function's line, from 1.
        line: usize,
        /// Why.
        source: provider::Error,
    },
    /// The kernel gave no threads or signals.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl StartError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Provider(provider::Error::Unavailable { backend: "Kubernetes", .. }) => Some(
                "is the API server there, and may this pod's service account (or the kubeconfig that \
                 KUBECONFIG names) talk to it?",
            ),
            Self::Provider(provider::Error::Unavailable { .. }) => Some(
                "start the engine, let this user use it (group docker), or name it with --docker-host; \
                 functions run without Docker with --provider process",
            ),
            Self::Listen { source, .. } if source.kind() == ErrorKind::AddrInUse => Some(
                "stop the program that listens there, or choose other ports with --port, --tls-port \
                 and --metrics-port",
            ),
            Self::Listen { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                Some("ports below 1024 need root; choose another with --port")
            }
            Self::State(StateError::Io { .. }) => {
                Some("choose a folder that this user may write with --state-dir")
            }
            _ => None,
        }
    }
}

fn in_use_by(holder: Option<&Holder>) -> String {
    holder.map_or_else(String::new, |holder| format!("; {holder} listens there"))
}
