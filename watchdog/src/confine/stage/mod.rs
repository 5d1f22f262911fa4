//! The steps inside: each is this program, started anew.

pub(super) mod enter;
pub(super) mod split;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::channel::Channel;
use super::failure::{Failure, Result};

/// The first stage's name.
pub(super) const SPLIT: &str = "confine-split";
/// The second stage's name.
pub(super) const ENTER: &str = "confine-enter";

/// What keeps a replica from the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Wall {
    /// Namespaces, with a root directory of its own.
    Namespaces,
    /// What can be had without: it sees the machine's root directory and processes.
    Rules,
}

/// What a stage is told by its last argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) wall: Wall,
    /// Most bytes of data a process, in a control group's stead.
    pub(super) data: Option<u64>,
    /// Most processes and threads of the user, in a control group's stead.
    pub(super) processes: Option<u64>,
}

impl Plan {
    /// Reads an argument.
    pub(super) fn parse(text: &OsStr) -> Option<Self> {
        serde_json::from_str(text.to_str()?).ok()
    }
}

/// A command that runs a stage for the replica in `folder`. It gets nothing of our environment.
pub(super) fn command(
    stage: &str,
    folder: &Path,
    plan: Plan,
    channel: &Channel,
) -> Result<Command> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("fwatchdog");
    let plan = serde_json::to_string(&plan).map_err(Failure::new)?;
    command.arg(stage).arg(folder).arg(plan).env_clear();
    command.stdin(Stdio::from(channel.another()?));
    Ok(command)
}

/// Puts an empty stdin in the place of ours.
pub(super) fn empty_stdin() -> io::Result<()> {
    Ok(rustix::stdio::dup2_stdin(File::open("/dev/null")?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_arguments() {
        let plan = Plan { wall: Wall::Rules, data: Some(1), processes: None };
        let text = serde_json::to_string(&plan).expect("text");
        assert_eq!(Plan::parse(text.as_ref()), Some(plan));
        assert_eq!(Plan::parse("paper".as_ref()), None);
    }
}
