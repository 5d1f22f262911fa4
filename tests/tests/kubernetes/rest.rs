//! Three hundred functions at rest: the gateway watches, and asks for nothing.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use system::client::Client;
use system::cluster::{Api, Cluster, until};

use crate::cases;
use crate::world::FIRST;

cases![hundreds_of_functions_at_rest_cost_no_requests];

/// Functions, made by somebody else: a Deployment each, without replicas.
const FUNCTIONS: usize = 300;
/// How long requests are counted.
const WINDOW: Duration = Duration::from_secs(20);
/// Most requests a second: the election's Lease is renewed, and there is nothing else to ask for.
const MOST_PER_SECOND: u64 = 2;
/// Most memory of the gateway, in KiB. A generous bound: the bench has the figure.
const MOST_KIB: u64 = 256 * 1024;

async fn hundreds_of_functions_at_rest_cost_no_requests() -> Result<()> {
    let (cluster, api) = (Cluster::new()?, Api::open().await?);
    let items: Vec<_> = (0..FUNCTIONS).map(sleeper).collect();
    cluster.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": items }))?;
    let gateway = cluster.gateway_through(&api, FIRST, &["--scale-by-load=true"])?;
    let client = Client::new(&gateway)?;
    let listed = async || {
        let (_, text) = client.system(Method::GET, "/system/functions", None).await?;
        let all: Vec<Value> = serde_json::from_str(&text)?;
        Ok(json!(all.len()))
    };
    until("all known", listed, |count| *count == FUNCTIONS).await?;

    let since = Instant::now();
    tokio::time::sleep(WINDOW).await;
    let asked = api.asked_since(since);
    let kib = resident_kib(gateway.pid().context("it runs")?)?;
    println!("{} requests in {WINDOW:?}, {kib} KiB resident", asked.len());
    let told = || format!("{asked:#?}");
    ensure!(asked.len() as u64 <= WINDOW.as_secs() * MOST_PER_SECOND, "{}", told());
    let is_list = |what: &str| {
        let of = ["/deployments", "/pods", "/services", "/functions", "/replicasets"];
        what.starts_with("GET ") && of.iter().any(|kind| what.ends_with(kind))
    };
    let lists = asked.iter().filter(|asked| !asked.is_watch && is_list(&asked.what)).count();
    ensure!(lists == 0, "{lists} lists: {}", told());
    ensure!(kib < MOST_KIB, "{kib} KiB are resident");
    Ok(())
}

/// A Deployment as the reference product makes it.
fn sleeper(number: usize) -> Value {
    let name = format!("sleeper-{number}");
    let labels = json!({ "faas_function": name });
    let container = json!({ "name": name, "image": "flint-test/none:1" });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": name, "labels": labels },
        "spec": {
            "replicas": 0,
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": { "containers": [container] } },
        },
    })
}

/// The memory of a process.
fn resident_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
