//! One suite for every provider: what the gateway relies on, run against the fake, local processes
//! and, where an engine answers, Docker.
//!
//! Without an engine Docker's tests count as ignored, and the output says so; with
//! `FLINT_TEST_DOCKER=required` they fail instead. So do those of processes without a `fwatchdog`
//! (`FAAS_WATCHDOG`, or what `cargo build -p flint-watchdog` makes) and with
//! `FLINT_TEST_PROCESS=required`.

mod cases;
mod docker_cases;
mod engine;
mod lifecycle;
mod on_docker;
mod on_fake;
mod on_process;
mod process_cases;
mod process_takeover;
mod registry;
mod spares;
mod support;
mod takeover;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let docker_skipped =
        is_skipped(&arguments, "Docker", on_docker::absent(), on_docker::is_required());
    let process_skipped = is_skipped(
        &arguments,
        "the process backend",
        on_process::absent(),
        on_process::is_required(),
    );
    let fake = support::cases().into_iter().map(|(name, case)| {
        Trial::test(format!("fake::{name}"), move || support::run(on_fake::run(case)))
    });
    let docker = support::cases().into_iter().map(|(name, case)| {
        Trial::test(format!("docker::{name}"), move || support::run(on_docker::run(case)))
            .with_ignored_flag(docker_skipped)
    });
    let special = docker_cases::all().into_iter().map(|(name, case)| {
        Trial::test(format!("docker::{name}"), move || support::run(on_docker::run_special(case)))
            .with_ignored_flag(docker_skipped)
    });
    let process = support::cases().into_iter().map(|(name, case)| {
        Trial::test(format!("process::{name}"), move || support::run(on_process::run(case)))
            .with_ignored_flag(process_skipped)
    });
    let more = process_cases::all().into_iter().chain(process_takeover::all());
    let more = more.map(|(name, case)| {
        Trial::test(format!("process::{name}"), move || support::run(on_process::run_special(case)))
            .with_ignored_flag(process_skipped)
    });
    let all = fake.chain(docker).chain(special).chain(process).chain(more).collect();
    libtest_mimic::run(&arguments, all).exit_code()
}

/// Whether a backend's tests are left out; says so.
fn is_skipped(
    arguments: &Arguments,
    backend: &str,
    absent: Option<String>,
    required: bool,
) -> bool {
    let Some(reason) = absent else { return false };
    if !arguments.list {
        eprintln!("\n*** The tests of {backend} are SKIPPED: {reason} ***\n");
    }
    !required
}
