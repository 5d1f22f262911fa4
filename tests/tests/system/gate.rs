//! The zero-failure gate; `tests/gate` passes it many times in a row.

use anyhow::{Result, ensure};
use system::client::Client;
use system::engine::Engine;
use system::gate::Gate;
use system::gateway::Gateway;
use system::world::World;
use system::{image, on_each_backend, on_each_backend_with};

on_each_backend! {
    no_call_fails_while_anything_changes,
}

on_each_backend_with! {
    BY_LOAD,
    no_call_fails_while_load_scales,
}

async fn no_call_fails_while_anything_changes(world: World) -> Result<()> {
    let World { gateway, client, image } = world;
    let mut gate = Gate::open(gateway, client, image).await?;
    let changed = everything(&mut gate).await;
    // What became of the calls says more than the change that was never seen.
    gate.close().await?;
    changed
}

async fn everything(gate: &mut Gate) -> Result<()> {
    gate.update().await?;
    gate.broken_update().await?;
    gate.scale_up_and_down().await?;
    gate.kill_replicas().await?;
    gate.sleep_and_wake().await?;
    gate.replace_the_gateway().await
}

/// Where load scales, with windows that are shorter than a test.
const BY_LOAD: [&str; 5] =
    ["--scale-by-load=true", "--scaling-stable-window", "6s", "--scaling-panic-window", "3s"];

async fn no_call_fails_while_load_scales(world: World) -> Result<()> {
    let mut gate = Gate::open_by_load(world).await?;
    let changed = gate.grow_and_shrink().await;
    gate.close().await?;
    changed
}

#[tokio::test]
async fn no_call_fails_while_the_engine_restarts() -> Result<()> {
    let mut engine = Engine::start()?;
    let image = image::test_function()?;
    engine.take(image)?;
    let gateway = Gateway::start(&["--docker-host", &engine.host()])?;
    let client = Client::new(&gateway)?;
    let gate = Gate::open(gateway, client, image.to_owned()).await?;
    gate.step("the engine restarts");
    let changed = restart(&mut engine, &gate).await;
    gate.close().await?;
    changed
}

async fn restart(engine: &mut Engine, gate: &Gate) -> Result<()> {
    let before = gate.boot().await?;
    engine.down()?;
    engine.up()?;
    gate.calls_go_on().await?;
    ensure!(gate.boot().await? != before, "the function was never stopped");
    Ok(())
}
