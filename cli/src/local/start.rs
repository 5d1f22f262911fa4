//! Starts `faas-gateway` so that it outlives this program.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::Url;
use tokio::time::{Instant, sleep};

use super::program::program;
use super::{Probe, probe, state_dir, stop};
use crate::backend::ProviderKind;
use crate::build::watchdog;
use crate::config::Environment;
use crate::error::{caused, hinted};

/// Why a gateway's program is needed.
const NONE_RUNS: &str = "no gateway runs here";
/// What it runs functions under.
const WATCHDOG: &str = "fwatchdog";
/// The file in the state folder with what it says.
const LOG: &str = "gateway.log";
/// Longest wait until it listens: longer than it waits for its provider itself.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(50);
/// How many lines of its log are shown when it does not start.
const TAIL: usize = 15;

/// A gateway that was started.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) pid: u32,
    pub(super) log: PathBuf,
    pub(super) kind: ProviderKind,
}

/// Starts a gateway that listens at the URL's port, and waits until it answers.
pub(super) async fn start(
    env: &Environment,
    url: &str,
    (kind, watchdog): (ProviderKind, Option<&Path>),
) -> Result<Started> {
    let program = program(env, NONE_RUNS, "a gateway that runs with OPENFAAS_URL")?;
    let watchdog = match kind {
        ProviderKind::Process => Some(find_watchdog(env, watchdog, &program)?),
        _ => None,
    };
    let folder = state_dir(env)?;
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|error| {
        let hint = "name another folder with FAAS_STATE_DIR";
        caused(format!("the state folder {} cannot be made", folder.display()), hint, error)
    })?;
    let log = folder.join(LOG);
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&log);
    let file = file.with_context(|| log.display().to_string())?;
    let before = file.metadata()?.len();
    let port = Url::parse(url).ok().and_then(|url| url.port_or_known_default()).unwrap_or(8080);
    let child = command(&program, &folder, file)?
        .args(["--port", &port.to_string(), "--provider", kind.name()])
        .envs(watchdog.iter().map(|path| ("FAAS_WATCHDOG", path)))
        .spawn()
        .with_context(|| format!("{} cannot be run", program.display()))?;
    let mut child = Unfinished(Some(child));
    let waited = wait(&mut child, url).await;
    let noted =
        waited.and_then(|()| child.keep(&folder, kind).map_err(|error| format!("{error:#}")));
    noted.map(|pid| Started { pid, log, kind }).map_err(|reason| {
        // One that came up too late must not surprise anyone later.
        drop(child);
        let said = tail(&folder.join(LOG), before);
        hinted(
            format!("the gateway does not start: {reason}{said}"),
            "name one that runs with -g or OPENFAAS_URL",
        )
    })
}

/// A gateway that is being started: when nobody waits for it any more, it ends.
struct Unfinished(Option<Child>);

impl Unfinished {
    /// From now on it stays.
    fn keep(&mut self, folder: &Path, kind: ProviderKind) -> Result<u32> {
        let pid = self.0.as_ref().map(Child::id).unwrap_or_default();
        stop::note(folder, pid, kind)?;
        self.0 = None;
        Ok(pid)
    }

