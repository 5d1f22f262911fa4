//! From nothing to an answer, and why there is none.

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use system::client::Client;

use crate::cases;
use crate::world::{SECOND, World, instances, to_zero};

cases![
    any_gateway_wakes_what_another_one_put_to_sleep,
    first_calls_at_the_same_time_start_it_once,
    what_cannot_start_is_answered_with_the_reason,
];

/// Calls that come at the same time.
const CALLS: usize = 20;
/// An image that is nowhere: nothing listens on that port.
const NO_IMAGE: &str = "127.0.0.1:1/flint-test/none:1";

async fn any_gateway_wakes_what_another_one_put_to_sleep() -> Result<()> {
    let world = World::start()?;
    let second = world.cluster.gateway(SECOND, &[])?;
    let clients = [world.client.clone(), Client::new(&second)?];
    clients[0].deploy(world.function("f")).await?;
    for (asleep_by, woken_by) in [(0, 1), (1, 0), (0, 0), (1, 1)] {
        to_zero(&clients[asleep_by], "f").await?;
        clients[woken_by].until("f", "asleep", |s| s["replicas"] == 0).await?;
        let (status, body) = clients[woken_by].call("f/version").await?;
        ensure!(status == StatusCode::OK, "{asleep_by} to {woken_by}: {status}: {body}");
    }
    Ok(())
}

async fn first_calls_at_the_same_time_start_it_once() -> Result<()> {
    let world = World::start()?;
    let second = world.cluster.gateway(SECOND, &[])?;
    let clients = [world.client.clone(), Client::new(&second)?];
    clients[0].deploy(world.function("f")).await?;
    to_zero(&clients[0], "f").await?;
    clients[1].until("f", "asleep", |s| s["replicas"] == 0).await?;
    let calls = (0..CALLS).map(|number| clients[number % 2].call("f/boot"));
    let answers = join_all(calls).await.into_iter().collect::<Result<Vec<_>>>()?;
    let first = &answers[0].1;
    for (status, body) in &answers {
        ensure!(*status == StatusCode::OK, "{status}: {body}");
        ensure!(body == first, "two processes answered: {first} and {body}");
    }
    let deployment = world.cluster.get(&["deployment", "f"])?;
    ensure!(deployment["spec"]["replicas"] == 1, "{deployment:#}");
    let pods = world.cluster.pods("f")?;
    ensure!(pods.len() == 1, "{} pods for one function", pods.len());
    Ok(())
}

async fn what_cannot_start_is_answered_with_the_reason() -> Result<()> {
    let world = World::start()?;
    let of = |name: &str, more: Value| {
        let mut function = world.function(name);
        let (fields, more) = (function.as_object_mut(), more.as_object().cloned());
        fields.context("no object")?.extend(more.unwrap_or_default());
        anyhow::Ok(function)
    };
    let soon = json!({ "flint.dev/timeout": "10s" });
    let cases = [
        (of("missing", json!({ "image": NO_IMAGE }))?, ["flint-test/none:1", "image"]),
        (of("crashing", json!({ "envVars": { "CRASH": "7" } }))?, ["exit code 1", ""]),
        // A node may still come, so that these are waited for as long as the call may take.
        (
            of("huge", json!({ "requests": { "cpu": "1000" }, "annotations": soon }))?,
            ["insufficient cpu", ""],
        ),
        (
            of("picky", json!({ "constraints": ["there=nowhere"], "annotations": soon }))?,
            ["node", "match"],
        ),
    ];
    for (function, _) in &cases {
        world.client.apply(function).await?;
    }
    for (function, words) in &cases {
        let name = function["service"].as_str().context("it has a name")?;
        let is_told = |text: &str| {
            let text = text.to_lowercase();
            words.iter().all(|word| text.contains(&word.to_lowercase()))
        };
        let (status, body) = world.client.call(name).await?;
        ensure!(status == StatusCode::SERVICE_UNAVAILABLE, "{name}: {status}: {body}");
        ensure!(is_told(&body), "{name}: {body}");
        let told = |s: &Value| s["reason"].as_str().is_some_and(is_told);
        let status = world.client.until(name, "explained", told).await?;
        ensure!(status["availableReplicas"] == 0, "{status:#}");
        ensure!(instances(&status).len() == 1, "{status:#}");
    }
    Ok(())
}
