//! Processes, each the leader of a group of its own.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::reap::{Own, Reaper};

/// The three streams of a process.
#[derive(Debug)]
pub struct Streams {
    /// Standard input.
    pub stdin: Stdio,
    /// Standard output.
    pub stdout: Stdio,
    /// Standard error.
    pub stderr: Stdio,
}

/// A running process. When this is dropped before it has ended, its whole group is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Group,
    _own: Option<Own>,
}

/// A process group that is killed on drop.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Process {
    /// Starts `words` with our environment and `variables` on top.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(
        words: &[String],
        variables: Vec<(OsString, OsString)>,
        streams: Streams,
        reaper: &Rc<Reaper>,
    ) -> io::Result<Self> {
        let (program, arguments) =
            words.split_first().ok_or_else(|| io::Error::other("no program"))?;
        let child = Command::new(program)
            .args(arguments)
            .envs(variables)
            .stdin(streams.stdin)
            .stdout(streams.stdout)
            .stderr(streams.stderr)
            .process_group(0)
            .spawn()?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let own = pid.map(|pid| reaper.own(pid));
        Ok(Self { child, group: Group(pid), _own: own })
    }

    /// Waits for its end; may be dropped and called again.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        // From now on its number may be given to another process.
        self.group.0 = None;
        Ok(status)
    }

    /// Kills the whole group and waits for the process's end.
    pub async fn kill(&mut self) {
        self.group.signal(Signal::KILL);
        // It cannot fail to end, and there is nobody to tell.
        let _ = self.wait().await;
    }

    /// Asks the whole group to end, and kills what is left of it after `grace`.
    pub async fn terminate(&mut self, grace: Duration) {
        let everybody = Group(self.group.0);
        everybody.signal(Signal::TERM);
        if timeout(grace, self.wait()).await.is_err() {
            self.kill().await;
        }
    }
}

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.0 {
            // It may just have ended.
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// How a process ended, as Go says it: clients of the reference know these texts.
pub fn describe(status: ExitStatus) -> String {
    let Some(signal) = status.signal() else {
        return format!("exit status {}", status.code().unwrap_or_default());
    };
    let name = match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        11 => "segmentation fault",
        13 => "broken pipe",
        15 => "terminated",
        other => return format!("signal: {other}"),
    };
    let core = if status.core_dumped() { " (core dumped)" } else { "" };
    format!("signal: {name}{core}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_as_in_go() {
        assert_eq!(describe(ExitStatus::from_raw(3 << 8)), "exit status 3");
        assert_eq!(describe(ExitStatus::from_raw(9)), "signal: killed");
        assert_eq!(
            describe(ExitStatus::from_raw(0x80 | 11)),
            "signal: segmentation fault (core dumped)"
        );
        assert_eq!(describe(ExitStatus::from_raw(40)), "signal: 40");
    }
}
