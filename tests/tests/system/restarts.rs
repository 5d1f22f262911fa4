//! Nothing is lost while something changes.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use system::client::Client;
use system::load::{self, in_flight};
use system::on_each_backend;
use system::world::World;

on_each_backend! {
    calls_in_flight_survive_an_update_and_a_scale_down,
    a_killed_gateway_finds_everything_again,
    a_gateway_that_is_told_to_stop_finishes_its_calls,
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
    let load = load::start(&gateway, "/function/one/version")?;
    tokio::time::timeout(Duration::from_secs(60), load.calls(50)).await??;
    gateway.kill()?;
    drop(load);
    gateway.restart()?;
    // The connections of the one before lead to the gateway that was killed.
    let client = Client::new(&gateway)?;
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

/// Another gateway asks for the place of this one, and dies when everything has been let go of.
#[tokio::test]
async fn a_new_gateway_that_dies_too_early_is_made_up_for() -> Result<()> {
    let World { mut gateway, client, image } = World::start("process").await?;
    client.deploy(json!({ "service": "here", "image": image })).await?;
    client.until("here", "ready", |status| status["availableReplicas"] == 1).await?;
    let replicas = gateway.running()?;
    let mut heir = UnixStream::connect(gateway.state_dir().join("gateway.sock"))?;
    let mut said = BufReader::new(heir.try_clone()?).lines();
    let hello = said.next().context("nothing was said")??;
    ensure!(hello.contains(env!("CARGO_PKG_VERSION")), "{hello}");
    heir.write_all(b"release\n")?;
    ensure!(said.next().context("nothing was said")?? == "released");
    drop((heir, said));
    // Its port takes connections all the time; whoever serves there answers.
    let (status, text) = client.call("here/echo").await?;
    ensure!(status.is_success(), "{status}: {text}");
    ensure!(gateway.running()? == replicas, "replicas run on");
    let old = gateway.ended()?;
    ensure!(old == Some(0), "the old gateway ended with {old:?}");
    gateway.stop_successor()
}
