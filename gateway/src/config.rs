//! What the gateway is told: flags, each also a variable (contract 1.2).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Routes calls to functions, and manages them.
///
/// Every flag can also be set as the variable named with it; the flag wins.
#[derive(Clone, Debug, Parser)]
#[command(name = "faas-gateway", version)]
pub struct Config {
    /// Where functions run
    #[arg(long, env = "FAAS_PROVIDER", value_name = "FAAS_PROVIDER", default_value = "docker")]
    pub provider: ProviderKind,

    /// Address to listen on [default: all interfaces with the Docker provider, whose containers
    /// must reach it, else loopback]
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

    /// Name of the Docker network; gateways with different names share an engine undisturbed
    #[arg(
        long,
        env = "FAAS_DOCKER_NETWORK",
        value_name = "FAAS_DOCKER_NETWORK",
        default_value = "flint"
    )]
    pub docker_network: String,

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
    pub threads: Option<std::num::NonZeroUsize>,

    /// Whether each call is logged
    #[arg(long, env = "FAAS_ACCESS_LOG", value_name = "FAAS_ACCESS_LOG", default_value_t = true,
          action = clap::ArgAction::Set)]
    pub access_log: bool,
}

/// Where functions run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProviderKind {
    /// Containers of a Docker engine.
    Docker,
    /// Whatever is there; today that is Docker.
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

impl Config {
    /// Where calls and the API are served.
    pub fn listen(&self) -> SocketAddr {
        let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        SocketAddr::new(self.host.unwrap_or(everywhere), self.port)
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

    /// Checks what one flag alone cannot know.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.port == self.metrics_port && self.port != 0 {
            return Err(ConfigError {
                variable: "metrics_port",
                value: self.metrics_port.to_string(),
                reason: "is the port of the API too".to_owned(),
            });
        }
        let timeouts = [
            ("read_timeout", self.read_timeout),
            ("write_timeout", self.write_timeout),
            ("upstream_timeout", self.upstream_timeout),
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

fn duration(text: &str) -> Result<Duration, String> {
    provider::parse_duration(text)
        .ok_or_else(|| "is neither seconds nor a duration such as 1m30s".to_owned())
}

#[cfg(test)]
mod tests {
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
    fn a_bad_value_names_the_variable() {
        for (flag, variable) in [("--read-timeout", "read_timeout"), ("--port", "port")] {
            let error = parse(&[flag, "soon"]).unwrap_err().to_string();
            assert!(error.contains(&format!("<{variable}>")), "{error}");
        }
    }

    #[test]
    fn one_port_cannot_serve_both() {
        let config = parse(&["--port", "9000", "--metrics-port", "9000"]).unwrap();
        assert!(config.validate().unwrap_err().to_string().starts_with("metrics_port=9000"));
        assert!(parse(&["--upstream-timeout", "0"]).unwrap().validate().is_err());
    }
}
