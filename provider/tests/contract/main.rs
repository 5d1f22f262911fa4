//! One suite for every provider: what the gateway relies on, run against the fake and, where an
//! engine answers, Docker.
//!
//! Without an engine Docker's tests count as ignored, and the output says so; with
//! `FLINT_TEST_DOCKER=required` they fail instead.

mod cases;
mod docker_cases;
mod engine;
mod lifecycle;
mod on_docker;
mod on_fake;
mod registry;
mod support;
mod takeover;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let absent = on_docker::absent();
    if let (Some(reason), false) = (&absent, arguments.list) {
        eprintln!("\n*** Docker's tests are SKIPPED: {reason} ***\n");
    }
    let skipped = absent.is_some() && !on_docker::is_required();
    let fake = support::cases().into_iter().map(|(name, case)| {
        Trial::test(format!("fake::{name}"), move || support::run(on_fake::run(case)))
    });
    let docker = support::cases().into_iter().map(|(name, case)| {
        Trial::test(format!("docker::{name}"), move || support::run(on_docker::run(case)))
            .with_ignored_flag(skipped)
    });
    let special = docker_cases::all().into_iter().map(|(name, case)| {
        Trial::test(format!("docker::{name}"), move || support::run(on_docker::run_special(case)))
            .with_ignored_flag(skipped)
    });
    libtest_mimic::run(&arguments, fake.chain(docker).chain(special).collect()).exit_code()
}