    fn ended(&mut self) -> std::io::Result<Option<ExitStatus>> {
        self.0.as_mut().map_or(Ok(None), Child::try_wait)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // Nothing else can be done about it.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The watchdog that functions will run under: as named, else beside this program or the gateway.
fn find_watchdog(env: &Environment, flag: Option<&Path>, gateway: &Path) -> Result<PathBuf> {
    let named = watchdog::find(flag, env.building.watchdog.as_deref())?;
    let beside = || gateway.parent().map(|folder| folder.join(WATCHDOG));
    let found = named.or_else(|| beside().filter(|path| path.is_file()));
    // The gateway runs elsewhere.
    Ok(std::path::absolute(found.ok_or_else(watchdog::missing)?)?)
}

/// It is not in this program's process group: Ctrl-C is not for it.
fn command(program: &Path, folder: &Path, log: File) -> Result<Command> {
    let mut command = Command::new(program);
    command
        .arg("--state-dir")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .current_dir("/")
        .process_group(0);
    Ok(command)
}

async fn wait(child: &mut Unfinished, url: &str) -> Result<(), String> {
    let deadline = Instant::now() + START_TIMEOUT;
    while Instant::now() < deadline {
        if let Some(status) = child.ended().map_err(|error| error.to_string())? {
            return Err(format!("it ended with {status}"));
        }
        if matches!(probe(url).await, Ok(Probe::Gateway)) {
            return Ok(());
        }
        sleep(INTERVAL).await;
    }
    Err(format!("it does not answer after {} s", START_TIMEOUT.as_secs()))
}

/// The last lines that were written after an offset.
fn tail(log: &Path, from: u64) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let new = bytes.get(usize::try_from(from).unwrap_or(usize::MAX)..).unwrap_or_default();
    let text = String::from_utf8_lossy(new);
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(TAIL)..];
    last.iter().map(|line| format!("\n  | {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::program::PROGRAM;
    use super::*;

    /// An environment whose gateway is a script.
    fn env(folder: &Path, script: &str) -> Environment {
        let program = folder.join(PROGRAM);
        // By another process: what this one has open for writing can be run by nobody.
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$2\" && chmod 755 \"$2\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", write, "sh", script]).arg(&program);
        assert!(shell.status().unwrap().success());
        let mut env = Environment::default();
        env.building.gateway = Some(program);
        env.building.state_dir = Some(folder.join("state dir"));
        env.building.watchdog = Some(folder.join(PROGRAM));
        env
    }

    #[tokio::test]
    async fn one_that_ends_at_once_tells_why() {
        let folder = tempfile::tempdir().unwrap();
        let env = env(folder.path(), "echo \"$@\"; echo \"$FAAS_WATCHDOG\"; exit 4");
        let kind = (ProviderKind::Process, None);
        let error = start(&env, "http://127.0.0.1:1", kind).await.unwrap_err().to_string();
        let state = folder.path().join("state dir");
        let arguments = format!("--state-dir {} --port 1 --provider process", state.display());
        assert!(error.contains("it ended with exit status: 4"), "{error}");
        assert!(error.contains(&arguments), "{error}");
        let watchdog = folder.path().join(PROGRAM);
        assert!(error.contains(&format!("| {}", watchdog.display())), "{error}");
        assert!(stop::ours(&state).is_none());
    }

    #[tokio::test]
    async fn one_that_nobody_waits_for_any_more_ends() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script =
            format!("echo $$ > '{0}.new'; mv '{0}.new' '{0}'; exec sleep 1000", pid.display());
        let env = env(folder.path(), &script);
        let begun = async {
            while !pid.exists() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = start(&env, "http://127.0.0.1:1", (ProviderKind::Docker, None)) => panic!("it waits"),
            () = begun => {}
        }
        let process = format!("/proc/{}", std::fs::read_to_string(pid).unwrap().trim());
        assert!(!Path::new(&process).exists());
    }

    #[tokio::test]
    async fn programs_that_are_missing_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut env = env(folder.path(), "");
        env.building.watchdog = Some(folder.path().join("none"));
        let kind = (ProviderKind::Process, None);
        let error = start(&env, "http://127.0.0.1:1", kind).await.unwrap_err().to_string();
        assert!(error.starts_with("FAAS_WATCHDOG names "), "{error}");
        env.building.gateway = Some(folder.path().join("none"));
        let error = start(&env, "http://127.0.0.1:1", kind).await.unwrap_err().to_string();
        assert!(error.contains("no gateway runs here, and the program"), "{error}");
    }

    #[test]
    fn only_new_lines_are_shown() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let lines: String = (0..30).map(|i| format!("new {i}\n")).collect();
        std::fs::write(&log, format!("old\n{lines}")).unwrap();
        let shown = tail(&log, 4);
        assert_eq!(shown.lines().skip(1).count(), TAIL);
        assert!(shown.ends_with("| new 29") && !shown.contains("old"), "{shown}");
        assert_eq!(tail(&log, 9999), "");
        assert_eq!(tail(&folder.path().join("none"), 0), "");
    }
}
