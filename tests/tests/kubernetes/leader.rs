//! The gateway that decides about replicas is lost, and another one goes on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use system::client::Client;
use system::cluster::{Cluster, until};
use system::image;
use system::load::{none_failed, start_at};
use tokio::time::timeout;

use crate::cases;
use crate::world::{FIRST, SECOND, decisions};

cases![
    another_gateway_takes_over_from_a_killed_leader,
    a_leader_that_stops_lets_go_at_once,
    a_deploy_outlives_the_leader_that_took_it,
];

/// How soon another one decides (issue 6).
const TAKEOVER: Duration = Duration::from_secs(15);
/// Longest wait for calls to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Short windows: a test has no minutes.
const SHORT: [&str; 3] =
    ["--scale-by-load=true", "--scaling-stable-window=6s", "--scaling-panic-window=3s"];
const PATH: &str = "/function/f/version";

/// Waits until this one leads.
async fn leads(cluster: &Cluster, name: &str) -> Result<()> {
    let holder = async || Ok(json!(cluster.leader()?));
    until(&format!("led by {name}"), holder, |leader| leader == name).await.map(|_| ())
}

async fn another_gateway_takes_over_from_a_killed_leader() -> Result<()> {
    let cluster = Cluster::new()?;
    let mut first = cluster.gateway(FIRST, &SHORT)?;
    leads(&cluster, FIRST).await?;
    let second = cluster.gateway(SECOND, &SHORT)?;
    let client = Client::new(&second)?;
    let labels = json!({
        "com.openfaas.scale.max": "4", "com.openfaas.scale.target": "20",
        "com.openfaas.scale.target-proportion": "1",
    });
    let image = image::test_function()?;
    client.deploy(json!({ "service": "f", "image": image, "labels": labels })).await?;
    let little = start_at(&second, PATH, 8)?;
    timeout(PATIENCE, little.calls(20)).await.context("calls do not end")??;

    little.step("the leader is killed");
    let killed = Instant::now();
    first.kill()?;
    leads(&cluster, SECOND).await?;
    ensure!(killed.elapsed() < TAKEOVER, "it took {:?}", killed.elapsed());
    timeout(PATIENCE, little.calls(20)).await.context("calls do not end")??;

    let much = start_at(&second, PATH, 90)?;
    let grown = |s: &Value| s["availableReplicas"] == 4;
    client.until("f", "as many as the load needs", grown).await?;
    // Two that decide would take turns: one of them knows nothing of the load.
    ensure!(scaled_down(&cluster)? == 0, "replicas were taken away under load");
    none_failed(&much.stop().await?)?;
    none_failed(&little.stop().await?)?;
    let sets = cluster.list(&["replicasets", "--selector", "faas_function=f"])?;
    ensure!(sets.len() == 1, "it was deployed {} times", sets.len());
    let made = decisions(&client, "f").await?;
    let by_load = made.iter().any(|record| record["decision"]["cause"] == "load");
    ensure!(by_load, "nothing was decided because of the load: {made:#?}");
    Ok(())
}

/// How often the cluster was told to have fewer replicas.
fn scaled_down(cluster: &Cluster) -> Result<usize> {
    let events = cluster.list(&["events", "--field-selector", "reason=ScalingReplicaSet"])?;
    let is_down = |event: &&Value| event["message"].as_str().unwrap_or_default().contains("down");
    Ok(events.iter().filter(is_down).count())
}

async fn a_leader_that_stops_lets_go_at_once() -> Result<()> {
    let cluster = Cluster::new()?;
    let mut first = cluster.gateway(FIRST, &[])?;
    leads(&cluster, FIRST).await?;
    let second = cluster.gateway(SECOND, &[])?;
    let code = first.stop()?;
    ensure!(code == Some(0), "it ended with {code:?}");
    let leader = cluster.leader()?;
    ensure!(leader != FIRST, "it still leads though it is gone");
    leads(&cluster, SECOND).await?;
    drop(second);
    Ok(())
}

async fn a_deploy_outlives_the_leader_that_took_it() -> Result<()> {
    let cluster = Cluster::new()?;
    let mut first = cluster.gateway(FIRST, &[])?;
    leads(&cluster, FIRST).await?;
    let second = cluster.gateway(SECOND, &[])?;
    let (client, other) = (Client::new(&first)?, Client::new(&second)?);
    let image = image::test_function()?;
    let version = |v: &str| json!({ "service": "f", "image": image, "envVars": { "VERSION": v } });
    client.deploy(version("1")).await?;
    let put = client.system(Method::PUT, "/system/functions", Some(version("2"))).await?;
    first.kill()?;
    ensure!(put.0 == StatusCode::ACCEPTED, "{put:?}");
    let of_the_second = |s: &Value| {
        s["envVars"]["VERSION"] == "2"
            && s["updatedReplicas"] == 1
            && s["instances"].as_array().is_some_and(|all| all.len() == 1)
    };
    other.until("f", "the second version", of_the_second).await?;
    leads(&cluster, SECOND).await?;
    ensure!(other.call("f/version").await?.1 == "2");
    let deployment = cluster.get(&["deployment", "f"])?;
    let revision = &deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
    ensure!(revision == "2", "it was deployed again: revision {revision}");
    Ok(())
}
