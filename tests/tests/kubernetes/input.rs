//! What a cluster refuses, in words that help.

use anyhow::{Context, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use system::client::Client;

use crate::cases;
use crate::world::World;

cases![
    what_a_cluster_cannot_take_is_named_and_leaves_nothing,
    a_quota_is_told_of_as_such,
    what_others_manage_is_not_fought_over,
];

async fn deploy(client: &Client, function: Value) -> Result<(StatusCode, String)> {
    client.system(Method::POST, "/system/functions", Some(function)).await
}

async fn what_a_cluster_cannot_take_is_named_and_leaves_nothing() -> Result<()> {
    let world = World::start()?;
    let long = "a".repeat(64);
    let cases = [
        (json!({ "service": "Upper" }), "service"),
        (json!({ "service": "under_score" }), "service"),
        (json!({ "service": "1st" }), "service"),
        (json!({ "service": long }), "service"),
        (json!({ "namespace": "kube-system" }), "namespace"),
        (json!({ "namespace": "nowhere" }), "namespace"),
        (json!({ "secrets": ["none"] }), "secrets"),
        (json!({ "limits": { "memory": "much" } }), "limits.memory"),
        (json!({ "constraints": ["no constraint at all"] }), "constraints"),
        (json!({ "annotations": { "com.openfaas.profile": "none" } }), "com.openfaas.profile"),
        (json!({ "envVars": { "not a name": "x" } }), "envVars"),
    ];
    for (wrong, field) in cases {
        let mut function = world.function("f");
        let fields = function.as_object_mut().context("no object")?;
        fields.extend(wrong.as_object().cloned().unwrap_or_default());
        let (status, text) = deploy(&world.client, function).await?;
        ensure!(status == StatusCode::BAD_REQUEST, "{wrong}: {status}: {text}");
        ensure!(text.starts_with(field), "{wrong}: {text}");
    }
    let left = world.cluster.list(&["deployments,services,pods"])?;
    ensure!(left.is_empty(), "{left:#?}");
    Ok(())
}

async fn a_quota_is_told_of_as_such() -> Result<()> {
    let world = World::start()?;
    let client = &world.client;
    world.cluster.kubectl(&["create", "quota", "pods", "--hard=pods=1"])?;
    client.deploy(world.function("first")).await?;
    // The Deployment is taken, and its second pod is not.
    client.apply(&world.function("second")).await?;
    let (status, body) = client.call("second").await?;
    ensure!(status == StatusCode::SERVICE_UNAVAILABLE, "{status}: {body}");
    ensure!(body.contains("exceeded quota"), "{body}");
    let told = |s: &Value| s["reason"].as_str().is_some_and(|r| r.contains("exceeded quota"));
    client.until("second", "told why", told).await?;

    world.cluster.kubectl(&[
        "create",
        "quota",
        "deployments",
        "--hard=count/deployments.apps=2",
    ])?;
    let (status, text) = deploy(client, world.function("third")).await?;
    ensure!(status.is_client_error() && text.contains("quota"), "{status}: {text}");
    let third = ["deployments,services", "--selector", "faas_function=third"];
    let left = world.cluster.list(&third)?;
    ensure!(left.is_empty(), "{left:#?}");
    Ok(())
}

/// Another manager has taken a field: a deploy that wants it otherwise says so.
async fn what_others_manage_is_not_fought_over() -> Result<()> {
    let world = World::start()?;
    world.client.deploy(world.function("f")).await?;
    world.cluster.kubectl(&["set", "image", "deployment/f", "f=somebody/elses:1"])?;
    let mut function = world.function("f");
    function["envVars"] = json!({ "VERSION": "2" });
    let (status, text) =
        world.client.system(Method::PUT, "/system/functions", Some(function)).await?;
    ensure!(status == StatusCode::CONFLICT, "{status}: {text}");
    ensure!(text.contains("kubectl") && text.contains("image"), "{text}");
    let deployment = world.cluster.get(&["deployment", "f"])?;
    let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
    ensure!(image == "somebody/elses:1", "{image}");
    Ok(())
}
