//! The confiner: outside, from before the sandbox is made until nothing is left of it.

mod life;
mod prepare;
mod raise;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use jiff::Timestamp;
use provider::confine::{Exit, Layout, Spec};

use super::cgroup;
use super::failure::Result;
use super::{files, remains};
use life::Ended;

/// Runs the replica in `folder` to its end. The exit code is the watchdog's, 128 and the signal
/// that ended it, or 1 when it never ran.
pub(super) fn run(folder: &Path) -> ExitCode {
    let (layout, _lock) = match prepare::take(folder) {
        Ok(taken) => taken,
        Err(failure) => return fail(&failure),
    };
    let (ended, out_of_memory) = confine(&layout);
    let at = Timestamp::now();
    let exit = match &ended {
        Ok(Ended { code, signal }) => {
            Exit { code: *code, signal: *signal, out_of_memory, error: String::new(), at }
        }
        Err(failure) => {
            Exit { code: None, signal: None, out_of_memory, error: failure.0.clone(), at }
        }
    };
    let written = files::remove(&layout.socket()).and(files::write_json(&layout.exit(), &exit));
    match (ended, written) {
        (Err(failure), _) | (_, Err(failure)) => fail(&failure),
        (Ok(ended), Ok(())) => ended.exit_code(),
    }
}

/// Everything of the replica is gone when this returns. Also says whether memory ran out.
fn confine(layout: &Layout) -> (Result<Ended>, bool) {
    let spec = match prepare::spec(layout) {
        Ok(spec) => spec,
        Err(failure) => return (Err(failure), false),
    };
    // First, so that no signal ends this process while there are groups that only it removes.
    let signals = match life::Signals::take() {
        Ok(signals) => signals,
        Err(failure) => return (Err(failure), false),
    };
    let made = cgroup::make(&spec.replica, &spec.limits);
    let ended = live(layout, &spec, &made, signals);
    made.cgroups.kill();
    remains::end_children();
    let out_of_memory = made.cgroups.out_of_memory();
    made.cgroups.remove();
    (ended, out_of_memory)
}

fn live(
    layout: &Layout,
    spec: &Spec,
    made: &cgroup::Made,
    signals: life::Signals,
) -> Result<Ended> {
    let sandbox = raise::Raise { layout, spec, made }.sandbox()?;
    life::Life::new(sandbox, signals, layout, spec).run(&made.cgroups)
}

fn fail(failure: &super::failure::Failure) -> ExitCode {
    // Whoever would read it may be gone.
    let _ = writeln!(io::stderr(), "fwatchdog confine: {failure}");
    ExitCode::FAILURE
}
