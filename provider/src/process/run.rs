//! One run of one replica: its confiner, begun by us or by a gateway before us.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Command;
use tokio::time::{Instant, sleep, sleep_until};

use super::watch::Folders;
use super::{cgroup, tree};
use crate::confine::{Exit, Layout, Report};

/// What makes a watchdog a confiner.
const COMMAND: &str = "confine";
/// Holds what a confiner says that cannot say it properly.
const WORDS: &str = "confine.err";
/// How many characters of that are shown.
const WORDS_CHARS: usize = 400;
/// Longest that a confiner may take to make the sandbox.
const SETUP_LIMIT: Duration = Duration::from_secs(30);
/// Longest that a lock may be held by who is not known, such as what a dead confiner started.
const LOCK_LIMIT: Duration = Duration::from_secs(3);
/// Pause between two looks at that lock.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// A confiner that runs, or just ended. It does not end with this value.
pub(super) struct Run {
    layout: Layout,
    pid: Pid,
    /// Names the process for good, whatever becomes of its number; readable when it has ended.
    process: AsyncFd<OwnedFd>,
}

impl Run {
    /// Starts a confiner in a group of its own and without a variable of ours. It has read nothing
    /// yet: the folder's spec must be there.
    pub(super) fn spawn(watchdog: &Path, layout: &Layout) -> io::Result<Self> {
        for stale in [layout.report(), layout.exit(), layout.socket()] {
            absent_is_fine(fs::remove_file(stale))?;
        }
        let words = File::create(layout.dir.join(WORDS))?;
        let mut command = Command::new(watchdog);
        command.arg(COMMAND).arg(&layout.dir).env_clear().current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(words);
        let mut child = command.spawn()?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let run = pid.ok_or_else(|| io::Error::other("it ended at once"));
        let run = run.and_then(|pid| Self::open(layout, pid));
        // Takes its exit status, so that nothing is left of it.
        tokio::spawn(async move { child.wait().await });
        run
    }

    /// Finds the confiner that runs in a folder.
    pub(super) async fn adopt(layout: &Layout) -> io::Result<Option<Self>> {
        let late = Instant::now() + LOCK_LIMIT;
        while is_locked(layout)? {
            // It writes its number when it has the lock: until then there is none, or an old one.
            match locker(layout)?.map(|pid| Self::open(layout, pid)) {
                Some(Ok(run)) if run.is_confiner() && is_locked(layout)? => return Ok(Some(run)),
                Some(Err(e)) if !is_gone(&e) => return Err(e),
                _ => {}
            }
            if Instant::now() >= late {
                let text = format!("{} is held by nobody known", layout.lock().display());
                return Err(io::Error::other(text));
            }
            sleep(LOCK_PAUSE).await;
        }
        Ok(None)
    }

