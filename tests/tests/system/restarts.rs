//! Nothing is lost while something changes.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use system::client::Client;
use system::gateway::Gateway;
use system::load::{Load, in_flight};
use system::world::World;
use system::{image, on_each_backend};

on_each_backend! {
    an_update_under_load_fails_no_call,
    calls_in_flight_survive_an_update_and_a_scale_down,
    a_killed_gateway_finds_everything_again,
    a_gateway_that_is_told_to_stop_finishes_its_calls,
}

async fn an_update_under_load_fails_no_call(world: World) -> Result<()> {
    let World { gateway, client, image } = world;
    let function = |version: u32| json!({ "service": "live", "image": image, "envVars": { "VERSION": version.to_string() } });
    client.deploy(function(0)).await?;
    let load = Load::start(&gateway, "/function/live/version");
    for version in 1..=3 {
        let enough = load.calls_at_least(u64::from(version) * 50);
        tokio::time::timeout(Duration::from_secs(60), enough).await??;
        client.deploy(function(version)).await?;
        client
            .until("live", "settled", |s| s["instances"].as_array().is_some_and(|i| i.len() == 1))
            .await?;
    }
    let report = load.stop().await?;
    assert_eq!(report.failures, Vec::<String>::new(), "of {} calls", report.calls);
    assert!(report.calls > 100, "{} calls are no load", report.calls);
    assert_eq!(client.call("live/version").await?.1, "3");
    Ok(())
}

async fn calls_in_flight_survive_an_update_and_a_scale_down(world: World) -> Result<()> {
    let World { gateway, client, image } = world;
    client.deploy(json!({ "service": "slow", "image": image })).await?;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call("slow/sleep?ms=3000").await }
    });
    tokio::time::timeout(Duration::from_secs(30), in_flight(&gateway, "slow")).await??;
    client
        .deploy(json!({ "service": "slow", "image": image, "envVars": { "VERSION": "2" } }))
        .await?;
    assert_eq!(call.await??.1, "slept");
    Ok(())
}

#[tokio::test]
async fn an_update_to_a_broken_image_keeps_the_old_one_serving() -> Result<()> {
    let gateway = Gateway::start(&[])?;
    let client = Client::new(&gateway)?;
    let image = image::test_function()?;
    client
        .deploy(json!({ "service": "live", "image": image, "envVars": { "VERSION": "1" } }))
        .await?;
    let load = Load::start(&gateway, "/function/live/version");
    client
        .apply(&json!({ "service": "live", "image": image, "envVars": { "CRASH": "1" } }))
        .await?;
    let why = |status: &serde_json::Value| {
        status["reason"].as_str().is_some_and(|reason| reason.contains("exit code 1"))
    };
    client.until("live", "told why", why).await?;
    assert!(client.apply(&json!({ "service": "live", "image": "127.0.0.1:1/no" })).await.is_err());
    let report = load.stop().await?;
    assert_eq!(report.failures, Vec::<String>::new(), "of {} calls", report.calls);
    assert_eq!(client.call("live/version").await?.1, "1");
    client
        .deploy(json!({ "service": "live", "image": image, "envVars": { "VERSION": "2" } }))
        .await?;
    assert_eq!(client.call("live/version").await?.1, "2");
    Ok(())
}

async fn a_killed_gateway_finds_everything_again(world: World) -> Result<()> {
    let World { mut gateway, client, image } = world;
    for name in ["one", "two"] {
        client
            .deploy(json!({ "service": name, "image": image, "envVars": { "VERSION": name } }))
            .await?;
    }
    let body = json!({ "replicas": 2 });
    client.system(reqwest::Method::POST, "/system/scale-function/two", Some(body)).await?;
    client.until("two", "two", |s| s["availableReplicas"] == 2).await?;
    let before = gateway.running()?;
    assert_eq!(before.len(), 3);
    let load = Load::start(&gateway, "/function/one/version");
    tokio::time::timeout(Duration::from_secs(60), load.calls_at_least(50)).await??;
    gateway.kill()?;
    let _ = load.stop().await?;
    gateway.restart()?;
    for (name, replicas) in [("one", 1), ("two", 2)] {
        client.until(name, "back", |s| s["availableReplicas"] == replicas).await?;
        assert_eq!(client.call(&format!("{name}/version")).await?.1, name);
    }
    assert_eq!(gateway.running()?, before, "no replica was made anew");
    Ok(())
}

async fn a_gateway_that_is_told_to_stop_finishes_its_calls(world: World) -> Result<()> {
    let World { mut gateway, client, image } = world;
    client.deploy(json!({ "service": "slow", "image": image })).await?;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call("slow/sleep?ms=2000").await }
    });
    tokio::time::timeout(Duration::from_secs(30), in_flight(&gateway, "slow")).await??;
    assert_eq!(gateway.stop()?, Some(0));
    assert_eq!(call.await??.1, "slept");
    Ok(())
}

#[tokio::test]
async fn a_gateway_that_is_told_to_stop_while_it_starts_leaves_nothing_running() -> Result<()> {
    let World { mut gateway, client, image } = World::start("process").await?;
    for number in 0..8 {
        client.deploy(json!({ "service": format!("f{number}"), "image": image })).await?;
    }
    gateway.stop()?;
    assert_eq!(gateway.running()?, Vec::<String>::new());
    let starting = std::process::Command::new(system::binary("faas-gateway"))
        .args(["--provider", "process", "--port", "0", "--metrics-port", "0", "--watchdog"])
        .arg(system::binary("fwatchdog"))
        .arg("--state-dir")
        .arg(gateway.state_dir())
        .spawn()?;
    while gateway.running()?.is_empty() {
        tokio::task::yield_now().await;
    }
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&starting),
        rustix::process::Signal::TERM,
    )?;
    let output = starting.wait_with_output()?;
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(gateway.running()?, Vec::<String>::new());
    Ok(())
}
