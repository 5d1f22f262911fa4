//! What the gateway is told: flags, each also a variable (contract 1.2).

mod clients;
mod kubernetes;
mod scaling;
mod tls;

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use provider::bundle::Limits;
use rustix::fs::Access;

pub use self::clients::ClientArgs;
pub use self::kubernetes::{KubernetesArgs, Place, is_inside_cluster};
pub use self::scaling::ScalingArgs;
pub use self::tls::{PlainHttp, TlsArgs};

/// The file name of the watchdog.
const WATCHDOG: &str = "fwatchdog";
/// How much larger than its archive's limit a bundle may be.
const UNPACKED_FACTOR: u64 = 4;

/// Routes calls to functions, and manages them.
///
/// Every flag can also be set as the variable named with it; the flag wins.
#[derive(Clone, Debug, Parser)]
#[command(name = "faas-gateway", version)]
pub struct Config {
    /// Where functions run: in containers of a Docker engine, as processes of this machine, or as
    /// pods of a Kubernetes cluster; auto is the cluster whose pod this is, else Docker when its
    /// engine answers, else processes
    #[arg(long, env = "FAAS_PROVIDER", value_name = "FAAS_PROVIDER", default_value = "docker")]
    pub provider: ProviderKind,

    /// Address to listen on [default: loopback with the process provider, else all interfaces,
    /// since containers and pods must reach it]
    #[arg(long, env = "FAAS_HOST", value_name = "FAAS_HOST")]
    pub host: Option<IpAddr>,

    /// Port of the API and of function calls
    #[arg(long, env = "port", value_name = "port", default_value_t = 8080)]
    pub port: u16,

    /// Port of `/metrics` and `/healthz`
    #[arg(long, env = "metrics_port", value_name = "metrics_port", default_value_t = 8082)]
    pub metrics_port: u16,

    /// Folder for credentials, secrets and what else must outlive the gateway [default:
    /// /var/lib/flint as root, else $XDG_STATE_HOME/flint or ~/.local/state/flint]
    #[arg(long, env = "FAAS_STATE_DIR", value_name = "FAAS_STATE_DIR")]
    pub state_dir: Option<PathBuf>,

