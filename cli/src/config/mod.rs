//! The environment, the gateway's URL, and the file with logins that both CLIs share
//! (contract 7.1).

mod building;
mod logins;

use std::env;
use std::path::PathBuf;

pub use building::{Building, DockerEnvironment};
pub use logins::{Auth, AuthKind, ConfigFile};

/// Where a gateway is when nothing else is said.
pub const DEFAULT_GATEWAY: &str = "http://127.0.0.1:8080";

/// The variables that the program heeds.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `OPENFAAS_URL`: the gateway.
    pub gateway: Option<String>,
    /// `OPENFAAS_CONFIG`: the folder of the config file.
    pub config_dir: Option<PathBuf>,
    /// `CI`: set to anything, the config file is in `./.openfaas`.
    pub ci: bool,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `FAAS_DEBUG=1` or `OPENFAAS_DUMP_HTTP=true`: print requests.
    pub debug: bool,
    /// `FAAS_TLS_CA`: who signs the gateway's certificate.
    pub tls_ca: Option<PathBuf>,
    /// `OPENFAAS_STORE`: URL or path of the function store.
    pub store: Option<String>,
    /// What building and starting a gateway heed.
    pub building: Building,
}

/// Reads the environment; the only place that does, beside the stack's substitution.
pub fn from_env() -> Environment {
    let text = |key: &str| env::var(key).ok().filter(|value| !value.is_empty());
    Environment {
        gateway: text("OPENFAAS_URL"),
        config_dir: text("OPENFAAS_CONFIG").map(PathBuf::from),
        ci: text("CI").is_some(),
        home: text("HOME").map(PathBuf::from),
        debug: text("FAAS_DEBUG").is_some_and(|v| v == "1")
            || text("OPENFAAS_DUMP_HTTP").is_some_and(|v| v == "true"),
        tls_ca: text("FAAS_TLS_CA").map(PathBuf::from),
        store: text("OPENFAAS_STORE"),
        building: Building::read(&text),
    }
}

/// Whether colours may be used (`NO_COLOR`, `TERM=dumb`).
pub fn colours_allowed() -> bool {
    let no = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !no && env::var_os("TERM").is_none_or(|value| value != "dumb")
}

/// The gateway's URL: flag, then the stack file unless it has the default, then `OPENFAAS_URL`,
/// then the default.
pub fn gateway_url(flag: Option<&str>, stack: Option<&str>, env: &Environment) -> String {
    let stack = stack.map(normal).filter(|url| url != DEFAULT_GATEWAY);
    flag.map(normal)
        .or(stack)
        .or_else(|| env.gateway.as_deref().map(normal))
        .unwrap_or_else(|| DEFAULT_GATEWAY.to_owned())
}

/// A scheme when there is none, scheme and host in lower case, no slash at the end.
pub(crate) fn normal(url: &str) -> String {
    let url = url.trim().trim_end_matches('/');
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    format!("{}://{}{path}", scheme.to_lowercase(), host.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_then_the_stack_then_the_environment() {
        let env = Environment { gateway: Some("http://env".to_owned()), ..Default::default() };
        let none = Environment::default();
        let url = gateway_url;
        assert_eq!(url(Some("http://flag"), Some("http://stack"), &env), "http://flag");
        assert_eq!(url(None, Some("http://stack"), &env), "http://stack");
        assert_eq!(url(None, Some("http://127.0.0.1:8080/"), &env), "http://env");
        assert_eq!(url(None, None, &env), "http://env");
        assert_eq!(url(None, Some(DEFAULT_GATEWAY), &none), DEFAULT_GATEWAY);
        assert_eq!(url(Some(DEFAULT_GATEWAY), None, &env), DEFAULT_GATEWAY);
    }

    #[test]
    fn urls_are_made_alike() {
        assert_eq!(normal("HTTPS://Example.COM/Path/"), "https://example.com/Path");
        assert_eq!(normal("example.com:8080"), "http://example.com:8080");
    }
}
