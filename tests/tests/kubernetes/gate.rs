//! The zero-failure gate.

use anyhow::{Result, ensure};
use system::gate::Gate;

use crate::cases;
use crate::world::World;

cases![
    no_call_fails_while_a_function_changes,
    no_call_fails_while_pods_are_deleted,
    only_calls_in_flight_fail_when_a_container_dies,
];

async fn no_call_fails_while_a_function_changes() -> Result<()> {
    let World { gateway, client, cluster, image } = World::start()?;
    let mut gate = Gate::open(gateway, client, image.to_owned()).await?;
    let changed = changes(&mut gate).await;
    // What became of the calls says more than the change that was never seen.
    gate.close().await?;
    drop(cluster);
    changed
}

async fn changes(gate: &mut Gate) -> Result<()> {
    gate.update().await?;
    gate.broken_update().await?;
    gate.scale_up_and_down().await?;
    gate.sleep_and_wake().await
}

async fn no_call_fails_while_pods_are_deleted() -> Result<()> {
    let World { gateway, client, cluster, image } = World::start()?;
    let mut gate = Gate::open(gateway, client, image.to_owned()).await?;
    let delete = |pod: &str| cluster.kubectl(&["delete", "pod", pod, "--wait=false"]).map(drop);
    let deleted = gate.take_away("deleted", false, delete).await;
    gate.close().await?;
    deleted
}

async fn only_calls_in_flight_fail_when_a_container_dies() -> Result<()> {
    let World { gateway, client, cluster, image } = World::start()?;
    let mut gate = Gate::open(gateway, client, image.to_owned()).await?;
    let by_force = ["--grace-period=0", "--force", "--wait=false"];
    let delete = |pod: &str| {
        let said = cluster.kubectl(&[&["delete", "pod", pod], &by_force[..]].concat())?;
        ensure!(said.contains("force"), "{said}");
        Ok(())
    };
    let mut died = gate.take_away("deleted by force", true, delete).await;
    if died.is_ok() {
        died = gate.kill_replicas().await;
    }
    gate.close().await?;
    died
}
