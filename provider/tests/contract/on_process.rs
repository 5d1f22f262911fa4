//! Local processes under test.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use provider::bundle::sample::{self, Archive};
use provider::bundle::{Config, Limits, Store};
use provider::confine::{Layout, Report};
use provider::process::{Process, ProcessConfig};
use provider::{Calls, Function, Name, Provider, Status};
use tempfile::TempDir;

use crate::engine;
use crate::support::{Backend, Case, CaseFuture, soon};

/// The variable that makes a missing watchdog a failure.
const REQUIRED: &str = "FLINT_TEST_PROCESS";
/// The variable that names the watchdog.
const WATCHDOG: &str = "FAAS_WATCHDOG";

pub(crate) type SpecialCase = fn(Arc<OnProcess>) -> CaseFuture;

/// A provider in a state directory of its own.
pub(crate) struct OnProcess {
    pub(crate) state: TempDir,
    pub(crate) calls: Calls,
    process: Mutex<Option<Arc<Process>>>,
}

/// The program `fwatchdog`: the one that is named, else the one that was built beside these tests.
pub(crate) fn watchdog() -> PathBuf {
    if let Some(named) = std::env::var_os(WATCHDOG) {
        return named.into();
    }
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("fwatchdog")
}

/// Why processes cannot be tested here; `None` when they can.
pub(crate) fn absent() -> Option<String> {
    let watchdog = watchdog();
    let text = format!("there is no {}: cargo build -p flint-watchdog", watchdog.display());
    (!watchdog.exists()).then_some(text)
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
async fn within(case: impl FnOnce(Arc<OnProcess>) -> CaseFuture) {
    let state = tempfile::tempdir().unwrap();
    let backend = Arc::new(OnProcess { state, calls: Calls::default(), process: Mutex::default() });
    backend.connect().await;
    let ended = std::panic::AssertUnwindSafe(case(backend.clone())).catch_unwind().await;
    backend.disconnect();
    backend.clean().await;
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

/// The fixture behind a watchdog, as a bundle.
fn fixture() -> &'static [u8] {
    static ARCHIVE: OnceLock<Vec<u8>> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        let program = std::fs::read(engine::binary()).unwrap();
        Archive::default().config(&fixture_config()).program("fixture", program).build()
    })
}

pub(crate) fn fixture_config() -> Config {
    let config = sample::config(&[
        ("fprocess", "./fixture"),
        ("mode", "http"),
        ("upstream_url", "unix:"),
        ("prefix_logs", "false"),
    ]);
    Config { template: "fixture".to_owned(), ..config }
}

impl OnProcess {
    pub(crate) fn store(&self) -> Arc<Store> {
        Store::open(self.state.path(), Limits::default()).unwrap()
    }

    pub(crate) fn config(&self, store: Arc<Store>) -> ProcessConfig {
        let (state, calls) = (self.state.path().to_owned(), self.calls.clone());
        ProcessConfig {
            path: std::env::var_os("PATH").unwrap_or_default(),
            listen_timeout: Duration::from_secs(1),
            ..ProcessConfig::new(state, watchdog(), store, calls)
        }
    }

    /// A gateway starts.
    pub(crate) async fn connect(&self) {
        let store = self.store();
        sample::put(&store, fixture()).unwrap();
        self.connect_with(self.config(store)).await;
    }

    pub(crate) async fn connect_with(&self, config: ProcessConfig) {
        let process = Process::connect(config).await.unwrap();
        *self.process.lock().unwrap() = Some(process);
    }

    /// The gateway is gone, as if killed: it tidies nothing up.
    pub(crate) fn disconnect(&self) {
        *self.process.lock().unwrap() = None;
    }

    pub(crate) fn process(&self) -> Arc<Process> {
        self.process.lock().unwrap().clone().expect("connected")
    }

    /// The image of a bundle that is in the store.
    pub(crate) fn image(archive: &[u8]) -> String {
        format!("bundle:fixture@{}", sample::digest(archive))
    }

    /// A function whose program does as `mode` says.
    pub(crate) fn mode(&self, name: &str, mode: &str) -> Function {
        let mut function = self.good(name, mode);
        function.env_vars.insert("MODE".to_owned(), mode.to_owned());
        function
    }

    /// The folders of replicas that are there.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.state.path().join("replicas")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    pub(crate) fn layout(&self, replica: &str) -> Layout {
        Layout::new(&self.state.path().join("replicas").join(replica))
    }

    /// The confiner of a replica, as it says.
    pub(crate) fn confiner(&self, replica: &str) -> i32 {
        std::fs::read_to_string(self.layout(replica).lock()).unwrap().trim().parse().unwrap()
    }

    pub(crate) fn report(&self, replica: &str) -> Report {
        serde_json::from_slice(&std::fs::read(self.layout(replica).report()).unwrap()).unwrap()
    }

    /// Everything that runs in a folder of this state directory: it has it in its arguments, or
    /// sees files of it.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let state = self.state.path().file_name().unwrap().to_str().unwrap().to_owned();
        let says = |path: PathBuf| {
            let text = std::fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(&text).contains(&state)
        };
        let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let path = entry.unwrap().path();
            let pid: i32 = path.file_name()?.to_str()?.parse().ok()?;
            (says(path.join("cmdline")) || says(path.join("mountinfo"))).then_some(pid)
        });
        pids.collect()
    }

    /// Ends whatever a case left running, with its control groups.
    async fn clean(&self) {
        let report = |dir: PathBuf| std::fs::read(Layout::new(&dir).report()).ok();
        let reports = self.directories().into_iter().filter_map(report);
        let cgroups: Vec<_> = reports
            .filter_map(|report| serde_json::from_slice::<Report>(&report).ok())
            .flat_map(|report| report.cgroups)
            .collect();
        soon("the end of what is left", async {
            while !self.processes().is_empty() || cgroups.iter().any(|dir| dir.exists()) {
                self.processes().into_iter().for_each(kill);
                for dir in &cgroups {
                    let _still_used = std::fs::remove_dir(dir);
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// Kills a process that these tests started.
pub(crate) fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

#[async_trait]
impl Backend for OnProcess {
    fn provider(&self) -> Arc<dyn Provider> {
        self.process()
    }

    fn calls(&self) -> Calls {
        self.calls.clone()
    }

    fn good(&self, name: &str, version: &str) -> Function {
        let image = Self::image(fixture());
        let body = format!(
            r#"{{"service":"{name}","image":"{image}","envVars":{{"VERSION":"{version}"}}}}"#
        );
        Function::from_json(body.as_bytes()).unwrap()
    }

    async fn apply_held(&self, name: &str, version: &str) -> Status {
        let mut function = self.good(name, version);
        function.env_vars.insert("WAIT_FOR".to_owned(), "/run/flint/go".to_owned());
        self.process().apply(&function).await.unwrap()
    }

    async fn release(&self, _name: &Name) {
        for dir in self.directories() {
            std::fs::write(dir.join("run/go"), "").unwrap();
        }
    }

    /// Without a call: the watchdog would write a line about that.
    async fn say(&self, _status: &Status, instance: &str, text: &str) {
        let run = self.layout(instance).run();
        std::fs::write(run.join("say.new"), text).unwrap();
        std::fs::rename(run.join("say.new"), run.join("say")).unwrap();
    }

    async fn leftovers(&self) -> Vec<String> {
        let folders = self.directories().into_iter().map(|dir| dir.display().to_string());
        let processes = self.processes().into_iter().map(|pid| format!("process {pid}"));
        folders.chain(processes).collect()
    }
}
