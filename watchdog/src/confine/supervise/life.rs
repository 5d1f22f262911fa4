//! While the watchdog runs: its output is logged, signals are passed on, its end is waited for.

use std::fs;
use std::io::PipeReader;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal as Known};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use provider::confine::{Layout, Spec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

use super::raise::Sandbox;
use crate::confine::cgroup::Cgroups;
use crate::confine::channel::{Channel, Message};
use crate::confine::failure::{Doing, Failure, Result};
use crate::confine::output::{Log, Stream};

/// How long the last output may take to come.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How the watchdog ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
}

impl Ended {
    /// The same as an exit code, as shells have it.
    pub(super) fn exit_code(self) -> ExitCode {
        let code = self.code.or(self.signal.map(|signal| 128 + signal)).unwrap_or(1);
        ExitCode::from(u8::try_from(code).unwrap_or(1))
    }
}

/// The signals that the confiner is told about, instead of being ended by them.
pub(super) struct Signals(SignalFd);

impl Signals {
    pub(super) fn take() -> Result<Self> {
        let mut signals = SigSet::empty();
        for signal in [Known::SIGTERM, Known::SIGINT, Known::SIGQUIT, Known::SIGHUP, Known::SIGCHLD]
        {
            signals.add(signal);
        }
        signals.thread_block().doing("signal mask")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&signals, flags).map(Self).doing("signals")
    }

    /// The next one that has come.
    fn next(&self) -> Option<Known> {
        let info = self.0.read_signal().ok()??;
        Known::try_from(info.ssi_signo.cast_signed()).ok()
    }
}

/// A running watchdog.
pub(super) struct Life {
    pid: Pid,
    guard: Option<Pid>,
    /// Until there is nothing to be heard any more.
    channel: Option<Channel>,
    signals: Signals,
    output: Vec<Stream<PipeReader>>,
    log: Log,
}

impl Life {
    pub(super) fn new(sandbox: Sandbox, signals: Signals, layout: &Layout, spec: &Spec) -> Self {
        let Sandbox { pid, guard, channel, output } = sandbox;
        let output = output.into_iter().map(Stream::new).collect();
        let log = Log::new(layout, spec.log_bytes);
        Self { pid, guard, channel: Some(channel), signals, output, log }
    }

    /// Waits for its end.
    pub(super) fn run(mut self, cgroups: &Cgroups) -> Result<Ended> {
        let ended = loop {
            self.wait(None)?;
            if let Some(ended) = self.listen().transpose() {
                break ended;
            }
            while let Some(signal) = self.signals.next() {
                self.pass_on(signal, cgroups);
            }
            if let Some(ended) = self.collect() {
                // It may have said why.
                break self.listen().transpose().unwrap_or(Ok(ended));
            }
        };
        cgroups.kill();
        self.last_words();
        ended
    }

    /// Waits for anything, and takes the output in.
    fn wait(&mut self, timeout: Option<Duration>) -> Result<bool> {
        let mut fds: Vec<PollFd<'_>> = vec![PollFd::new(&self.signals.0, PollFlags::IN)];
        fds.extend(self.channel.iter().map(|channel| PollFd::new(channel, PollFlags::IN)));
        let open = |stream: &&Stream<PipeReader>| stream.fd().is_some();
        let streams = self.output.iter().filter(open).filter_map(Stream::fd);
        fds.extend(streams.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs().cast_signed(),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return Ok(false),
            Err(Errno::INTR) => return Ok(true),
            other => other.doing("cannot wait")?,
        };
        let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let ready: Vec<bool> =
            fds[fds.len() - self.output.iter().filter(open).count()..].iter().map(ready).collect();
        let streams = self.output.iter_mut().filter(|stream| stream.fd().is_some());
        for (stream, _) in streams.zip(ready).filter(|(_, ready)| *ready) {
            stream.take(&mut self.log);
        }
        Ok(true)
    }

    /// What the stages say: why it could not be run, or how it ended.
    fn listen(&mut self) -> Result<Option<Ended>> {
        while let Some(channel) = &self.channel {
            match channel.hear_now() {
                Ok(Some(Message::Failed { reason })) => return Err(Failure(reason)),
                Ok(Some(Message::Ended { code, signal })) => {
                    return Ok(Some(Ended { code, signal }));
                }
                Ok(Some(_)) => (),
                Ok(None) => self.channel = None,
                Err(_) => break,
            }
        }
        Ok(None)
    }

    fn pass_on(&self, signal: Known, cgroups: &Cgroups) {
        let signal = match signal {
            Known::SIGTERM if self.catches(Signal::TERM) => Signal::TERM,
            Known::SIGINT if self.catches(Signal::INT) => Signal::INT,
            Known::SIGTERM | Known::SIGINT | Known::SIGQUIT => Signal::KILL,
            _ => return,
        };
        // Who is frozen hears nothing.
        cgroups.thaw();
        let _ = kill_process(self.pid, signal);
    }

    /// Process 1 of a namespace does not get signals that it has not asked for yet; until then it
    /// has nothing to bring to an end.
    fn catches(&self, signal: Signal) -> bool {
        let path = format!("/proc/{}/status", self.pid.as_raw_nonzero());
        fs::read_to_string(path).is_ok_and(|status| caught(&status, signal))
    }

    /// Collects whoever has ended; the watchdog's end is returned.
    fn collect(&self) -> Option<Ended> {
        let parent = self.guard.unwrap_or(self.pid);
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == parent => {
                    let (code, signal) = (status.exit_status(), status.terminating_signal());
                    return Some(Ended { code, signal });
                }
                Ok(Some(_)) | Err(Errno::INTR) => (),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// Takes the rest of the output in.
    fn last_words(&mut self) {
        let end = Instant::now() + LAST_WORDS;
        // Its messages and signals are of no interest any more.
        self.channel = None;
        while self.output.iter().any(|stream| stream.fd().is_some()) {
            while self.signals.next().is_some() {}
            let left = end.saturating_duration_since(Instant::now());
            match self.wait(Some(left)) {
                Ok(true) if !left.is_zero() => (),
                _ => return,
            }
        }
    }
}

/// Whether a process, of this `/proc/<pid>/status`, has a handler for a signal.
fn caught(status: &str, signal: Signal) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal.as_raw() - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_are_seen() {
        let status = "Name:\tx\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000004002\n";
        assert!(caught(status, Signal::TERM) && caught(status, Signal::INT));
        assert!(!caught(status, Signal::HUP) && !caught("", Signal::TERM));
    }
}
