//! What a gateway says of all its functions.

use std::time::Duration;

use crate::PullPolicy;

/// Timeout of functions that name none: what the gateway itself waits.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// Port at which functions find the gateway (contract 8.7).
const GATEWAY_PORT: u16 = 8080;
/// Networks that are not the outside: private ones (RFC 1918, 4193), shared ones that clusters
/// take for pods (RFC 6598), and link-local ones, where clouds tell machines their credentials.
const INTERNAL: [&str; 7] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
];

/// What a gateway says of all its functions; a function's own annotations win.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Timeout of functions that name none.
    pub default_timeout: Duration,
    /// When images are pulled.
    pub image_pull_policy: PullPolicy,
    /// Whether functions run as the user 12000 whatever their image says.
    pub set_nonroot_user: bool,
    /// Whether functions are asked over HTTP whether they are well; else `/tmp/.lock` is read.
    pub http_probe: bool,
    /// When readiness is asked for.
    pub readiness: ProbeTimes,
    /// When it is asked whether a function lives.
    pub liveness: ProbeTimes,
    /// Whether each function gets a NetworkPolicy.
    pub network_policies: bool,
    /// The gateway's own namespace: from there functions are called.
    pub gateway_namespace: String,
    /// The port at which functions find the gateway.
    pub gateway_port: u16,
    /// Networks that functions with a NetworkPolicy do not reach, such as those of pods, of
    /// Services and of the API server.
    pub internal_networks: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_timeout: DEFAULT_TIMEOUT,
            image_pull_policy: PullPolicy::default(),
            set_nonroot_user: false,
            http_probe: false,
            readiness: ProbeTimes::default(),
            liveness: ProbeTimes::default(),
            network_policies: false,
            gateway_namespace: "openfaas".to_owned(),
            gateway_port: GATEWAY_PORT,
            internal_networks: INTERNAL.map(str::to_owned).to_vec(),
        }
    }
}

/// When a probe asks (contract 8.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeTimes {
    /// From the start of the container to the first probe.
    pub initial_delay_seconds: u32,
    /// How long an answer may take.
    pub timeout_seconds: u32,
    /// From one probe to the next.
    pub period_seconds: u32,
    /// Good answers in a row after which it is well again. Kubernetes wants 1 for liveness.
    pub success_threshold: u32,
    /// Bad answers in a row after which it is not.
    pub failure_threshold: u32,
}

impl Default for ProbeTimes {
    fn default() -> Self {
        Self {
            initial_delay_seconds: 0,
            timeout_seconds: 1,
            period_seconds: 2,
            success_threshold: 1,
            failure_threshold: 3,
        }
    }
}
