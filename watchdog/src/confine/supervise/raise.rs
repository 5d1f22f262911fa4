//! Making a sandbox: of namespaces where there can be some, else of what else there is.

use std::io::{PipeReader, pipe};
use std::process::{Child, Stdio};
use std::time::Duration;

use provider::confine::{Gap, Layout, Network, Report, Spec};
use rustix::process::{Pid, geteuid};

use crate::confine::cgroup::{Limit, Made};
use crate::confine::channel::{Channel, Message};
use crate::confine::failure::{Doing, Failure, Result};
use crate::confine::sandbox::{gap, privileges};
use crate::confine::stage::{Plan, SPLIT, Wall, command};
use crate::confine::{files, remains};

/// How long one step may take; it is a matter of milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a sandbox is to be made from.
pub(super) struct Raise<'a> {
    pub(super) layout: &'a Layout,
    pub(super) spec: &'a Spec,
    pub(super) made: &'a Made,
}

/// A sandbox with the watchdog in it.
pub(super) struct Sandbox {
    /// The watchdog.
    pub(super) pid: Pid,
    /// The stage that looks after it, where the watchdog is not our own child.
    pub(super) guard: Option<Pid>,
    pub(super) channel: Channel,
    /// Its stdout and stderr, when they are to be logged.
    pub(super) output: Vec<PipeReader>,
}

/// Why there is no sandbox of a kind.
enum Refusal {
    /// There may be one of another kind.
    Kind(String),
    /// There can be none.
    All(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::All(failure)
    }
}

