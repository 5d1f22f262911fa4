//! Replicas come with load and go without, down to none, and no call fails meanwhile.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cli::certify::Load;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use system::load::{none_failed, start_at};
use system::on_each_backend;
use system::world::World;
use tokio::time::timeout;

on_each_backend! {
    a_gateway_explains_itself,
}

/// Short windows: a test has no minutes.
const SHORT: [&str; 5] =
    ["--scale-by-load=true", "--scaling-stable-window", "6s", "--scaling-panic-window", "3s"];
/// Longest wait for calls to end.
const PATIENCE: Duration = Duration::from_secs(60);
const FUNCTION: &str = "scaled";
const PATH: &str = "/function/scaled/version";

#[tokio::test]
async fn processes_come_with_load_and_sleep_without() -> Result<()> {
    follows_the_load("process").await
}

#[tokio::test]
async fn containers_come_with_load_and_sleep_without() -> Result<()> {
    follows_the_load("docker").await
}

async fn follows_the_load(provider: &'static str) -> Result<()> {
    let World { gateway, client, image } = World::start_with(provider, &SHORT).await?;
    let labels = json!({
        "com.openfaas.scale.max": "4", "com.openfaas.scale.target": "20",
        "com.openfaas.scale.target-proportion": "1", "com.openfaas.scale.zero": "true",
        "com.openfaas.scale.zero-duration": "10s", "flint.dev/scale.freeze-after": "3s",
    });
    client.deploy(json!({ "service": FUNCTION, "image": image, "labels": labels })).await?;

    let little = start_at(&gateway, PATH, 8)?;
    let much = start_at(&gateway, PATH, 90)?;
    let with = |count: u64| move |s: &Value| s["availableReplicas"] == count;
    client.until(FUNCTION, "as many as the load needs", with(4)).await?;
    calls_go_on(&much).await?;

    none_failed(&much.stop().await?)?;
    let alone = |s: &Value| {
        s["replicas"] == 1 && s["instances"].as_array().is_some_and(|all| all.len() == 1)
    };
    client.until(FUNCTION, "one again", alone).await?;
    calls_go_on(&little).await?;

    for (tier, state) in [("frozen", "frozen"), ("stopped", "stopped")] {
        little.pause();
        timeout(PATIENCE, little.settled()).await.context("calls do not end")??;
        let asleep = |s: &Value| s["availableReplicas"] == 0 && s["instances"][0]["state"] == state;
        client.until(FUNCTION, tier, asleep).await?;
        little.resume();
        calls_go_on(&little).await?;
    }
    none_failed(&little.stop().await?)?;

    let scaling = decisions(&client, FUNCTION).await?;
    for cause in ["load", "idle", "call"] {
        let made = scaling.iter().any(|record| record["decision"]["cause"] == cause);
        ensure!(made, "nothing was decided because of {cause}: {scaling:#?}");
    }
    let is_up = |d: &Value| d["to"] == 4 && d["from"] != 4;
    let up = scaling.iter().find(|record| is_up(&record["decision"]));
    let numbers = &up.context("nothing was scaled to 4")?["decision"]["numbers"];
    ensure!(numbers["perReplica"] == 20.0 && numbers["now"].as_f64() > Some(40.0), "{numbers}");
    Ok(())
}

/// Waits until calls have ended as they should.
async fn calls_go_on(load: &Load) -> Result<()> {
    timeout(PATIENCE, load.calls(20)).await.context("calls do not end")?
}

async fn decisions(client: &system::client::Client, name: &str) -> Result<Vec<Value>> {
    let path = format!("/system/function/{name}/scaling");
    let (status, body) = client.system(Method::GET, &path, None).await?;
    ensure!(status == StatusCode::OK, "{path} answered {status}: {body}");
    let told: Value = serde_json::from_str(&body)?;
    told["decisions"].as_array().cloned().context("no decisions")
}

async fn a_gateway_explains_itself(world: World) -> Result<()> {
    let World { gateway: _gateway, client, image } = world;
    let labels = json!({
        "com.openfaas.scale.max": "3", "com.openfaas.scale.type": "latency",
        "flint.dev/scale.schedule": "* * * * * Europe/Berlin = 2",
    });
    client.deploy(json!({ "service": FUNCTION, "image": image, "labels": labels })).await?;
    client.until(FUNCTION, "what its schedule keeps", |s| s["availableReplicas"] == 2).await?;
    let body = json!({ "replicas": 9 });
    let path = format!("/system/scale-function/{FUNCTION}");
    let (status, text) = client.system(Method::POST, &path, Some(body)).await?;
    ensure!(status.is_success(), "{status}: {text}");
    client.until(FUNCTION, "within its bounds", |s| s["availableReplicas"] == 3).await?;
    let made = decisions(&client, FUNCTION).await?;
    let of = |cause: &str| made.iter().find(|record| record["decision"]["cause"] == cause);
    let by_hand = of("manual").with_context(|| format!("{made:#?}"))?;
    ensure!(by_hand["decision"]["to"] == 3, "{by_hand}");
    let scheduled = of("schedule").with_context(|| format!("{made:#?}"))?;
    ensure!(scheduled["decision"]["to"] == 2, "{scheduled}");

    let bad = json!({ "flint.dev/scale.schedule": "weekdays = 2" });
    let function = json!({ "service": "bad", "image": image, "labels": bad });
    let (status, text) = client.system(Method::POST, "/system/functions", Some(function)).await?;
    ensure!(status == StatusCode::BAD_REQUEST, "{status}: {text}");
    ensure!(text.contains("flint.dev/scale.schedule"), "{text}");
    let (status, _) = client.system(Method::GET, "/system/function/none/scaling", None).await?;
    ensure!(status == StatusCode::NOT_FOUND, "{status}");
    Ok(())
}
