//! Functions that sleep, frozen and stopped, and those that cannot be woken.

use anyhow::{Context, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use system::client::Client;
use system::on_each_backend;
use system::world::World;

on_each_backend![
    a_frozen_function_outlives_its_gateway_and_answers,
    a_function_that_was_made_beforehand_starts,
    what_crashes_is_answered_with_the_reason,
];

/// The state of a function's only replica.
fn state<'a>(status: &'a Value, state: &str) -> Option<&'a str> {
    let instances = status["instances"].as_array().filter(|all| all.len() == 1)?;
    instances[0]["id"].as_str().filter(|_| instances[0]["state"] == state)
}

async fn a_frozen_function_outlives_its_gateway_and_answers(mut world: World) -> Result<()> {
    let client = &world.client;
    let labels = json!({ "flint.dev/scale.freeze-after": "1s" });
    let function = json!({ "service": "f", "image": world.image, "labels": labels });
    client.deploy(function).await?;
    ensure!(client.call("f").await?.0 == StatusCode::OK);
    let frozen = client.until("f", "frozen", |status| state(status, "frozen").is_some()).await?;
    ensure!(frozen["availableReplicas"] == 0 && frozen["replicas"] == 1, "{frozen}");
    let code = world.gateway.replace()?;
    ensure!(code == Some(0), "the gateway before ended with {code:?}");
    // The connections of the other one are closed by now, which it has not noticed.
    let client = Client::new(&world.gateway)?;
    let found = client.status("f").await?.context("it is gone")?;
    ensure!(state(&found, "frozen") == state(&frozen, "frozen"), "{found}");
    let answers = futures_util::future::join_all((0..20).map(|_| client.call("f"))).await;
    for answer in answers {
        let (status, body) = answer?;
        ensure!(status == StatusCode::OK, "{status}: {body}");
    }
    let awake = client.status("f").await?.context("it is gone")?;
    ensure!(state(&awake, "ready") == state(&frozen, "frozen"), "another one: {awake}");
    ensure!(client.remove("f").await?.0.is_success());
    Ok(())
}

async fn a_function_that_was_made_beforehand_starts(world: World) -> Result<()> {
    let client = &world.client;
    let labels = json!({ "flint.dev/scale.prepared": "2" });
    let function = json!({ "service": "f", "image": world.image, "labels": labels });
    client.deploy(function).await?;
    let status = client.status("f").await?.context("it was deployed")?;
    ensure!(status["instances"].as_array().is_some_and(|all| all.len() == 1), "{status}");
    for replicas in [3, 1, 0] {
        let body = json!({ "serviceName": "f", "replicas": replicas });
        client.system(Method::POST, "/system/scale-function/f", Some(body)).await?;
        client
            .until("f", "as many as asked for", |status| {
                status["replicas"] == replicas && status["availableReplicas"] == replicas
            })
            .await?;
    }
    ensure!(client.call("f").await?.0 == StatusCode::OK);
    ensure!(client.remove("f").await?.0.is_success());
    ensure!(world.gateway.running()?.is_empty());
    Ok(())
}

async fn what_crashes_is_answered_with_the_reason(world: World) -> Result<()> {
    let client = &world.client;
    let function = json!({ "service": "f", "image": world.image, "envVars": { "CRASH": "7" } });
    client.apply(&function).await?;
    // The call's own time is not used up: it is told as soon as that is known.
    let (status, body) = client.call("f").await?;
    ensure!(status == StatusCode::SERVICE_UNAVAILABLE, "{status}: {body}");
    ensure!(body.contains("exit code 1") && body.contains("crashing as told"), "{body}");
    Ok(())
}