    fn open(layout: &Layout, pid: Pid) -> io::Result<Self> {
        let process = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        #[expect(
            deprecated,
            reason = "the other way is unsafe code; this descriptor belongs to the value for good"
        )]
        let process = AsyncFd::with_interest(process, Interest::READABLE)?;
        Ok(Self { layout: layout.clone(), pid, process })
    }

    /// Whether the process is this folder's confiner and not one that was given its number later.
    fn is_confiner(&self) -> bool {
        let path = format!("/proc/{}/cmdline", self.pid.as_raw_nonzero());
        let words = fs::read(path).unwrap_or_default();
        let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
        words.windows(2).any(|pair| {
            let folder = Path::new(OsStr::from_bytes(pair[1])).file_name();
            pair[0] == COMMAND.as_bytes() && folder == self.layout.dir.file_name()
        })
    }

    /// Returns when the sandbox is made and the watchdog is about to run; an error says why not.
    /// Where a whole sandbox is `required` the confiner reports its gaps, and then gives up.
    pub(super) async fn set_up(&self, folders: &Folders, required: bool) -> Result<Report, String> {
        let mut written = folders.watch(&self.layout.dir);
        let late = Instant::now() + SETUP_LIMIT;
        loop {
            let report: Option<Report> = read(&self.layout.report());
            if let Some(report) = report.filter(|report| !required || report.gaps.is_empty()) {
                return Ok(report);
            }
            tokio::select! {
                () = written.changed() => {}
                () = self.ended() => return self.stillborn(),
                () = sleep_until(late) => {
                    self.signal(Signal::KILL);
                    let seconds = SETUP_LIMIT.as_secs();
                    return Err(format!("the sandbox was not made within {seconds} s"));
                }
            }
        }
    }

    /// It has ended, before or after there was something to report.
    fn stillborn(&self) -> Result<Report, String> {
        let report = read(&self.layout.report());
        match (self.exit(report.is_some()), report) {
            (exit, _) if !exit.error.is_empty() => Err(exit.error),
            (_, report) => Ok(report.unwrap_or_default()),
        }
    }

    /// Returns when the confiner has ended.
    pub(super) async fn ended(&self) {
        // It can fail only when the runtime ends, and then nobody waits.
        let _ready = self.process.readable().await;
    }

    /// Sends the confiner a signal.
    pub(super) fn signal(&self, signal: Signal) {
        // It may just have ended.
        let _gone = pidfd_send_signal(self.process.get_ref(), signal);
    }

    /// Takes the processor from all that the confiner started; returns when nothing of it runs.
    pub(super) async fn freeze(&self, report: &Report) -> io::Result<()> {
        match cgroup::freeze(&report.cgroups).await? {
            true => Ok(()),
            false => tree::signal(self.pid, Signal::STOP),
        }
    }

    /// Gives the processor back.
    pub(super) fn thaw(&self, report: &Report) -> io::Result<()> {
        match cgroup::thaw(&report.cgroups)? {
            true => Ok(()),
            false => tree::signal(self.pid, Signal::CONT),
        }
    }

    /// Whether anything of it gets no processor. What cannot be looked at runs.
    pub(super) fn is_frozen(&self, report: &Report) -> bool {
        match cgroup::is_frozen(&report.cgroups) {
            Some(frozen) => frozen,
            None => tree::is_stopped(self.pid).unwrap_or(false),
        }
    }

    /// Kills the confiner and all that it started. What is in its control groups goes when the
    /// run is cleared up.
    pub(super) fn kill(&self, report: &Report) {
        if report.cgroups.is_empty() {
            // Before the confiner, below which nothing is found once it is gone.
            let _none_known = tree::signal(self.pid, Signal::KILL);
        }
        self.signal(Signal::KILL);
    }

    /// How it ended; `ran` tells whether its watchdog was started.
    pub(super) fn exit(&self, ran: bool) -> Exit {
        read(&self.layout.exit()).unwrap_or_else(|| {
            let error = if ran { String::new() } else { self.words() };
            let signal = ran.then_some(Signal::KILL.as_raw());
            Exit { code: None, signal, out_of_memory: false, error, at: Timestamp::now() }
        })
    }

    /// What the confiner said instead of a proper answer.
    fn words(&self) -> String {
        let bytes = fs::read(self.layout.dir.join(WORDS)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        match text.trim() {
            "" => "fwatchdog confine ended without a word".to_owned(),
            words => words.chars().take(WORDS_CHARS).collect(),
        }
    }

    /// Ends what outlived the confiner, which does so only when it was killed.
    pub(super) async fn clear_up(&self, report: &Report) -> io::Result<()> {
        cgroup::clear(&report.cgroups).await?;
        let late = Instant::now() + LOCK_LIMIT;
        while is_locked(&self.layout)? {
            if Instant::now() >= late {
                let text = format!("{} is still held", self.layout.lock().display());
                return Err(io::Error::new(ErrorKind::TimedOut, text));
            }
            sleep(LOCK_PAUSE).await;
        }
        Ok(())
    }
}

/// What the last run in a folder reported; nothing when it did not.
pub(super) fn report_of(layout: &Layout) -> Report {
    read(&layout.report()).unwrap_or_default()
}

/// How the last run in a folder ended, if any did.
pub(super) fn exit_of(layout: &Layout) -> Option<Exit> {
    read(&layout.exit())
}

/// Reads a file of the confiner's; `None` while it is not whole.
fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Whether a confiner runs in this folder.
fn is_locked(layout: &Layout) -> io::Result<bool> {
    let file = match OpenOptions::new().read(true).open(layout.lock()) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(e) if e == rustix::io::Errno::WOULDBLOCK => Ok(true),
        other => Ok(other.map(|()| false)?),
    }
}

/// There is no process of that number.
fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

