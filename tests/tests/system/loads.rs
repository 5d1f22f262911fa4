//! Loads that no gateway counts: what Prometheus knows, and what replicas use of the machine.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cli::certify::Load;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use system::client::Client;
use system::gateway::Gateway;
use system::load::{none_failed, start_at};
use system::prometheus::{Prometheus, TARGETS};
use system::world::World;
use system::{bundle, on_each_backend_with};
use tokio::task::JoinSet;

on_each_backend_with! {
    SHORT,
    processor_time_brings_replicas_and_takes_them_away,
    memory_brings_replicas_and_takes_them_away,
}

/// Short windows: a test has no minutes.
const SHORT: [&str; 5] =
    ["--scale-by-load=true", "--scaling-stable-window", "6s", "--scaling-panic-window", "3s"];
/// Calls that are in flight.
const HELD: usize = 7;
/// How long they would be: longer than the test takes.
const LONG: Duration = Duration::from_secs(600);

fn function(name: &str, image: &str, kind: &str, target: &str) -> Value {
    let labels = json!({
        "com.openfaas.scale.max": "3", "com.openfaas.scale.type": kind,
        "com.openfaas.scale.target": target, "com.openfaas.scale.target-proportion": "1",
    });
    json!({ "service": name, "image": image, "labels": labels })
}

async fn has(client: &Client, name: &str, count: u64) -> Result<()> {
    let so = |s: &Value| s["replicas"] == count && s["availableReplicas"] == count;
    client.until(name, &format!("{count} replicas by its load"), so).await.map(|_| ())
}

async fn processor_time_brings_replicas_and_takes_them_away(world: World) -> Result<()> {
    let World { gateway, client, image } = world;
    client.deploy(function("busy", &image, "cpu", "150")).await?;
    // Half a core, and the rest is waiting.
    let load = start_at(&gateway, "/function/busy/burn?ticks=5", 10)?;
    has(&client, "busy", 3).await?;
    none_failed(&load.stop().await?)?;
    has(&client, "busy", 1).await?;
    explained(&client, "busy", 150.0).await
}

async fn memory_brings_replicas_and_takes_them_away(world: World) -> Result<()> {
    let World { gateway, client, image } = world;
    client.deploy(function("full", &image, "memory", "100")).await?;
    let (status, text) = client.call("full/hold?mib=260").await?;
    ensure!(status == StatusCode::OK, "{status}: {text}");
    has(&client, "full", 3).await?;
    // Each of them is asked, as one of them holds it.
    let load: Load = start_at(&gateway, "/function/full/hold?mib=0", 20)?;
    has(&client, "full", 1).await?;
    none_failed(&load.stop().await?)?;
    explained(&client, "full", 100.0).await
}

/// The decision for three is there, with a load that needs as many.
async fn explained(client: &Client, name: &str, per_replica: f64) -> Result<()> {
    let made = decisions(client, name).await?;
    let is_up = |made: &&Value| made["to"] == 3 && made["from"] != 3;
    let up = made.iter().map(|record| &record["decision"]).find(is_up);
    let numbers = &up.with_context(|| format!("nothing to 3: {made:#?}"))?["numbers"];
    let seen = ["now", "recent"].map(|key| numbers[key].as_f64());
    let enough = seen.iter().any(|load| *load > Some(per_replica * 2.0));
    ensure!(numbers["perReplica"] == per_replica && enough, "{numbers}");
    Ok(())
}

async fn decisions(client: &Client, name: &str) -> Result<Vec<Value>> {
    let path = format!("/system/function/{name}/scaling");
    let (status, body) = client.system(Method::GET, &path, None).await?;
    ensure!(status == StatusCode::OK, "{path} answered {status}: {body}");
    let told: Value = serde_json::from_str(&body)?;
    told["decisions"].as_array().cloned().context("no decisions")
}

/// Two gateways, each with functions of the same names. All calls go to the other one, so what this
/// one scales by it can only have from Prometheus.
#[tokio::test]
async fn loads_of_all_gateways_are_learnt_from_prometheus() -> Result<()> {
    let config = format!(
        "global: {{ scrape_interval: 1s }}\n\
         scrape_configs: [{{ job_name: gateways, file_sd_configs: [{{ files: [{TARGETS}] }}] }}]\n"
    );
    let prometheus = Prometheus::start(&config, "").await?;
    let query = "held=sum by (function_name) (gateway_function_invocation_inflight) * 10";
    let mine = ["--prometheus-url", prometheus.url(), "--scaling-query", query];
    let gateway = Gateway::start_on("process", &[&SHORT, mine.as_slice()].concat())?;
    let other = Gateway::start_on("process", &[])?;
    let both = [&gateway, &other].map(|it| it.metrics_url.trim_start_matches("http://"));
    prometheus.scrape(&both)?;
    let clients = [Client::new(&gateway)?, Client::new(&other)?];
    for client in &clients {
        let image = bundle::test_function(client).await?;
        for (name, kind, target) in
            [("often", "rps", "10"), ("long", "capacity", "3"), ("held", "held", "30")]
        {
            client.deploy(function(name, &image, kind, target)).await?;
        }
        client.deploy(function("calm", &image, "rps", "10")).await?;
    }

    let often = start_at(&other, "/function/often/version", 100)?;
    let (long, held) = (hold(&clients[1], "long"), hold(&clients[1], "held"));
    for name in ["often", "long", "held"] {
        has(&clients[0], name, 3).await.with_context(|| prometheus.log())?;
    }
    drop(held);
    has(&clients[0], "held", 1).await?;
    none_failed(&often.stop().await?)?;
    drop(long);
    has(&clients[0], "calm", 1).await?;
    for (name, per_replica) in [("often", 10.0), ("long", 3.0), ("held", 30.0)] {
        explained(&clients[0], name, per_replica).await?;
    }
    Ok(())
}

/// Calls that are in flight until this is dropped.
fn hold(client: &Client, name: &str) -> JoinSet<()> {
    let path = format!("{name}/sleep?ms={}", LONG.as_millis());
    let call = |_| {
        let (client, path) = (client.clone(), path.clone());
        async move { _ = client.call(&path).await }
    };
    (0..HELD).map(call).collect()
}
