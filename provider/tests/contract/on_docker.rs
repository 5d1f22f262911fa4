//! Docker under test.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use provider::docker::{Docker, DockerConfig};
use provider::{Calls, Function, Name, Provider, Status};
use tempfile::TempDir;

use crate::engine;
use crate::support::{Backend, Case, CaseFuture};

/// The variable that makes a missing engine a failure.
const REQUIRED: &str = "FLINT_TEST_DOCKER";

pub(crate) type SpecialCase = fn(Arc<OnDocker>) -> CaseFuture;

/// A provider on a network of its own.
pub(crate) struct OnDocker {
    pub(crate) engine: bollard::Docker,
    pub(crate) network: String,
    pub(crate) state: TempDir,
    pub(crate) calls: Calls,
    pub(crate) image: String,
    docker: Mutex<Option<Arc<Docker>>>,
}

/// Why Docker cannot be tested here; `None` when it can.
pub(crate) fn absent() -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { engine::connect().await.err() })
}

pub(crate) fn is_required() -> bool {
    std::env::var(REQUIRED).is_ok_and(|value| value == "required")
}

pub(crate) async fn run(case: Case) {
    within(|backend| case(backend)).await;
}

pub(crate) async fn run_special(case: SpecialCase) {
    within(case).await;
}

/// Runs a case and cleans up after it, however it ended.
async fn within(case: impl FnOnce(Arc<OnDocker>) -> CaseFuture) {
    let engine = engine::connect().await.expect("an engine that answers");
    let image = engine::image(&engine).await;
    let backend = Arc::new(OnDocker {
        engine: engine.clone(),
        network: format!("flint-test-{}", engine::random()),
        state: tempfile::tempdir().unwrap(),
        calls: Calls::default(),
        image,
        docker: Mutex::default(),
    });
    backend.connect().await;
    let network = backend.network.clone();
    let ended = std::panic::AssertUnwindSafe(case(backend.clone())).catch_unwind().await;
    backend.disconnect();
    engine::clean(&engine, &network).await;
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

impl OnDocker {
    pub(crate) fn config(&self) -> DockerConfig {
        let state = self.state.path().to_owned();
        DockerConfig {
            host: engine::host(),
            network: self.network.clone(),
            listen_timeout: Duration::from_secs(1),
            ..DockerConfig::new(state, self.calls.clone())
        }
    }

    /// A gateway starts.
    pub(crate) async fn connect(&self) {
        self.connect_as(self.config()).await;
    }

    /// One that is set up in another way.
    pub(crate) async fn connect_as(&self, config: DockerConfig) {
        let docker = Docker::connect(config).await.unwrap();
        *self.docker.lock().unwrap() = Some(docker);
    }

    /// The gateway is gone, as if killed: it tidies nothing up.
    pub(crate) fn disconnect(&self) {
        *self.docker.lock().unwrap() = None;
    }

    pub(crate) fn docker(&self) -> Arc<Docker> {
        self.docker.lock().unwrap().clone().expect("connected")
    }

    /// A function whose program does as `mode` says.
    pub(crate) fn mode(&self, name: &str, mode: &str) -> Function {
        let mut function = self.good(name, mode);
        function.env_vars.insert("MODE".to_owned(), mode.to_owned());
        function
    }

    /// A function that waits until it is released.
    pub(crate) fn held(&self, name: &str, version: &str) -> Function {
        let mut function = self.good(name, version);
        function.env_vars.insert("WAIT_FOR".to_owned(), "/run/flint/go".to_owned());
        function
    }

    /// The directories of replicas that are there.
    pub(crate) fn directories(&self) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(self.state.path().join("replicas")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    pub(crate) async fn containers(&self) -> Vec<String> {
        engine::containers(&self.engine, &self.network).await
    }
}

#[async_trait]
impl Backend for OnDocker {
    fn provider(&self) -> Arc<dyn Provider> {
        self.docker()
    }

    fn calls(&self) -> Calls {
        self.calls.clone()
    }

    fn good(&self, name: &str, version: &str) -> Function {
        let body = format!(
            r#"{{"service":"{name}","image":"{}","envVars":{{"VERSION":"{version}","SOCKET":"1"}}}}"#,
            self.image
        );
        Function::from_json(body.as_bytes()).unwrap()
    }

    async fn apply_held(&self, name: &str, version: &str) -> Status {
        self.docker().apply(&self.held(name, version)).await.unwrap()
    }

    async fn release(&self, _name: &Name) {
        for dir in self.directories() {
            std::fs::write(dir.join("run/go"), "").unwrap();
        }
    }

    async fn say(&self, status: &Status, instance: &str, text: &str) {
        let replica = status.replicas.iter().find(|r| r.id == instance).unwrap();
        engine::get(replica.address.as_ref().unwrap(), &format!("/say/{text}")).await;
    }

    async fn leftovers(&self) -> Vec<String> {
        let mut all = self.containers().await;
        all.extend(self.directories().into_iter().map(|dir| dir.display().to_string()));
        if self.engine.inspect_network(&self.network, None).await.is_ok() {
            all.push(format!("network {}", self.network));
        }
        all
    }
}
