//! A step of the load to twenty times what one replica is meant for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cli::certify::{Call, Expect, Load, Plan, Trust};
use serde_json::json;

use super::site::Site;
use crate::sample::{Sample, head};

/// Calls a second that one replica is meant for.
const TARGET: u32 = 10;
/// How much that becomes more.
const STEP: u32 = 20;
/// Most steps that are measured: each takes a quarter of a minute.
const MAX_ROUNDS: usize = 10;
/// How much later each comes in the autoscaler's second than the one before it.
const LATER: Duration = Duration::from_millis(130);
/// How long the first load goes on, so that the autoscaler knows it.
const BEFORE: Duration = Duration::from_secs(10);
/// How long the load goes on when there are as many replicas as there should be.
const AFTER: Duration = Duration::from_secs(2);
/// Longest wait for them.
const PATIENCE: Duration = Duration::from_secs(90);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) fn run(site: &Site, rounds: usize) -> Result<()> {
    println!("Reaction: calls a second from {TARGET} to {}, {TARGET} a replica", TARGET * STEP);
    println!("(goal: within a second and one cold start, no call fails)\n");
    println!("| step | replicas wanted after ms | all {STEP} ready after ms | calls | failed |");
    println!("|---|---|---|---|---|");
    let (mut wanted_after, mut ready_after) = <(Sample, Sample)>::default();
    for round in 1..=rounds.min(MAX_ROUNDS) {
        // As new each time: what was learnt from the step before is no help.
        site.runtime.block_on(deploy(site))?;
        let slow = load(site, TARGET)?;
        std::thread::sleep(BEFORE + LATER * u32::try_from(round)?);
        let fast = load(site, TARGET * (STEP - 1))?;
        let (wanted, ready) = grown(site, Instant::now())?;
        std::thread::sleep(AFTER);
        let [slow, fast] = [slow, fast].map(|load| site.runtime.block_on(load.stop()));
        let reports = [slow?, fast?];
        let calls: usize = reports.iter().map(|report| report.outcomes.len()).sum();
        let failed: usize = reports.iter().map(|report| report.failures().len()).sum();
        println!(
            "| {round} | {} | {} | {calls} | {failed} |",
            wanted.as_millis(),
            ready.as_millis()
        );
        wanted_after.add(wanted);
        ready_after.add(ready);
        site.scale(&site.rust, 1)?;
    }
    println!();
    head("Reaction: all steps");
    println!("{}", wanted_after.row("as many wanted"));
    println!("{}", ready_after.row("as many ready"));
    println!();
    Ok(())
}

async fn deploy(site: &Site) -> Result<()> {
    let place = &site.rust;
    let status = place.client.status(&place.name).await?.context("it was deployed")?;
    place.client.remove(&place.name).await?;
    let labels = json!({
        "com.openfaas.scale.type": "rps",
        "com.openfaas.scale.target": TARGET.to_string(),
        "com.openfaas.scale.target-proportion": "1.0",
        "com.openfaas.scale.max": STEP.to_string(),
    });
    let function = json!({ "service": place.name, "image": status["image"], "labels": labels });
    place.client.deploy(function).await
}

fn load(site: &Site, per_second: u32) -> Result<Load> {
    let path = format!("/function/{}", site.rust.name);
    let script = move |_| Call::get(path.clone(), Expect::Complete);
    let url = format!("http://127.0.0.1:{}", site.rust.port);
    Load::start(Plan { url, trust: Trust::default(), per_second, script: Arc::new(script) }, "step")
}

/// How long it took until as many replicas as the load needs were wanted, and until all were ready.
fn grown(site: &Site, start: Instant) -> Result<(Duration, Duration)> {
    let mut wanted = None;
    loop {
        let status = site.runtime.block_on(site.rust.client.status(&site.rust.name))?;
        let status = status.context("it was deployed")?;
        let is_all = |key: &str| status[key].as_u64() >= Some(STEP.into());
        if is_all("replicas") {
            wanted = wanted.or(Some(start.elapsed()));
        }
        if let Some(wanted) = wanted.filter(|_| is_all("availableReplicas")) {
            return Ok((wanted, start.elapsed()));
        }
        ensure!(start.elapsed() < PATIENCE, "it did not grow: {status:#}");
        std::thread::sleep(LOOK);
    }
}
