//! The flags of the Kubernetes provider.

use std::net::{IpAddr, UdpSocket};
use std::path::Path;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use provider::kubernetes::{ProbeTimes, Settings};
use provider::{DEFAULT_NAMESPACE, PullPolicy, is_dns_label};
use reqwest::Url;

use super::{Config, ConfigError, PlainHttp, ProviderKind};

/// Where a pod finds what lets it talk to the API server.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The gateway's namespace where nothing else is known (contract 8.7).
const GATEWAY_NAMESPACE: &str = "openfaas";

/// How functions run on Kubernetes, and how gateways find each other there.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Kubernetes")]
pub struct KubernetesArgs {
    /// The cluster's namespace of functions that name none
    #[arg(long, env = "function_namespace", value_name = "function_namespace",
          default_value = DEFAULT_NAMESPACE, value_parser = namespace)]
    pub function_namespace: String,

    /// Whether other namespaces are served too: those with the annotation openfaas=1
    #[arg(long, env = "FAAS_CLUSTER_WIDE", value_name = "FAAS_CLUSTER_WIDE", num_args = 0..=1,
          default_value_t = false, default_missing_value = "true",
          action = clap::ArgAction::Set)]
    pub cluster_wide: bool,

    /// The namespace of this gateway's pod, where gateways agree on which of them leads [default:
    /// that of the service account; outside of a cluster this gateway is alone]
    #[arg(long, env = "FAAS_POD_NAMESPACE", value_name = "FAAS_POD_NAMESPACE",
          value_parser = namespace)]
    pub pod_namespace: Option<String>,

    /// The name of this gateway's pod [default: the host's name]
    #[arg(long, env = "FAAS_POD_NAME", value_name = "FAAS_POD_NAME", value_parser = pod)]
    pub pod_name: Option<String>,

    /// Address at which the other gateways reach this one [default: this pod's address and port]
    #[arg(long, env = "FAAS_PEER_URL", value_name = "FAAS_PEER_URL", value_parser = url)]
    pub peer_url: Option<Url>,

    /// Namespace of Profile objects [default: that of the gateway's pod]
    #[arg(long, env = "profiles_namespace", value_name = "profiles_namespace",
          value_parser = namespace)]
    pub profiles_namespace: Option<String>,

    /// When images of functions are pulled
    #[arg(long, env = "image_pull_policy", value_name = "image_pull_policy",
          default_value = PullPolicy::default().word())]
    pub image_pull_policy: PullPolicy,

    /// Whether functions run as the user 12000, whatever their image says
    #[arg(long, env = "set_nonroot_user", value_name = "set_nonroot_user", num_args = 0..=1,
          default_value_t = false, default_missing_value = "true",
          action = clap::ArgAction::Set)]
    pub set_nonroot_user: bool,

    /// Whether functions are asked over HTTP whether they are well; else the file /tmp/.lock is
    /// looked for in their containers
    #[arg(long, env = "http_probe", value_name = "http_probe", num_args = 0..=1,
          default_value_t = false, default_missing_value = "true",
          action = clap::ArgAction::Set)]
    pub http_probe: bool,

    /// Whether each function gets a NetworkPolicy: called by the gateway only, reaching DNS, the
    /// gateway and the outside
    #[arg(long, env = "FAAS_NETWORK_POLICIES", value_name = "FAAS_NETWORK_POLICIES",
          num_args = 0..=1, default_value_t = false, default_missing_value = "true",
          action = clap::ArgAction::Set)]
    pub network_policies: bool,

    /// From a container's start to its first readiness probe
    #[arg(long, env = "readiness_probe_initial_delay_seconds",
          value_name = "readiness_probe_initial_delay_seconds",
          default_value_t = 0, value_parser = from_zero(), hide_short_help = true)]
    pub readiness_probe_initial_delay_seconds: u32,
    /// How long an answer to a readiness probe may take
    #[arg(long, env = "readiness_probe_timeout_seconds",
          value_name = "readiness_probe_timeout_seconds",
          default_value_t = 1, value_parser = from_one(), hide_short_help = true)]
    pub readiness_probe_timeout_seconds: u32,
    /// From one readiness probe to the next
    #[arg(long, env = "readiness_probe_period_seconds",
          value_name = "readiness_probe_period_seconds",
          default_value_t = 2, value_parser = from_one(), hide_short_help = true)]
    pub readiness_probe_period_seconds: u32,
    /// Good answers in a row after which a replica is ready again
    #[arg(long, env = "readiness_probe_success_threshold",
          value_name = "readiness_probe_success_threshold",
          default_value_t = 1, value_parser = from_one(), hide_short_help = true)]
    pub readiness_probe_success_threshold: u32,
    /// Bad answers in a row after which a replica is not ready
    #[arg(long, env = "readiness_probe_failure_threshold",
          value_name = "readiness_probe_failure_threshold",
          default_value_t = 3, value_parser = from_one(), hide_short_help = true)]
    pub readiness_probe_failure_threshold: u32,

    /// From a container's start to its first liveness probe
    #[arg(long, env = "liveness_probe_initial_delay_seconds",
          value_name = "liveness_probe_initial_delay_seconds",
          default_value_t = 0, value_parser = from_zero(), hide_short_help = true)]
    pub liveness_probe_initial_delay_seconds: u32,
    /// How long an answer to a liveness probe may take
    #[arg(long, env = "liveness_probe_timeout_seconds",
          value_name = "liveness_probe_timeout_seconds",
          default_value_t = 1, value_parser = from_one(), hide_short_help = true)]
    pub liveness_probe_timeout_seconds: u32,
    /// From one liveness probe to the next
    #[arg(long, env = "liveness_probe_period_seconds",
          value_name = "liveness_probe_period_seconds",
          default_value_t = 2, value_parser = from_one(), hide_short_help = true)]
    pub liveness_probe_period_seconds: u32,
    /// Bad answers in a row after which a container is started anew
    #[arg(long, env = "liveness_probe_failure_threshold",
          value_name = "liveness_probe_failure_threshold",
          default_value_t = 3, value_parser = from_one(), hide_short_help = true)]
    pub liveness_probe_failure_threshold: u32,
}

