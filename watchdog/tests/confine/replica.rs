//! A replica in a state directory like the gateway's, with a shell for a function: what is posted
//! to it is run.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use provider::confine::{Exit, Layout, Limits, Report, Spec};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::setting::{self, Setting};

/// Longest wait for anything; only a failing test takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Replica {
    pub(crate) setting: Setting,
    pub(crate) state: State,
    pub(crate) layout: Layout,
    child: Child,
}

/// A state directory, in which nothing is secret by its mode.
pub(crate) struct State(TempDir);

impl State {
    pub(crate) fn new(setting: Setting) -> Self {
        let state = Self(tempfile::tempdir().expect("a directory"));
        setting::open(state.0.path());
        state.file("gateway/password", "hush-password");
        state.file("home/.ssh/id", "hush-key");
        state.file("replicas/other/secrets/token", "hush-token");
        state.file("bundles/other/code", "hush-code");
        state.file("bundles/mine/code", "my-code");
        state.file("replicas/mine/secrets/token", "my-token");
        own(state.0.path(), setting.owner());
        state
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file that everybody may read.
    pub(crate) fn file(&self, name: &str, text: &str) {
        let path = self.path(name);
        let dirs: Vec<_> = path.ancestors().skip(1).collect();
        for dir in dirs.iter().rev().filter(|dir| dir.starts_with(self.0.path())) {
            if !dir.exists() {
                fs::create_dir(dir).expect("our directory");
                setting::open(dir);
            }
        }
        fs::write(&path, text).expect("our directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("our file");
    }

    /// What a replica of this state runs with, if nothing else is said.
    pub(crate) fn spec(&self, setting: Setting) -> Spec {
        let environment = [("fprocess", "sh"), ("mode", "streaming")];
        let id = self.0.path().file_name().expect("a name").to_string_lossy();
        Spec {
            replica: format!("test-{}", id.trim_matches('.')),
            bundle: self.path("bundles/mine"),
            environment: environment.map(|(name, value)| (name.into(), value.into())).into(),
            limits: Limits { memory: Some(128 << 20), cpu: Some(1000), pids: 48, files: 200 },
            user: setting.spec_user(),
            log_bytes: 1 << 20,
            ..Spec::default()
        }
    }
}

fn own(path: &Path, user: u32) {
    chown(path, Some(user), Some(user)).expect("our file");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("our directory") {
            own(&entry.expect("an entry").path(), user);
        }
    }
}

impl Replica {
    /// Starts one, and waits until it is ready.
    pub(crate) fn start(setting: Setting) -> Self {
        Self::start_with(setting, |_, _| ())
    }

    /// The same, with something changed.
    pub(crate) fn start_with(setting: Setting, change: impl FnOnce(&mut Spec, &State)) -> Self {
        let replica = Self::launch(setting, change);
        replica.wait_ready();
        replica
    }

    /// Starts one, and waits for nothing.
    pub(crate) fn launch(setting: Setting, change: impl FnOnce(&mut Spec, &State)) -> Self {
        let state = State::new(setting);
        let mut spec = state.spec(setting);
        change(&mut spec, &state);
        let text = serde_json::to_string(&spec).expect("a spec");
        Self::launch_text(setting, state, &text)
    }

    /// The same, with the spec as text.
    pub(crate) fn launch_text(setting: Setting, state: State, spec: &str) -> Self {
        let layout = Layout::new(&state.path("replicas/mine"));
        fs::write(layout.spec(), spec).expect("our directory");
        chown(layout.spec(), Some(setting.owner()), None).expect("our file");
        let child = confiner(setting, &layout);
        Self { setting, state, layout, child }
    }

    /// Starts a confiner for the same folder again, after the first has ended.
    pub(crate) fn start_again(&mut self) {
        let before = self.confiner();
        self.child.wait().expect("our child");
        self.child = confiner(self.setting, &self.layout);
        // The socket of the one before is still there at first.
        wait_for("another confiner", || {
            (self.confiner() != before && self.layout.report().exists()).then_some(())
        });
        self.wait_ready();
    }

    pub(crate) fn wait_ready(&self) {
        wait_for("the socket", || {
            assert!(!self.layout.exit().exists(), "{:?}", self.exit_now());
            self.layout.socket().exists().then_some(())
        });
    }

    /// Runs a script in the sandbox and returns what it prints to any stream.
    pub(crate) fn run(&self, script: &str) -> String {
        // What has gone wrong in it is part of the answer, and no failure of the function.
        let body = format!("exec 2>&1\n{script}\nexit 0\n");
        let length = body.len();
        let request = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let mut socket = UnixStream::connect(self.layout.socket()).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        socket.write_all(request.as_bytes()).expect("it reads");
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).expect("an answer");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            unchunk(body)
        } else {
            body.to_owned()
        }
    }

    pub(crate) fn report(&self) -> Report {
        let text = fs::read(self.layout.report()).expect("a report");
        serde_json::from_slice(&text).expect("a report")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.layout.log()).unwrap_or_default()
    }

    /// The confiner's process, as the lock says.
    pub(crate) fn confiner(&self) -> Pid {
        wait_for("a lock", || {
            Pid::from_raw(fs::read_to_string(self.layout.lock()).ok()?.parse().ok()?)
        })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.confiner(), signal).expect("it runs");
    }

    /// Ends it, and says how it has ended.
    pub(crate) fn stop(&mut self) -> Exit {
        self.signal(Signal::TERM);
        self.exit()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for("the confiner's end", || self.child.try_wait().expect("our child"))
    }

    /// Waits for its end, and says how it has ended.
    pub(crate) fn exit(&mut self) -> Exit {
        self.wait();
        self.exit_now()
    }

    fn exit_now(&self) -> Exit {
        let text = fs::read(self.layout.exit()).expect("an exit");
        serde_json::from_slice(&text).expect("an exit")
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // It takes everything along.
            let _ = fs::read_to_string(self.layout.lock()).map(|text| {
                let pid = text.parse().ok().and_then(Pid::from_raw);
                pid.map(|pid| kill_process(pid, Signal::QUIT))
            });
            let end = Instant::now() + PATIENCE;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(2));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Starts a confiner. Something in its environment must not get further.
pub(crate) fn confiner(setting: Setting, layout: &Layout) -> Child {
    let mut command = setting.command(&setting::program());
    command.arg("confine").arg(&layout.dir).env("LEAK", "hush-environment");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("a confiner")
}

fn unchunk(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        text += &rest[..size];
        body = rest[size..].strip_prefix("\r\n").expect("the end of a chunk");
    }
    text
}

/// Waits until `found` finds something.
pub(crate) fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Asserts that a text has all of these in it.
pub(crate) fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}

/// Asserts that a text has nothing in it of what is secret to a function.
pub(crate) fn assert_no_secret(text: &str) {
    assert!(!text.contains("hush"), "a secret in: {text}");
}
