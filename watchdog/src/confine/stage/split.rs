//! The first stage: out of the machine's namespaces.

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitCode};

use nix::sched::{CloneFlags, unshare};
use provider::confine::{Layout, Network, Spec};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Pid, PidfdFlags, getegid, geteuid, pidfd_open, set_child_subreaper};
use rustix::thread::{
    CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities,
};

use super::{ENTER, Plan, Wall, command};
use crate::confine::channel::{Channel, Message};
use crate::confine::failure::{Doing, Failure, Result};
use crate::confine::sandbox::{loopback, privileges, root};
use crate::confine::{remains, spec};

/// Runs this stage; what goes wrong is told to the confiner.
pub(in crate::confine) fn run(folder: &Path, plan: Plan) -> ExitCode {
    let Ok(channel) = Channel::take_stdin() else { return ExitCode::FAILURE };
    let message = match start(folder, plan, &channel) {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(child)) => guard(child, &channel),
        Err(message) => message,
    };
    // Without a confiner there is nobody to be told.
    let _ = channel.tell(&message);
    ExitCode::FAILURE
}

/// Starts the next stage. It is returned when it needs a guard.
fn start(folder: &Path, plan: Plan, channel: &Channel) -> Result<Option<Child>, Message> {
    let failed = |failure: Failure| Message::Failed { reason: failure.0 };
    let layout = Layout::new(folder);
    let spec = spec::read(&layout).map_err(failed)?;
    match plan.wall {
        Wall::Namespaces => {
            leave(&layout, &spec).map_err(|failure| Message::Refused { reason: failure.0 })?;
        }
        Wall::Rules => set_child_subreaper(Some(rustix::process::getpid()))
            .doing("cannot take in orphans")
            .map_err(failed)?,
    }
    let next = command(ENTER, folder, plan, channel).map_err(failed)?.spawn();
    let child = next.doing("cannot start the sandbox").map_err(failed)?;
    channel.tell(&Message::Split { pid: child.id() }).map_err(failed)?;
    Ok((plan.wall == Wall::Rules).then_some(child))
}

/// Leaves the namespaces of the machine, with a user namespace where that is what it takes.
fn leave(layout: &Layout, spec: &Spec) -> Result<()> {
    let privileged = privileges::may_administrate();
    let mut flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    if spec.network == Network::None {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    if !privileged {
        if spec.user.is_some() {
            return Err(Failure::new(
                "it takes CAP_SYS_ADMIN to run as another user in namespaces",
            ));
        }
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    unshare(flags).doing("the kernel makes no new namespaces")?;
    if !privileged {
        map_self(user, group).doing("the kernel maps no user into a new namespace")?;
        keep_capabilities().doing("the new user namespace gives no rights")?;
    }
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .doing("the new namespaces allow no mounts")?;
    root::lay(layout)?;
    rustix::system::sethostname(spec::host_name(spec).as_bytes()).doing("host name")?;
    if spec.network == Network::None {
        loopback::bring_up().doing("the loopback of the new network namespace")?;
    }
    Ok(())
}

/// In the new user namespace we are who we were.
fn map_self(user: u32, group: u32) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

/// Who is not root loses all capabilities with the next program, but for ambient ones. These are
/// what the next stage needs.
fn keep_capabilities() -> rustix::io::Result<()> {
    let needed = [CapabilitySet::SYS_ADMIN, CapabilitySet::SETPCAP];
    let mut sets = capabilities(None)?;
    sets.inheritable = needed.into_iter().collect();
    set_capabilities(None, sets)?;
    needed.into_iter().try_for_each(|needed| configure_capability_in_ambient_set(needed, true))
}

/// Waits for the end of the watchdog or of the confiner, and then ends everything else.
fn guard(mut child: Child, channel: &Channel) -> Message {
    let wait = || -> rustix::io::Result<()> {
        let pid = Pid::from_raw(child.id().cast_signed()).ok_or(rustix::io::Errno::SRCH)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        // Of the socket only its end is of interest, which needs not be asked for.
        let mut fds =
            [PollFd::new(&pidfd, PollFlags::IN), PollFd::new(channel, PollFlags::empty())];
        loop {
            match poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => (),
                other => return other.map(drop),
            }
        }
    };
    let waited = wait();
    let ended = child.try_wait().ok().flatten();
    remains::end_children();
    match (ended, waited) {
        (Some(status), _) => Message::Ended { code: status.code(), signal: status.signal() },
        (None, Err(error)) => {
            Message::Failed { reason: format!("cannot watch the watchdog: {error}") }
        }
        (None, Ok(())) => Message::Ended { code: None, signal: Some(libc::SIGKILL) },
    }
}