    /// Whether `/system` and `/ui` ask for a password
    #[arg(long, env = "basic_auth", value_name = "basic_auth", default_value_t = true,
          action = clap::ArgAction::Set)]
    pub basic_auth: bool,

    /// Folder that holds `basic-auth-user` and `basic-auth-password` [default: the state folder,
    /// where they are generated]
    #[arg(long, env = "secret_mount_path", value_name = "secret_mount_path")]
    pub secret_mount_path: Option<PathBuf>,

    /// Longest wait for a request's headers, and longest idle time of a client's connection
    #[arg(long, env = "read_timeout", value_name = "read_timeout", default_value = "60s",
          value_parser = duration)]
    pub read_timeout: Duration,

    /// Longest wait for calls in flight when the gateway stops
    #[arg(long, env = "write_timeout", value_name = "write_timeout", default_value = "60s",
          value_parser = duration)]
    pub write_timeout: Duration,

    /// Longest that a call may take when its function names no timeout
    #[arg(long, env = "upstream_timeout", value_name = "upstream_timeout", default_value = "60s",
          value_parser = duration)]
    pub upstream_timeout: Duration,

    /// Whether a call to a sleeping function starts it
    #[arg(long, env = "scale_from_zero", value_name = "scale_from_zero", default_value_t = true,
          action = clap::ArgAction::Set)]
    pub scale_from_zero: bool,

    /// Most functions of which replicas are started at the same time [default: two a core, at
    /// least 4]
    #[arg(long, env = "FAAS_MAX_CONCURRENT_STARTS", value_name = "FAAS_MAX_CONCURRENT_STARTS")]
    pub max_concurrent_starts: Option<NonZeroUsize>,

    /// Most replicas of all functions together [default: no limit but the functions' own]
    #[arg(long, env = "FAAS_MAX_REPLICAS", value_name = "FAAS_MAX_REPLICAS")]
    pub max_replicas: Option<NonZeroU32>,

    /// Name of the Docker network; gateways with different names share an engine undisturbed
    #[arg(
        long,
        env = "FAAS_DOCKER_NETWORK",
        value_name = "FAAS_DOCKER_NETWORK",
        default_value = "flint"
    )]
    pub docker_network: String,

    /// The fwatchdog to run functions with [default: the one next to this program, else the one on
    /// the PATH]
    #[arg(long, env = "FAAS_WATCHDOG", value_name = "FAAS_WATCHDOG")]
    pub watchdog: Option<PathBuf>,

    /// Largest archive of a bundle; unpacked it may be four times as large
    #[arg(long, env = "FAAS_MAX_BUNDLE_SIZE", value_name = "FAAS_MAX_BUNDLE_SIZE",
          default_value = "512Mi", value_parser = bytes)]
    pub max_bundle_size: u64,

    /// Take the place of the gateway that uses the state folder: its ports, its functions and the
    /// calls that come; it finishes those that it has, and ends
    #[arg(long, env = "FAAS_TAKEOVER", value_name = "FAAS_TAKEOVER", num_args = 0..=1,
          default_value_t = false, default_missing_value = "true",
          action = clap::ArgAction::Set)]
    pub takeover: bool,

    /// How long the next gateway may take to serve, after it was given everything, before it is
    /// ended and this one starts again
    #[arg(long, env = "FAAS_TAKEOVER_TIMEOUT", value_name = "FAAS_TAKEOVER_TIMEOUT",
          default_value = "2m", value_parser = duration)]
    pub takeover_timeout: Duration,

    /// Address of the Docker engine
    #[arg(
        long,
        env = "DOCKER_HOST",
        value_name = "DOCKER_HOST",
        default_value = "unix:///var/run/docker.sock"
    )]
    pub docker_host: String,

    /// Folder of Docker's `config.json` with registry credentials [default: ~/.docker]
    #[arg(long, env = "DOCKER_CONFIG", value_name = "DOCKER_CONFIG")]
    pub docker_config: Option<PathBuf>,

    /// Threads that relay calls [default: one a core]
    #[arg(long, env = "FAAS_THREADS", value_name = "FAAS_THREADS")]
    pub threads: Option<NonZeroUsize>,

    /// Whether each call is logged
    #[arg(long, env = "FAAS_ACCESS_LOG", value_name = "FAAS_ACCESS_LOG", default_value_t = true,
          action = clap::ArgAction::Set)]
    pub access_log: bool,

    /// How long the gateway goes on as before when it is told to end, but says on the metrics port
    /// that it is not ready, so that whoever sends clients here stops to. A second signal cuts it
    /// short
    #[arg(long, env = "FAAS_SHUTDOWN_DELAY", value_name = "FAAS_SHUTDOWN_DELAY",
          default_value = "0s", value_parser = duration)]
    pub shutdown_delay: Duration,

    /// What clients may do.
    #[command(flatten)]
    pub clients: ClientArgs,
    /// Scaling by load.
    #[command(flatten)]
    pub scaling: ScalingArgs,

    /// TLS.
    #[command(flatten)]
    pub tls: TlsArgs,

    /// Kubernetes.
    #[command(flatten)]
    pub kubernetes: KubernetesArgs,
}

/// Where functions run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProviderKind {
    /// Containers of a Docker engine.
    Docker,
    /// Processes of this machine.
    Process,
    /// Pods of a Kubernetes cluster.
    Kubernetes,
    /// The cluster whose pod this is, else Docker when its engine answers, else processes.
    Auto,
}

/// A configuration that cannot work.
#[derive(Debug, thiserror::Error)]
#[error("{variable}={value}: {reason}")]
pub struct ConfigError {
    variable: &'static str,
    value: String,
    reason: String,
}

impl ConfigError {
    fn new(variable: &'static str, value: String, reason: impl Into<String>) -> Self {
        Self { variable, value, reason: reason.into() }
    }
}

impl Config {
    /// Where calls and the API are served. [`ProviderKind::Auto`] must have been replaced by what
    /// was found.
    pub fn listen(&self) -> SocketAddr {
        let usual = match self.provider {
            ProviderKind::Docker | ProviderKind::Kubernetes => Ipv4Addr::UNSPECIFIED,
            ProviderKind::Process | ProviderKind::Auto => Ipv4Addr::LOCALHOST,
        };
        SocketAddr::new(self.host.unwrap_or(usual.into()), self.port)
    }

