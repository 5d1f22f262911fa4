//! Whole-system tests on a real Kubernetes cluster: that of `KUBECONFIG`, on whose node the local
//! Docker engine runs the pods.
//!
//! Without a cluster they count as ignored, and the output says so; with
//! `FLINT_TEST_KUBERNETES=required` they fail instead.

mod away;
mod chart;
mod cli;
mod gate;
mod input;
mod leader;
mod load;
mod logs;
mod manifests;
mod namespaces;
mod objects;
mod release;
mod rest;
mod rights;
mod rollout;
mod secrets;
mod world;
mod zero;

use std::pin::Pin;
use std::process::ExitCode;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};
use system::cluster;

/// A test.
type Case = fn() -> Pin<Box<dyn Future<Output = Result<()>>>>;
/// Threads of a test's runtime: some of what it does blocks.
const THREADS: usize = 2;

/// Names the tests of a module.
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        pub(crate) fn all() -> Vec<(&'static str, crate::Case)> {
            vec![$((stringify!($case), || Box::pin($case()))),*]
        }
    };
}
use cases;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let absent = say(&arguments, "Kubernetes", cluster::absent());
    let is_skipped = absent && !cluster::is_required();
    // Nobody can require what would end the cluster.
    let without_objects =
        say(&arguments, "functions as objects of a cluster", cluster::without_objects());
    let modules = [
        ("away", away::all()),
        ("chart", chart::all()),
        ("cli", cli::all()),
        ("gate", gate::all()),
        ("input", input::all()),
        ("leader", leader::all()),
        ("load", load::all()),
        ("logs", logs::all()),
        ("namespaces", namespaces::all()),
        ("objects", objects::all()),
        ("release", release::all()),
        ("rest", rest::all()),
        ("rights", rights::all()),
        ("rollout", rollout::all()),
        ("secrets", secrets::all()),
        ("zero", zero::all()),
    ];
    let trial = |module: &'static str, (name, case): (&'static str, Case)| {
        let is_ignored = is_skipped || without_objects && module == "objects";
        Trial::test(format!("{module}::{name}"), move || run(case)).with_ignored_flag(is_ignored)
    };
    let trials = modules
        .into_iter()
        .flat_map(|(module, cases)| cases.into_iter().map(move |case| trial(module, case)));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// Says why some tests are left out, if there is a reason; whether there is one.
fn say(arguments: &Arguments, what: &str, reason: Option<String>) -> bool {
    let Some(reason) = reason else { return false };
    if !arguments.list {
        eprintln!("\n*** The tests of {what} are SKIPPED: {reason} ***\n");
    }
    true
}

fn run(case: Case) -> Result<(), Failed> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(THREADS).enable_all().build()?;
    runtime.block_on(case()).map_err(|error| Failed::from(format!("{error:?}")))
}
