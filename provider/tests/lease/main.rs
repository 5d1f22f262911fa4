//! Candidates for one lease on a real cluster.
//!
//! Without a cluster (`KUBECONFIG`) the tests count as ignored, and the output says so; with
//! `FLINT_TEST_KUBERNETES=required` they fail instead.

mod cases;

use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use libtest_mimic::{Arguments, Failed, Trial};

/// Longest that one case may take.
const LIMIT: Duration = Duration::from_secs(120);

/// A case, in a namespace of its own.
type Case = fn(Client, String) -> Pin<Box<dyn Future<Output = ()>>>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let is_absent = std::env::var_os("KUBECONFIG").is_none();
    let is_required = std::env::var("FLINT_TEST_KUBERNETES").is_ok_and(|value| value == "required");
    if is_absent && !arguments.list {
        eprintln!("\n*** The tests of leases are SKIPPED: KUBECONFIG names no cluster ***\n");
    }
    let trial = |(name, case): (&str, Case)| {
        let run = move || run(case);
        Trial::test(name, run).with_ignored_flag(is_absent && !is_required)
    };
    libtest_mimic::run(&arguments, cases::all().into_iter().map(trial).collect()).exit_code()
}

fn run(case: Case) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = Client::try_default().await?;
        let mut random = [0; 4];
        getrandom::fill(&mut random)?;
        let namespace = format!("flint-lease-{:08x}", u32::from_le_bytes(random));
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let metadata = ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() };
        let object = Namespace { metadata, ..Namespace::default() };
        namespaces.create(&PostParams::default(), &object).await?;
        // In a task of its own, so that a failure does not keep the namespace.
        let local = tokio::task::LocalSet::new();
        let case = local.spawn_local(case(client, namespace.clone()));
        let outcome = tokio::time::timeout(LIMIT, local.run_until(case)).await;
        namespaces.delete(&namespace, &DeleteParams::default()).await?;
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(panic)) => Err(Failed::from(format!("{panic}"))),
            Err(_) => Err(Failed::from("it takes too long")),
        }
    })
}