    /// Where they are served by plain http, if at all.
    pub fn listen_plain(&self) -> Option<SocketAddr> {
        let all = self.listen();
        match self.tls.plain_http {
            PlainHttp::All => Some(all),
            PlainHttp::Local if all.ip().is_loopback() => Some(all),
            PlainHttp::Local => Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.port)),
            PlainHttp::Off => None,
        }
    }

    /// Where they are served by https, if at all.
    pub fn listen_tls(&self) -> Option<SocketAddr> {
        let address = SocketAddr::new(self.listen().ip(), self.tls.tls_port);
        self.tls.tls_cert.is_some().then_some(address)
    }

    /// Where metrics are served.
    pub fn listen_metrics(&self) -> SocketAddr {
        SocketAddr::new(self.listen().ip(), self.metrics_port)
    }

    /// The state folder, given or the usual one.
    pub fn state_dir(&self) -> Result<PathBuf, ConfigError> {
        if let Some(dir) = &self.state_dir {
            return std::path::absolute(dir).map_err(|e| bad_state_dir(&dir.display(), &e));
        }
        if rustix::process::geteuid().is_root() {
            return Ok(PathBuf::from("/var/lib/flint"));
        }
        let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
        let base = state.filter(|dir| dir.is_absolute()).or_else(home);
        base.map(|dir| dir.join("flint"))
            .ok_or_else(|| bad_state_dir(&"", &"is not set, and neither is HOME"))
    }

    /// The folder of Docker's `config.json`, given or the usual one.
    pub fn docker_config(&self) -> Option<PathBuf> {
        let usual = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
        self.docker_config.clone().or_else(usual)
    }

    /// The most that a bundle may be.
    pub fn bundle_limits(&self) -> Limits {
        let archive_bytes = self.max_bundle_size;
        let unpacked_bytes = archive_bytes.saturating_mul(UNPACKED_FACTOR);
        Limits { archive_bytes, unpacked_bytes, ..Limits::default() }
    }

    /// The watchdog to run functions with.
    pub fn watchdog(&self) -> Result<PathBuf, ConfigError> {
        let own = std::env::current_exe().ok();
        let beside = own.as_deref().and_then(Path::parent).map(Path::to_owned);
        let path = std::env::var_os("PATH").unwrap_or_default();
        find_watchdog(self.watchdog.as_deref(), beside, &path)
    }

    /// Checks what one flag alone cannot know.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.port == self.metrics_port && self.port != 0 {
            return Err(ConfigError {
                variable: "metrics_port",
                value: self.metrics_port.to_string(),
                reason: "is the port of the API too".to_owned(),
            });
        }
        self.tls.validate([self.port, self.metrics_port])?;
        self.clients.validate()?;
        self.scaling.validate()?;
        self.kubernetes.validate(self)?;
        let timeouts = [
            ("read_timeout", self.read_timeout),
            ("write_timeout", self.write_timeout),
            ("upstream_timeout", self.upstream_timeout),
            ("FAAS_TAKEOVER_TIMEOUT", self.takeover_timeout),
        ];
        match timeouts.iter().find(|(_, timeout)| timeout.is_zero()) {
            Some((variable, _)) => Err(ConfigError {
                variable,
                value: "0s".to_owned(),
                reason: "must be above 0".to_owned(),
            }),
            None => Ok(()),
        }
    }
}

fn bad_state_dir(value: &dyn std::fmt::Display, reason: &dyn std::fmt::Display) -> ConfigError {
    ConfigError { variable: "FAAS_STATE_DIR", value: value.to_string(), reason: reason.to_string() }
}

/// The watchdog: as given, else in the folder `beside`, else on the `PATH`.
fn find_watchdog(
    given: Option<&Path>,
    beside: Option<PathBuf>,
    path: &OsStr,
) -> Result<PathBuf, ConfigError> {
    let bad = |value: &Path, reason: String| ConfigError {
        variable: "FAAS_WATCHDOG",
        value: value.display().to_string(),
        reason,
    };
    if let Some(given) = given {
        let reason = "is no program that this user may run".to_owned();
        let absolute = std::path::absolute(given).map_err(|e| bad(given, e.to_string()))?;
        return if is_program(&absolute) { Ok(absolute) } else { Err(bad(given, reason)) };
    }
    let nearby = beside.as_ref().map_or("this program".to_owned(), |dir| dir.display().to_string());
    let folders = beside.into_iter().chain(std::env::split_paths(path).filter(|p| p.is_absolute()));
    folders.map(|dir| dir.join(WATCHDOG)).find(|program| is_program(program)).ok_or_else(|| {
        let reason = format!(
            "is not set, and there is no {WATCHDOG} in {nearby} nor on the PATH; put it there, or \
             name it with --watchdog"
        );
        bad(Path::new(""), reason)
    })
}

fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok()
}

fn bytes(text: &str) -> Result<u64, String> {
    provider::parse_bytes(text).ok_or_else(|| "is no amount of bytes such as 512Mi".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    provider::parse_duration(text)
        .ok_or_else(|| "is neither seconds nor a duration such as 1m30s".to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn parse(args: &[&str]) -> Result<Config, clap::Error> {
        Config::try_parse_from(std::iter::once(&"faas-gateway").chain(args))
    }

    #[test]
    fn containers_can_reach_it_by_default() {
        let config = parse(&[]).unwrap();
        assert_eq!(config.listen().to_string(), "0.0.0.0:8080");
        assert!(config.basic_auth);
    }

    #[test]
    fn processes_reach_it_over_loopback_and_nobody_else_does() {
        let config = parse(&["--provider", "process"]).unwrap();
        assert_eq!(config.listen().to_string(), "127.0.0.1:8080");
        let config = parse(&["--provider", "process", "--host", "0.0.0.0"]).unwrap();
        assert_eq!(config.listen_metrics().to_string(), "0.0.0.0:8082");
    }

    #[test]
    fn bundles_have_limits() {
        assert_eq!(parse(&[]).unwrap().bundle_limits(), Limits::default());
        let limits = parse(&["--max-bundle-size", "1Gi"]).unwrap().bundle_limits();
        assert_eq!((limits.archive_bytes, limits.unpacked_bytes), (1 << 30, 4 << 30));
        for bad in ["0", "much", "-1"] {
            let error = parse(&[&format!("--max-bundle-size={bad}")]).unwrap_err().to_string();
            assert!(error.contains("<FAAS_MAX_BUNDLE_SIZE>"), "{error}");
        }
    }

    #[test]
    fn the_watchdog_is_found_or_it_is_said_where_it_was_looked_for() {
        let [beside, on_path] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let find = |given: Option<&Path>| {
            find_watchdog(given, Some(beside.path().to_owned()), on_path.path().as_os_str())
        };
        let error = find(None).unwrap_err().to_string();
        let folder = beside.path().display().to_string();
        assert!(error.starts_with("FAAS_WATCHDOG=") && error.contains(&folder), "{error}");
        assert!(error.contains("--watchdog"), "{error}");
        for dir in [&on_path, &beside] {
            let program = dir.path().join(WATCHDOG);
            std::fs::write(&program, "").unwrap();
            assert_ne!(find(None).ok().as_ref(), Some(&program), "it cannot be run");
            let error = find(Some(&program)).unwrap_err().to_string();
            assert!(error.contains("no program"), "{error}");
            std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
            assert_eq!(find(None).unwrap(), program);
        }
        assert_eq!(
            find(Some(&on_path.path().join(WATCHDOG))).unwrap().parent(),
            Some(on_path.path())
        );
        assert!(find(Some(on_path.path())).is_err(), "a folder is no program");
    }

    #[test]
    fn a_bad_value_names_the_variable() {
        for (flag, variable) in [("--read-timeout", "read_timeout"), ("--port", "port")] {
            let error = parse(&[flag, "soon"]).unwrap_err().to_string();
            assert!(error.contains(&format!("<{variable}>")), "{error}");
        }
    }

    #[test]
    fn bounds_of_starts_and_replicas_are_above_zero() {
        let config = parse(&["--max-concurrent-starts", "3", "--max-replicas", "40"]).unwrap();
        assert_eq!(config.max_concurrent_starts.map(NonZeroUsize::get), Some(3));
        assert_eq!(config.max_replicas.map(NonZeroU32::get), Some(40));
        for (flag, variable) in [
            ("--max-concurrent-starts", "FAAS_MAX_CONCURRENT_STARTS"),
            ("--max-replicas", "FAAS_MAX_REPLICAS"),
        ] {
            for bad in ["0", "-1", "many"] {
                let error = parse(&[&format!("{flag}={bad}")]).unwrap_err().to_string();
                assert!(error.contains(&format!("<{variable}>")), "{error}");
            }
        }
    }

    #[test]
    fn one_port_cannot_serve_both() {
        let config = parse(&["--port", "9000", "--metrics-port", "9000"]).unwrap();
        assert!(config.validate().unwrap_err().to_string().starts_with("metrics_port=9000"));
        assert!(parse(&["--upstream-timeout", "0"]).unwrap().validate().is_err());
    }
}
