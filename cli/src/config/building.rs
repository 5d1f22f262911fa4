//! The variables that building functions and starting a gateway heed.

use std::path::PathBuf;

/// The variables that building functions and starting a gateway heed.
#[derive(Clone, Debug, Default)]
pub struct Building {
    /// `OPENFAAS_PREFIX`: the prefix of new functions' images.
    pub prefix: Option<String>,
    /// `OPENFAAS_TEMPLATE_URL`: the repository that `template pull` pulls.
    pub template_url: Option<String>,
    /// `OPENFAAS_TEMPLATE_STORE_URL`: the list of templates, a URL or a path.
    pub template_store: Option<String>,
    /// `FAAS_WATCHDOG`: the watchdog's static binary.
    pub watchdog: Option<PathBuf>,
    /// `FAAS_GATEWAY`: the gateway's binary.
    pub gateway: Option<PathBuf>,
    /// `FAAS_STATE_DIR`: the folder of the local gateway.
    pub state_dir: Option<PathBuf>,
    /// `XDG_STATE_HOME`: where users' programs keep their state.
    pub xdg_state_home: Option<PathBuf>,
    /// `XDG_CACHE_HOME`: where users' programs keep what can be made again.
    pub xdg_cache_home: Option<PathBuf>,
    /// `FAAS_PROVIDER`: where functions run when a gateway has to be started.
    pub provider: Option<String>,
    /// `PATH`.
    pub path: Option<String>,
    /// `http_proxy`, `https_proxy`, `no_proxy`, in either case: given to builds as they are.
    pub proxies: Vec<(String, String)>,
    /// How to reach the Docker engine.
    pub docker: DockerEnvironment,
}

/// How to reach the Docker engine.
#[derive(Clone, Debug, Default)]
pub struct DockerEnvironment {
    /// `DOCKER_HOST`.
    pub host: Option<String>,
    /// `DOCKER_CONFIG`: the folder of `config.json`.
    pub config: Option<PathBuf>,
    /// `DOCKER_CERT_PATH`, when `DOCKER_TLS_VERIFY` is set.
    pub certificates: Option<PathBuf>,
}

impl Building {
    /// Reads them.
    pub(super) fn read(text: &dyn Fn(&str) -> Option<String>) -> Self {
        let path = |key: &str| text(key).map(PathBuf::from);
        let proxy = |key: &str| {
            let value = text(key).or_else(|| text(&key.to_uppercase()))?;
            Some((key.to_owned(), value))
        };
        Self {
            prefix: text("OPENFAAS_PREFIX"),
            template_url: text("OPENFAAS_TEMPLATE_URL"),
            template_store: text("OPENFAAS_TEMPLATE_STORE_URL"),
            watchdog: path("FAAS_WATCHDOG"),
            gateway: path("FAAS_GATEWAY"),
            state_dir: path("FAAS_STATE_DIR"),
            xdg_state_home: path("XDG_STATE_HOME"),
            xdg_cache_home: path("XDG_CACHE_HOME"),
            provider: text("FAAS_PROVIDER"),
            path: text("PATH"),
            proxies: ["http_proxy", "https_proxy", "no_proxy"]
                .into_iter()
                .filter_map(proxy)
                .collect(),
            docker: DockerEnvironment {
                host: text("DOCKER_HOST"),
                config: path("DOCKER_CONFIG"),
                certificates: text("DOCKER_TLS_VERIFY").and(path("DOCKER_CERT_PATH")),
            },
        }
    }
}