fn locker(layout: &Layout) -> io::Result<Option<Pid>> {
    let text = fs::read_to_string(layout.lock())?;
    Ok(text.trim().parse().ok().and_then(Pid::from_raw))
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stand-in for `fwatchdog` that does as the script says, in the replica's folder. Another
    /// process writes it: what we have open for writing can be run by nobody.
    fn confiner(dir: &Path, script: &str) -> std::path::PathBuf {
        let path = dir.join("fwatchdog");
        let text = format!("#!/bin/sh\ncd \"$2\" || exit 1\n{script}");
        let write = r#"printf '%s\n' "$1" >"$2" && chmod 755 "$2""#;
        let mut shell = std::process::Command::new("sh");
        assert!(shell.args(["-c", write, "sh", &text]).arg(&path).status().unwrap().success());
        path
    }

    fn folder(dir: &Path) -> Layout {
        let layout = Layout::new(&dir.join("replica"));
        fs::create_dir_all(layout.run()).unwrap();
        layout
    }

    #[tokio::test]
    async fn a_sandbox_that_cannot_be_made_is_told_in_the_confiners_words() {
        let dir = tempfile::tempdir().unwrap();
        let layout = folder(dir.path());
        let (folders, reader) = Folders::open().unwrap();
        let reader = tokio::spawn(reader);
        for (script, want) in [
            (
                r#"echo '{"error":"no namespace","out_of_memory":false,"at":"2026-01-02T03:04:05Z"}' >exit.json"#,
                "no namespace",
            ),
            ("echo no such spec >&2; exit 1", "no such spec"),
            ("exit 1", "without a word"),
        ] {
            let watchdog = confiner(dir.path(), script);
            let run = Run::spawn(&watchdog, &layout).unwrap();
            let error = run.set_up(&folders, false).await.unwrap_err();
            assert!(error.contains(want), "{error}");
        }
        reader.abort();
    }

    #[tokio::test]
    async fn gaps_are_fine_unless_there_must_be_none() {
        let dir = tempfile::tempdir().unwrap();
        let layout = folder(dir.path());
        let (folders, reader) = Folders::open().unwrap();
        let reader = tokio::spawn(reader);
        let script = r#"echo '{"gaps":[{"measure":"m","reason":"r"}]}' >report.json
            echo '{"error":"m is missing","out_of_memory":false,"at":"2026-01-02T03:04:05Z"}' >exit.json"#;
        let watchdog = confiner(dir.path(), script);
        let error = Run::spawn(&watchdog, &layout).unwrap().set_up(&folders, true).await;
        assert_eq!(error.unwrap_err(), "m is missing");
        let watchdog = confiner(dir.path(), r#"echo '{"gaps":[]}' >report.json; sleep 1000"#);
        let run = Run::spawn(&watchdog, &layout).unwrap();
        run.set_up(&folders, true).await.unwrap();
        run.kill(&Report::default());
        run.ended().await;
        reader.abort();
    }

    #[tokio::test]
    async fn a_run_is_adopted_while_it_holds_its_lock() {
        let dir = tempfile::tempdir().unwrap();
        let layout = folder(dir.path());
        let (folders, reader) = Folders::open().unwrap();
        let reader = tokio::spawn(reader);
        assert!(Run::adopt(&layout).await.unwrap().is_none());
        // What a run before left behind is none of this one's.
        fs::write(layout.report(), "{}").unwrap();
        fs::write(layout.socket(), "").unwrap();
        let script = r#"test -e report.json -o -e run/fn.sock -o -n "$HOME" && exit 1
            exec 9>lock; flock 9; echo $$ >&9; echo '{"pid":7}' >report.json; sleep 1000"#;
        let run = Run::spawn(&confiner(dir.path(), script), &layout).unwrap();
        assert_eq!(run.set_up(&folders, false).await.unwrap().pid, 7);
        let again = Run::adopt(&layout).await.unwrap().unwrap();
        assert_eq!((again.pid, report_of(&layout).pid), (run.pid, 7));
        // The shell's child holds the lock as well.
        again.kill(&Report::default());
        again.ended().await;
        run.ended().await;
        run.clear_up(&Report::default()).await.unwrap();
        assert_eq!(run.exit(true).signal, Some(9));
        // A lock that somebody else holds, with the number of a process that is none.
        let held = File::open(layout.lock()).unwrap();
        flock(&held, FlockOperation::LockExclusive).unwrap();
        fs::write(layout.lock(), std::process::id().to_string()).unwrap();
        let error = Run::adopt(&layout).await.err().unwrap();
        assert!(error.to_string().contains("held by nobody known"), "{error}");
        drop(held);
        assert!(Run::adopt(&layout).await.unwrap().is_none());
        reader.abort();
    }
}
