//! The second stage: inside, giving up one thing after the other, up to the watchdog.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::sys::signal::SigSet;
use provider::confine::{Gap, Layout, Spec};
use rustix::fs::{Access, Mode, access};
use rustix::process::{Signal, set_parent_process_death_signal, umask};

use super::{Plan, Wall};
use crate::confine::channel::{Channel, Message};
use crate::confine::failure::{Doing, Failure, Result};
use crate::confine::places::Places;
use crate::confine::sandbox::{filter, privileges, root, rules};
use crate::confine::spec;

/// Runs this stage; what goes wrong is told to the confiner.
pub(in crate::confine) fn run(folder: &Path, plan: Plan) -> ExitCode {
    let Ok(channel) = Channel::take_stdin() else { return ExitCode::FAILURE };
    let message = match become_watchdog(folder, plan, &channel) {
        Ok(never) => match never {},
        Err(message) => message,
    };
    // Without a confiner there is nobody to be told.
    let _ = channel.tell(&message);
    ExitCode::FAILURE
}

fn become_watchdog(
    folder: &Path,
    plan: Plan,
    channel: &Channel,
) -> Result<std::convert::Infallible, Message> {
    let failed = |failure: Failure| Message::Failed { reason: failure.0 };
    umask(Mode::from_raw_mode(0o022));
    let layout = Layout::new(folder);
    let spec = spec::read(&layout).map_err(failed)?;
    let places = match plan.wall {
        Wall::Namespaces => {
            // Without a root directory of its own there may still be the other wall.
            let refused = |failure: Failure| Message::Refused { reason: failure.0 };
            root::build(&layout, &spec).map_err(refused)?;
            Places::inside()
        }
        Wall::Rules => Places::outside(&layout, &spec, &own_path().map_err(failed)?),
    };
    let gaps = give_up(&spec, &places, plan).map_err(failed)?;
    channel.tell(&Message::Ready { gaps }).map_err(failed)?;
    match channel.hear() {
        Ok(Some(Message::Go)) => (),
        other => return Err(failed(Failure(format!("no go-ahead, but {other:?}")))),
    }
    // Only now, because changing user or rights undoes it, and because our parent was another one.
    let dies = set_parent_process_death_signal(Some(Signal::KILL));
    dies.doing("cannot be made to end with the confiner").map_err(failed)?;
    // Had the confiner ended before that, this would have told nobody.
    channel.tell(&Message::Running).map_err(failed)?;
    Err(failed(replace(&spec, &places)))
}

/// Everything that the function shall not have. The order matters: each step needs a right that a
/// later one takes away.
fn give_up(spec: &Spec, places: &Places, plan: Plan) -> Result<Vec<Gap>> {
    SigSet::empty().thread_set_mask().doing("signal mask")?;
    let mut gaps = privileges::set_limits(spec, plan);
    privileges::empty_bounding_set();
    match spec.user {
        Some(user) => privileges::become_user(user)?,
        None => privileges::leave_groups(),
    }
    reach(places)?;
    privileges::drop_capabilities()?;
    gaps.extend(rules::enforce(spec, places, plan.wall));
    rules::bear(&gaps, plan.wall, rustix::process::geteuid().as_raw())?;
    gaps.extend(filter::enforce());
    Ok(gaps)
}

/// Goes to the bundle. In the machine's root directory another user may not get there.
fn reach(places: &Places) -> Result<()> {
    let hint = |path: &Path| {
        let user = rustix::process::geteuid().as_raw();
        format!(
            "user {user} cannot use {}; let others pass through the folders above it (chmod o+x)",
            path.display()
        )
    };
    rustix::process::chdir(&places.bundle).doing(hint(&places.bundle))?;
    for path in [&places.run, &places.tmp] {
        access(path, Access::WRITE_OK | Access::EXEC_OK).doing(hint(path))?;
    }
    access(&places.watchdog, Access::EXEC_OK).doing(hint(&places.watchdog))
}

/// Becomes the watchdog; what is returned is why not.
fn replace(spec: &Spec, places: &Places) -> Failure {
    let mut command = Command::new(&places.watchdog);
    command.arg0("fwatchdog").env_clear().envs(places.environment(spec));
    Failure(format!("cannot run the watchdog: {}", command.exec()))
}

fn own_path() -> Result<PathBuf> {
    std::env::current_exe().doing("cannot find the watchdog's program")
}
