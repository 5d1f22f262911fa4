//! Scaling by load with two gateways and no Prometheus: the one that decides counts the calls of
//! both.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use system::client::Client;
use system::load::{none_failed, start_at};
use tokio::time::timeout;

use crate::cases;
use crate::world::{SECOND, World, decisions, instances};

cases![calls_of_any_gateway_count];

/// Short windows, and a short wait of who begins to lead before it takes something away: a test has no minutes.
const SHORT: [&str; 4] = [
    "--scale-by-load=true",
    "--scaling-stable-window=6s",
    "--scaling-panic-window=3s",
    "--write-timeout=10s",
];
/// How long the function may be idle, in seconds.
const ZERO_SECONDS: u64 = 10;
/// Calls a second that keep it awake.
const LITTLE: u32 = 8;
/// Longest wait for calls to end.
const PATIENCE: Duration = Duration::from_secs(60);
const PATH: &str = "/function/f/version";

async fn calls_of_any_gateway_count() -> Result<()> {
    let world = World::start_with(&SHORT)?;
    let second = world.cluster.gateway(SECOND, &SHORT)?;
    let clients = [world.client.clone(), Client::new(&second)?];
    let mut function = world.function("f");
    function["labels"] = json!({
        "com.openfaas.scale.max": "4", "com.openfaas.scale.target": "20",
        "com.openfaas.scale.target-proportion": "1", "com.openfaas.scale.zero": "true",
        "com.openfaas.scale.zero-duration": format!("{ZERO_SECONDS}s"),
    });
    clients[0].deploy(function).await?;
    clients[1].until("f", "known to both", |s| s["availableReplicas"] == 1).await?;
    ensure!(world.cluster.leader()? == crate::world::FIRST, "the first one leads");

    let little = start_at(&second, PATH, LITTLE)?;
    let much = start_at(&second, PATH, 90)?;
    clients[0].until("f", "as many as the load needs", |s| s["availableReplicas"] == 4).await?;
    none_failed(&much.stop().await?)?;
    // Who begins to lead takes nothing away for a while, and pods take their time to end.
    clients[0].until("f", "to be one again", |s| s["replicas"] == 1).await?;
    let one = clients[0].until("f", "one again", |s| instances(s).len() == 1).await?;

    // For longer than it may be idle, only the one that does not decide has calls.
    let calls = u64::from(LITTLE) * ZERO_SECONDS * 3;
    timeout(PATIENCE, little.calls(calls)).await.context("calls do not end")??;
    let still = clients[0].status("f").await?.context("it was deployed")?;
    let names = |s: &Value| -> BTreeSet<String> {
        instances(s).iter().filter_map(|i| i["id"].as_str().map(str::to_owned)).collect()
    };
    ensure!(names(&still) == names(&one), "it slept and was woken: {still:#}");
    let made = decisions(&clients[0], "f").await?;
    let idle = |all: &[Value]| all.iter().any(|record| record["decision"]["cause"] == "idle");
    ensure!(!idle(&made), "it was idle under load: {made:#?}");

    none_failed(&little.stop().await?)?;
    clients[1].until("f", "asleep", |s| s["replicas"] == 0 && instances(s).is_empty()).await?;
    let made = decisions(&clients[0], "f").await?;
    ensure!(idle(&made), "nobody decided that it is idle: {made:#?}");
    Ok(())
}
