//! `fwatchdog confine <replica folder>`: one replica in a sandbox, and what looks after it.
//!
//! The *confiner* ([`supervise`]) stays outside. The sandbox is made without unsafe code by
//! starting this program anew for each step:
//!
//! 1. `confine-split` ([`stage::split`]) leaves the machine's namespaces, starts the next stage as
//!    process 1 of the new ones, and ends; the confiner becomes the next stage's parent. Where
//!    there can be no namespaces it stays, to kill everything should the confiner die.
//! 2. `confine-enter` ([`stage::enter`]) builds the root directory, gives up every right, tells the
//!    confiner what could not be enforced, waits for its go-ahead, and becomes the watchdog.
//!
//! What they tell each other goes over one socket ([`channel`]), which is the stages' stdin.

mod cgroup;
mod channel;
mod failure;
mod files;
mod output;
mod places;
mod remains;
mod sandbox;
mod spec;
mod stage;
mod supervise;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use stage::{ENTER, Plan, SPLIT};

/// Does what the arguments say, when that is something of this module. It must be called before
/// the process has a second thread.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let stage = arguments.next()?;
    let folder = arguments.next().map(PathBuf::from);
    let plan = arguments.next().and_then(|plan| Plan::parse(&plan));
    Some(match (stage.to_str()?, folder, plan) {
        ("confine", Some(folder), None) => supervise::run(&folder),
        (SPLIT, Some(folder), Some(plan)) => stage::split::run(&folder, plan),
        (ENTER, Some(folder), Some(plan)) => stage::enter::run(&folder, plan),
        ("confine" | SPLIT | ENTER, ..) => {
            eprintln!("usage: fwatchdog confine <replica folder>");
            ExitCode::from(2)
        }
        _ => return None,
    })
}