/// Who this gateway is, among those of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The namespace of its pod.
    pub namespace: String,
    /// The name of its pod.
    pub pod: String,
    /// Where the others reach it.
    pub url: Option<String>,
}

impl Config {
    /// What is the same for all functions.
    pub fn kubernetes_settings(&self) -> Settings {
        let args = &self.kubernetes;
        Settings {
            default_timeout: self.upstream_timeout,
            image_pull_policy: args.image_pull_policy,
            set_nonroot_user: args.set_nonroot_user,
            http_probe: args.http_probe,
            readiness: args.readiness(),
            liveness: args.liveness(),
            network_policies: args.network_policies,
            gateway_namespace: args.gateway_namespace(),
            gateway_port: self.port,
            ..Settings::default()
        }
    }

    /// Who this gateway is in the cluster; `None` outside of one, where it is alone.
    pub fn place(&self) -> Option<Place> {
        let args = &self.kubernetes;
        let namespace = args.pod_namespace.clone().or_else(own_namespace)?;
        let host = || std::env::var("HOSTNAME").ok().or_else(host_name);
        let pod = args.pod_name.clone().or_else(host).unwrap_or_else(|| "gateway".to_owned());
        let url = args.peer_url.as_ref().map(|url| url.as_str().trim_end_matches('/').to_owned());
        Some(Place { namespace, pod, url: url.or_else(|| self.own_url()) })
    }

    /// Where others reach this machine, by the address from which it reaches the API server.
    fn own_url(&self) -> Option<String> {
        let host = std::env::var("KUBERNETES_SERVICE_HOST").ok()?.parse::<IpAddr>().ok()?;
        let any: IpAddr = if host.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        // Nothing is sent by that.
        socket.connect((host, 443)).ok()?;
        let mut address = socket.local_addr().ok()?;
        let is_plain = self.tls.plain_http == PlainHttp::All;
        address.set_port(if is_plain { self.port } else { self.tls.tls_port });
        Some(format!("{}://{address}", if is_plain { "http" } else { "https" }))
    }
}

impl KubernetesArgs {
    /// The namespace of this gateway and of what belongs to it.
    fn gateway_namespace(&self) -> String {
        let own = self.pod_namespace.clone().or_else(own_namespace);
        own.unwrap_or_else(|| GATEWAY_NAMESPACE.to_owned())
    }

    /// Where profiles are.
    pub fn profiles(&self) -> String {
        self.profiles_namespace.clone().unwrap_or_else(|| self.gateway_namespace())
    }

    fn readiness(&self) -> ProbeTimes {
        ProbeTimes {
            initial_delay_seconds: self.readiness_probe_initial_delay_seconds,
            timeout_seconds: self.readiness_probe_timeout_seconds,
            period_seconds: self.readiness_probe_period_seconds,
            success_threshold: self.readiness_probe_success_threshold,
            failure_threshold: self.readiness_probe_failure_threshold,
        }
    }

    fn liveness(&self) -> ProbeTimes {
        ProbeTimes {
            initial_delay_seconds: self.liveness_probe_initial_delay_seconds,
            timeout_seconds: self.liveness_probe_timeout_seconds,
            period_seconds: self.liveness_probe_period_seconds,
            success_threshold: 1,
            failure_threshold: self.liveness_probe_failure_threshold,
        }
    }