impl Raise<'_> {
    /// Makes it, reports what it lacks, and has the watchdog run in it.
    pub(super) fn sandbox(&self) -> Result<Sandbox> {
        let mut lost = Vec::new();
        let attempt = match self.attempt(Wall::Namespaces) {
            Err(Refusal::Kind(reason)) => {
                self.may_do_without(&reason)?;
                let instead =
                    "it sees the machine's files, as far as landlock lets it, and processes";
                lost.push(gap(
                    "namespaces (user, mount, pid, ipc)",
                    format_args!("{reason}; {instead}"),
                ));
                self.attempt(Wall::Rules)
            }
            other => other,
        };
        match attempt {
            Ok((sandbox, gaps)) => {
                lost.extend(gaps);
                self.begin(&sandbox, lost).inspect_err(|_| remains::end_children())?;
                Ok(sandbox)
            }
            Err(Refusal::Kind(reason)) => Err(Failure(reason)),
            Err(Refusal::All(failure)) => Err(failure),
        }
    }

    /// A network that is not to be there cannot be left out without namespaces.
    fn may_do_without(&self, reason: &str) -> Result<()> {
        if self.spec.network == Network::None {
            return Err(Failure(format!(
                "network: none takes a network namespace, and there can be none here ({reason}); \
                 allow user namespaces, run the gateway as root, or deploy the function with its \
                 network"
            )));
        }
        Ok(())
    }

    /// Goes all the way up to where the watchdog could run.
    fn attempt(&self, wall: Wall) -> Result<(Sandbox, Vec<Gap>), Refusal> {
        let (channel, theirs) = Channel::pair()?;
        channel.set_patience(PATIENCE)?;
        let (plan, mut gaps) = self.plan(wall);
        let mut first = command(SPLIT, &self.layout.dir, plan, &channel)?;
        first.stdin(Stdio::from(theirs));
        let mut output = Vec::new();
        if self.spec.log_bytes > 0 {
            let (stdout, out) = pipe().doing("cannot make a pipe")?;
            let (stderr, err) = pipe().doing("cannot make a pipe")?;
            first.stdout(out).stderr(err);
            output.extend([stdout, stderr]);
        }
        let child = first.spawn().doing("cannot start the sandbox")?;
        drop(first);
        match self.wait_for(&channel, child, wall) {
            Ok((pid, guard, more)) => {
                gaps.extend(more);
                Ok((Sandbox { pid, guard, channel, output }, gaps))
            }
            Err(refusal) => {
                // All that has been started are our children by now, or theirs.
                remains::end_children();
                Err(refusal)
            }
        }
    }

    /// Waits until it stands. Then it is known who the watchdog will be, who is its parent if not we,
    /// and what is lacking.
    fn wait_for(
        &self,
        channel: &Channel,
        mut child: Child,
        wall: Wall,
    ) -> Result<(Pid, Option<Pid>, Vec<Gap>), Refusal> {
        let known = |pid: u32| Pid::from_raw(pid.cast_signed());
        let (mut process, mut lacking) = (None, None);
        // The stages do not wait for each other.
        let (pid, gaps) = loop {
            match channel.hear()? {
                Some(Message::Split { pid }) => {
                    // In good time, since the kernel may take longer for it than the stage for its work.
                    self.made.cgroups.take_in(pid).doing("cannot use a control group")?;
                    process = known(pid);
                }
                Some(Message::Ready { gaps }) => lacking = Some(gaps),
                other => return Err(unexpected(other)),
            }
            if let (Some(pid), Some(gaps)) = (process, &mut lacking) {
                break (pid, std::mem::take(gaps));
            }
        };
        match wall {
            Wall::Namespaces => {
                // With its end the watchdog has become our child.
                child.wait().doing("cannot wait for the sandbox")?;
                Ok((pid, None, gaps))
            }
            Wall::Rules => Ok((pid, known(child.id()), gaps)),
        }
    }

    /// Reports, and gives the go-ahead.
    fn begin(&self, sandbox: &Sandbox, gaps: Vec<Gap>) -> Result<()> {
        let pid = sandbox.pid.as_raw_nonzero().get().cast_unsigned();
        let report = Report { pid, cgroups: self.made.cgroups.dirs(), gaps };
        files::write_json(&self.layout.report(), &report)?;
        if self.spec.required && !report.gaps.is_empty() {
            let gaps = report.gaps.iter().map(|gap| format!("{}: {}", gap.measure, gap.reason));
            return Err(Failure(format!(
                "the sandbox is required, and this machine cannot enforce all of it: {}; run the \
                 gateway where it can, or deploy without sandbox: required",
                gaps.collect::<Vec<_>>().join("; ")
            )));
        }
        sandbox.channel.tell(&Message::Go)
    }

    /// What stands in for control groups that are not there, and what that leaves open.
    fn plan(&self, wall: Wall) -> (Plan, Vec<Gap>) {
        let mut plan = Plan { wall, data: None, processes: None };
        let mut gaps = Vec::new();
        for missing in &self.made.missing {
            match missing.limit {
                Limit::Memory => {
                    plan.data = self.spec.limits.memory;
                    gaps.push(missing.gap("each process is bounded by rlimit, not all together"));
                }
                Limit::Cpu => gaps.push(missing.gap("nothing bounds it")),
                Limit::Pids => {
                    let (processes, instead) = self.processes(wall);
                    plan.processes = processes;
                    gaps.extend(instead.map(|instead| missing.gap(&instead)));
                }
            }
        }
        (plan, gaps)
    }

    /// The limit of processes of a user is one for a replica in a user namespace, where only those
    /// inside count. Otherwise there are others, and root has no such limit.
    fn processes(&self, wall: Wall) -> (Option<u64>, Option<String>) {
        let most = self.spec.limits.pids;
        let user = self.spec.user.unwrap_or_else(|| geteuid().as_raw());
        if wall == Wall::Namespaces && !privileges::may_administrate() && counts_by_namespace() {
            return (Some(most), None);
        }
        if user == 0 {
            return (None, Some("nothing bounds it".to_owned()));
        }
        let instead = format!("bounded by rlimit, together with other processes of user {user}");
        (Some(privileges::processes_of(user) + most), Some(instead))
    }
}

fn unexpected(message: Option<Message>) -> Refusal {
    match message {
        Some(Message::Refused { reason }) => Refusal::Kind(reason),
        Some(Message::Failed { reason }) => Refusal::All(Failure(reason)),
        Some(Message::Ended { code, signal }) => Refusal::All(Failure(format!(
            "the sandbox ended before it stood (code {code:?}, signal {signal:?})"
        ))),
        other => Refusal::All(Failure(format!("the sandbox ended before it stood ({other:?})"))),
    }
}

/// Linux counts a user's processes by user namespace from 5.14 on.
fn counts_by_namespace() -> bool {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (5, 14),
        _ => false,
    }
}
