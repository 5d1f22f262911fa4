//! One suite for every provider: what the gateway relies on, run against the fake, local processes
//! and, where they answer, Docker and Kubernetes.
//!
//! Without an engine Docker's tests count as ignored, and the output says so; with
//! `FLINT_TEST_DOCKER=required` they fail instead. So do those of processes without a `fwatchdog`
//! (`FAAS_WATCHDOG`, or what `cargo build -p flint-watchdog` makes) and with
//! `FLINT_TEST_PROCESS=required`. So do those of Kubernetes when `KUBECONFIG` names no cluster that
//! answers, and with `FLINT_TEST_KUBERNETES=required`. The cluster must see the images of the
//! engine, and this machine must reach its pods.

mod cases;
mod docker_cases;
mod engine;
mod kube_objects;
mod kubernetes_cases;
mod kubernetes_objects;
mod kubernetes_outages;
mod lifecycle;
mod on_docker;
mod on_fake;
mod on_kubernetes;
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
    let kubernetes_skipped =
        is_skipped(&arguments, "Kubernetes", on_kubernetes::absent(), on_kubernetes::is_required());
    let fake = support::all_cases().into_iter().map(|(name, case)| {
        Trial::test(format!("fake::{name}"), move || support::run(on_fake::run(case)))
    });
    let docker = support::all_cases().into_iter().map(|(name, case)| {
        Trial::test(format!("docker::{name}"), move || support::run(on_docker::run(case)))
            .with_ignored_flag(docker_skipped)
    });
    let special = docker_cases::all().into_iter().map(|(name, case)| {
        Trial::test(format!("docker::{name}"), move || support::run(on_docker::run_special(case)))
            .with_ignored_flag(docker_skipped)
    });
    let process = support::all_cases().into_iter().map(|(name, case)| {
        Trial::test(format!("process::{name}"), move || support::run(on_process::run(case)))
            .with_ignored_flag(process_skipped)
    });
    let more = process_cases::all().into_iter().chain(process_takeover::all());
    let more = more.map(|(name, case)| {
        Trial::test(format!("process::{name}"), move || support::run(on_process::run_special(case)))
            .with_ignored_flag(process_skipped)
    });
    let kubernetes = support::cases().into_iter().map(|(name, case)| {
        Trial::test(format!("kubernetes::{name}"), move || support::run(on_kubernetes::run(case)))
            .with_ignored_flag(kubernetes_skipped)
    });
    let only = kubernetes_cases::all().into_iter().chain(kubernetes_outages::all());
    let only = only.map(|(name, case)| {
        let run = move || support::run(on_kubernetes::run_special(case));
        Trial::test(format!("kubernetes::{name}"), run).with_ignored_flag(kubernetes_skipped)
    });
    // Nobody can require what would end the cluster.
    let objects_skipped = kubernetes_skipped
        || is_skipped(
            &arguments,
            "functions as objects of Kubernetes",
            on_kubernetes::objects_absent(),
            false,
        );
    let objects = kubernetes_objects::all().into_iter().map(|(name, case)| {
        let run = move || support::run(on_kubernetes::run_special(case));
        Trial::test(format!("kubernetes::{name}"), run).with_ignored_flag(objects_skipped)
    });
    let all = fake.chain(docker).chain(special).chain(process).chain(more);
    let all = all.chain(kubernetes).chain(only).chain(objects).collect();
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
