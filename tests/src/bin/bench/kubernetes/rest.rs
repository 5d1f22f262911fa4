//! What a gateway needs for functions that sleep on a cluster.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use system::client::Client;
use system::cluster::{Api, Cluster};
use system::gateway::Gateway;
use system::image;

use crate::data::cpu::{Used, resident_kib};

/// Functions that sleep.
const FUNCTIONS: usize = 300;
/// Time to come to rest.
const REST: Duration = Duration::from_secs(10);
/// How long it is watched.
const WATCH: Duration = Duration::from_secs(30);

/// What is seen of a gateway.
struct Seen {
    requests_per_second: f64,
    core: f64,
    kib: u64,
}

pub(crate) fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(1).enable_all().build()?;
    let (cluster, api) = (Cluster::new()?, runtime.block_on(Api::open())?);
    let args = ["--access-log", "false", "--scale-by-load=true"];
    let gateway = cluster.gateway_through(&api, "bench", &args)?;
    let none = watch(&gateway, &api)?;
    runtime.block_on(put_to_sleep(&cluster, &Client::new(&gateway)?))?;
    let many = watch(&gateway, &api)?;
    println!("At rest on a cluster: the gateway, over {} s\n", WATCH.as_secs());
    println!("| functions at zero | requests/s to the API | % of one core | RSS MiB |");
    println!("|---|---|---|---|");
    for (functions, seen) in [(0, none), (FUNCTIONS, many)] {
        let (core, mib) = (seen.core * 100.0, seen.kib as f64 / 1024.0);
        println!("| {functions} | {:.2} | {core:.2} | {mib:.1} |", seen.requests_per_second);
    }
    println!();
    Ok(())
}

/// Deploys them all where no pod may be, so that none has to be started and stopped.
async fn put_to_sleep(cluster: &Cluster, client: &Client) -> Result<()> {
    cluster.kubectl(&["create", "quota", "none", "--hard=pods=0"])?;
    let image = image::test_function()?;
    for number in 0..FUNCTIONS {
        let name = format!("sleeper-{number}");
        client.apply(&json!({ "service": name, "image": image })).await?;
        let path = format!("/system/scale-function/{name}");
        let body = json!({ "serviceName": name, "replicas": 0 });
        let (status, text) = client.system(reqwest::Method::POST, &path, Some(body)).await?;
        ensure!(status.is_success(), "{path} answered {status}: {text}");
        client.until(&name, "asleep", |s| s["replicas"] == 0).await?;
    }
    cluster.kubectl(&["delete", "quota", "none"]).map(|_| ())
}

fn watch(gateway: &Gateway, api: &Api) -> Result<Seen> {
    let pid = gateway.pid().context("the gateway does not run")?;
    std::thread::sleep(REST);
    let (before, start) = (Used::by(&[pid])?, Instant::now());
    std::thread::sleep(WATCH);
    let (used, elapsed) = (Used::by(&[pid])?.since(&before), start.elapsed().as_secs_f64());
    Ok(Seen {
        requests_per_second: api.asked_since(start).len() as f64 / elapsed,
        core: used.as_secs_f64() / elapsed,
        kib: resident_kib(&[pid])?,
    })
}
