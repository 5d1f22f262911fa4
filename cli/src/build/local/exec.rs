//! Runs one command of a build, in a process group of its own that never outlives it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Command;

use super::programs::Programs;

/// Longest line of output; a longer one is shown in parts.
const MAX_LINE_BYTES: usize = 8 * 1024;
/// How long something that the command left behind may still hold its output.
const LEFT_BEHIND: Duration = Duration::from_millis(500);

/// A command.
#[derive(Debug)]
pub(crate) struct Exec<'a> {
    /// Its words; the first one is the program.
    pub(crate) words: &'a [String],
    /// Where it runs.
    pub(crate) folder: &'a Path,
    /// Variables beyond those of this program.
    pub(crate) environment: &'a BTreeMap<String, String>,
    /// Where programs are.
    pub(crate) programs: Programs<'a>,
}

impl Exec<'_> {
    /// Runs it to its end and gives every line of its output. Dropping this kills it, and all
    /// that it started.
    pub(crate) async fn run(&self, each: &mut dyn FnMut(&str)) -> Result<ExitStatus> {
        let program = self.words.first().ok_or_else(|| anyhow!("an empty command"))?;
        let (reader, writer) = std::io::pipe().context("a pipe cannot be made")?;
        let errors = writer.try_clone().context("a pipe cannot be made")?;
        let mut command = Command::new(self.program(program));
        command.args(&self.words[1..]).current_dir(self.folder).envs(self.environment);
        command.stdin(Stdio::null()).stdout(writer).stderr(errors).process_group(0);
        let mut child =
            command.spawn().with_context(|| format!("the program {program} cannot be run"))?;
        // It holds the writing ends, and the output would never end.
        drop(command);
        let _group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
        let mut output = Receiver::from_owned_fd(reader.into())?;
        let mut lines = Lines::default();
        let status = tokio::select! {
            status = child.wait() => status?,
            never = drain(&mut output, &mut lines, each) => {
                never?;
                child.wait().await?
            }
        };
        let rest = drain(&mut output, &mut lines, each);
        // What goes on in the background is killed with the group.
        let _ = tokio::time::timeout(LEFT_BEHIND, rest).await;
        lines.end(each);
        Ok(status)
    }

    /// A program beside the command's folder, or on the `PATH`; when it is nowhere, its name, for
    /// the error of starting it.
    fn program(&self, name: &str) -> std::path::PathBuf {
        match name.contains('/') {
            true => self.folder.join(name),
            false => self.programs.find(name).unwrap_or_else(|| name.into()),
        }
    }
}

/// A process group, which is killed in the end.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Usually nothing is left of it.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn drain(output: &mut Receiver, lines: &mut Lines, each: &mut dyn FnMut(&str)) -> Result<()> {
    let mut bytes = [0; 4096];
    loop {
        match output.read(&mut bytes).await? {
            0 => return Ok(()),
            count => lines.take(&bytes[..count], each),
        }
    }
}

/// Bytes to lines.
#[derive(Default)]
struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8], each: &mut dyn FnMut(&str)) {
        for byte in bytes {
            // Progress bars go back to the start of their line.
            let ended = matches!(byte, b'\n' | b'\r');
            if !ended {
                self.pending.push(*byte);
            }
            if ended || self.pending.len() == MAX_LINE_BYTES {
                self.end(each);
            }
        }
    }

    fn end(&mut self, each: &mut dyn FnMut(&str)) {
        if !self.pending.is_empty() {
            each(&String::from_utf8_lossy(&self.pending));
            self.pending.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str) -> (ExitStatus, Vec<String>) {
        let words = ["sh", "-c", script].map(str::to_owned);
        let environment = [("A".to_owned(), "ü 1".to_owned())].into();
        let exec = Exec {
            words: &words,
            folder: Path::new("/"),
            environment: &environment,
            programs: Programs { path: "/bin:/usr/bin" },
        };
        let mut lines = Vec::new();
        let status = exec.run(&mut |line| lines.push(line.to_owned())).await.unwrap();
        (status, lines)
    }

    #[tokio::test]
    async fn output_in_its_order_and_the_exit_code() {
        let (status, lines) = shell("echo $A; echo two >&2; printf 'a\\rb'; pwd; exit 3").await;
        assert_eq!(lines, ["ü 1", "two", "a", "b/"]);
        assert_eq!(status.code(), Some(3));
    }

    #[tokio::test]
    async fn what_is_left_behind_neither_hangs_the_build_nor_survives_it() {
        let (status, lines) = shell("sleep 1000 & echo $!").await;
        assert!(status.success());
        until_gone(&lines[0]).await;
    }

    #[tokio::test]
    async fn what_is_given_up_is_killed_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! >{0}.new; mv {0}.new {0}; wait", pid.display());
        let waited = async {
            while !pid.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = shell(&script) => panic!("it ended"),
            () = waited => {}
        }
        until_gone(&std::fs::read_to_string(pid).unwrap()).await;
    }

    /// Waits until a process is no more, or waits for its parent to take notice.
    async fn until_gone(pid: &str) {
        let stat = format!("/proc/{}/stat", pid.trim());
        let runs = || std::fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z "));
        while runs() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[test]
    fn endless_lines_are_shown_in_parts() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        lines.take(&[b'x'; MAX_LINE_BYTES + 1], &mut |line| seen.push(line.len()));
        lines.end(&mut |line| seen.push(line.len()));
        assert_eq!(seen, [MAX_LINE_BYTES, 1]);
    }
}