    /// Checks what one flag alone cannot know.
    pub(super) fn validate(&self, config: &Config) -> Result<(), ConfigError> {
        if config.provider == ProviderKind::Kubernetes && config.takeover {
            let reason = "is for gateways of one machine: Kubernetes replaces pods by itself";
            return Err(ConfigError::new("FAAS_TAKEOVER", "true".to_owned(), reason));
        }
        match &self.peer_url {
            Some(url) if url.scheme() == "https" && config.tls.tls_cert.is_none() => {
                let reason = "needs FAAS_TLS_CERT: gateways trust who has the same certificate";
                Err(ConfigError::new("FAAS_PEER_URL", url.to_string(), reason))
            }
            _ => Ok(()),
        }
    }
}

/// Whether this process runs in a pod that may talk to the API server.
pub fn is_inside_cluster() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
        && Path::new(SERVICE_ACCOUNT).join("token").exists()
}

fn own_namespace() -> Option<String> {
    let text = std::fs::read_to_string(Path::new(SERVICE_ACCOUNT).join("namespace")).ok()?;
    Some(text.trim().to_owned()).filter(|name| is_dns_label(name))
}

fn host_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    pod(text.trim()).ok()
}

fn from_zero() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(0..=3600)
}

fn from_one() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(1..=3600)
}

fn namespace(text: &str) -> Result<String, String> {
    match is_dns_label(text) {
        true => Ok(text.to_owned()),
        false => Err("is no name of a namespace".to_owned()),
    }
}

fn pod(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    match !text.is_empty() && text.len() <= 253 && text.chars().all(good) {
        true => Ok(text.to_owned()),
        false => Err("is no name of a pod".to_owned()),
    }
}

fn url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("is no URL: {error}"))?;
    let is_bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    match url.scheme() {
        "http" | "https" if is_bare && url.password().is_none() => Ok(url),
        _ => Err("is not an address such as http://10.1.2.3:8080".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn parse(args: &[&str]) -> Result<Config, String> {
        let all = ["faas-gateway", "--provider", "kubernetes"];
        let config = Config::try_parse_from(all.iter().chain(args)).map_err(|e| e.to_string())?;
        config.validate().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn flags_are_what_functions_are_made_with() {
        let usual = parse(&[]).unwrap();
        let settings = usual.kubernetes_settings();
        assert_eq!(settings.readiness, ProbeTimes::default());
        assert_eq!(settings.liveness, ProbeTimes::default());
        assert_eq!(usual.listen().to_string(), "0.0.0.0:8080");
        let config = parse(&[
            "--image-pull-policy=Always",
            "--http-probe",
            "--set-nonroot-user=true",
            "--readiness-probe-period-seconds=7",
            "--liveness-probe-failure-threshold=9",
            "--pod-namespace=mine",
        ])
        .unwrap();
        let settings = config.kubernetes_settings();
        assert_eq!(settings.image_pull_policy, PullPolicy::Always);
        assert!(settings.http_probe && settings.set_nonroot_user && !settings.network_policies);
        assert_eq!(settings.readiness.period_seconds, 7);
        assert_eq!(settings.liveness.failure_threshold, 9);
        assert_eq!(settings.gateway_namespace, "mine");
        assert_eq!(config.kubernetes.profiles(), "mine");
    }

    #[test]
    fn a_gateway_with_a_namespace_has_a_place_among_others() {
        let args = ["--pod-namespace=mine", "--pod-name=gw-1", "--peer-url=http://10.0.0.1:8080/"];
        let place = parse(&args).unwrap().place().unwrap();
        let url = Some("http://10.0.0.1:8080".to_owned());
        assert_eq!(place, Place { namespace: "mine".to_owned(), pod: "gw-1".to_owned(), url });
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_name() {
        for (args, words) in [
            (["--function-namespace", "No_Such"], "<function_namespace>"),
            (["--pod-namespace", ""], "<FAAS_POD_NAMESPACE>"),
            (["--pod-name", "a/b"], "<FAAS_POD_NAME>"),
            (["--peer-url", "10.0.0.1:8080"], "<FAAS_PEER_URL>"),
            (["--peer-url", "http://a:b@10.0.0.1"], "<FAAS_PEER_URL>"),
            (["--profiles-namespace", "-"], "<profiles_namespace>"),
            (["--image-pull-policy", "Sometimes"], "<image_pull_policy>"),
            (["--readiness-probe-period-seconds", "0"], "<readiness_probe_period_seconds>"),
            (["--peer-url", "https://10.0.0.1"], "FAAS_PEER_URL=https://10.0.0.1/"),
            (["--takeover", "true"], "FAAS_TAKEOVER=true"),
        ] {
            let error = parse(&args).unwrap_err();
            assert!(error.contains(words), "{args:?}: {error}");
        }
    }
}
