//! The cluster's API goes away, or forgets: calls go on, and what changed meanwhile is caught up on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use system::client::Client;
use system::cluster::{Api, Cluster, kubectl, until};
use system::image;
use system::load::{none_failed, start_at};
use tokio::time::timeout;

use crate::cases;
use crate::world::{FIRST, instances, to_zero};

cases![calls_go_on_while_the_api_is_away, a_watch_that_was_compacted_is_begun_anew];

/// Calls a second while the API is away.
const RATE: u32 = 20;
/// How long it is away.
const AWAY: Duration = Duration::from_secs(30);
/// Longest wait for calls to end.
const PATIENCE: Duration = Duration::from_secs(90);

async fn calls_go_on_while_the_api_is_away() -> Result<()> {
    let (cluster, api) = (Cluster::new()?, Api::open().await?);
    let gateway = cluster.gateway_through(&api, FIRST, &[])?;
    let (client, image) = (Client::new(&gateway)?, image::test_function()?);
    let function = |name: &str| json!({ "service": name, "image": image });
    for name in ["here", "asleep", "going"] {
        client.deploy(function(name)).await?;
    }
    to_zero(&client, "asleep").await?;
    let load = start_at(&gateway, "/function/here/version", RATE)?;
    timeout(PATIENCE, load.calls(RATE.into())).await.context("calls do not end")??;

    load.step("the API is away");
    api.cut();
    let (since, calls) = (Instant::now(), u64::from(RATE) * AWAY.as_secs());
    let (status, text) =
        client.system(Method::POST, "/system/functions", Some(function("new"))).await?;
    ensure!(status == StatusCode::SERVICE_UNAVAILABLE, "{status}: {text}");
    ensure!(text.to_lowercase().contains("kubernetes"), "{text}");
    let (status, text) = client.call("asleep").await?;
    ensure!(status == StatusCode::SERVICE_UNAVAILABLE, "{status}: {text}");
    cluster.kubectl(&["delete", "deployment", "going"])?;
    timeout(PATIENCE, load.calls(calls)).await.context("calls do not end")??;
    ensure!(since.elapsed() >= AWAY / 2, "it was away for {:?} only", since.elapsed());

    load.step("the API is back");
    api.restore();
    client.until("going", "gone", Value::is_null).await?;
    let (status, text) = until_woken(&client, "asleep").await?;
    ensure!(status == StatusCode::OK, "{status}: {text}");
    client.deploy(function("new")).await?;
    timeout(PATIENCE, load.calls(RATE.into())).await.context("calls do not end")??;
    none_failed(&load.stop().await?)?;
    Ok(())
}

/// The gateway has its own time to find out that the API is back.
async fn until_woken(client: &Client, name: &str) -> Result<(StatusCode, String)> {
    let start = Instant::now();
    loop {
        let answer = client.call(name).await?;
        if answer.0 == StatusCode::OK || start.elapsed() > PATIENCE {
            return Ok(answer);
        }
    }
}

async fn a_watch_that_was_compacted_is_begun_anew() -> Result<()> {
    let (cluster, api) = (Cluster::new()?, Api::open().await?);
    let gateway = cluster.gateway_through(&api, FIRST, &[])?;
    let (client, image) = (Client::new(&gateway)?, image::test_function()?);
    for name in ["stays", "goes"] {
        client.deploy(json!({ "service": name, "image": image })).await?;
    }
    let before = client.status("stays").await?.context("it was deployed")?;
    let load = start_at(&gateway, "/function/stays/version", RATE)?;

    let since = Instant::now();
    api.cut();
    cluster.kubectl(&["delete", "deployment", "goes", "--wait"])?;
    cluster.kubectl(&["scale", "deployment", "stays", "--replicas=2"])?;
    let two = |pods: &Value| {
        let ready = |pod: &&Value| {
            pod["metadata"]["labels"]["faas_function"] == "stays"
                && pod["status"]["containerStatuses"][0]["ready"] == true
        };
        pods["items"].as_array().is_some_and(|all| all.iter().filter(ready).count() == 2)
    };
    // A list as the API answers it, with the version that the whole of it is of.
    let path = format!("/api/v1/namespaces/{}/pods", cluster.namespace);
    let pods = async || Ok(serde_json::from_str(&kubectl(&["get", "--raw", &path])?)?);
    let seen = until("two pods", pods, two).await?;
    let version = seen["metadata"]["resourceVersion"].as_str().context("no version")?;
    // Nothing of what the watches missed can be had any more.
    api.compact(version.parse()?);
    api.restore();

    client.until("goes", "gone", Value::is_null).await?;
    let grown = |s: &Value| s["replicas"] == 2 && s["availableReplicas"] == 2;
    let after = client.until("stays", "two", grown).await?;
    let old = instances(&before).first().context("no replica")?;
    ensure!(instances(&after).iter().any(|i| i["id"] == old["id"]), "{after:#}");
    timeout(PATIENCE, load.calls(RATE.into())).await.context("calls do not end")??;
    none_failed(&load.stop().await?)?;
    let asked = api.asked_since(since);
    let expired = asked.iter().filter(|asked| asked.is_expired).count();
    ensure!(expired > 0, "no watch was told that it is too old: {asked:#?}");
    Ok(())
}
