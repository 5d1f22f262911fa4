//! What a gateway needs for functions that sleep.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use system::bundle;
use system::client::Client;
use system::gateway::Gateway;

use crate::data::cpu::{Used, resident_kib};

/// Functions that sleep.
const FUNCTIONS: usize = 200;
/// How many are deployed before they are put to sleep.
const BATCH: usize = 10;
/// Time to come to rest.
const REST: Duration = Duration::from_secs(5);
/// How long the processor is watched.
const WATCH: Duration = Duration::from_secs(30);

pub(crate) fn run() -> Result<()> {
    let gateway = Gateway::start_on("process", &["--access-log", "false", "--scale-by-load=true"])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let pid = gateway.pid().context("the gateway does not run")?;
    let empty = measure(pid)?;
    runtime.block_on(put_to_sleep(&Client::new(&gateway)?))?;
    let full = measure(pid)?;
    println!("Idle: the gateway, over {} s\n", WATCH.as_secs());
    println!("| functions at zero | % of one core (goal: 0.5) | RSS MiB (goal: 60) |");
    println!("|---|---|---|");
    for (functions, (core, kib)) in [(0, empty), (FUNCTIONS, full)] {
        println!("| {functions} | {:.2} | {:.1} |", core * 100.0, kib as f64 / 1024.0);
    }
    println!();
    Ok(())
}

async fn put_to_sleep(client: &Client) -> Result<()> {
    let image = bundle::test_function(client).await?;
    let names: Vec<_> = (0..FUNCTIONS).map(|number| format!("sleeper-{number}")).collect();
    for batch in names.chunks(BATCH) {
        for name in batch {
            client.deploy(json!({ "service": name, "image": image })).await?;
        }
        for name in batch {
            let path = format!("/system/scale-function/{name}");
            let body = json!({ "serviceName": name, "replicas": 0 });
            client.system(reqwest::Method::POST, &path, Some(body)).await?;
        }
        for name in batch {
            let stopped = |status: &serde_json::Value| status["instances"][0]["state"] == "stopped";
            client.until(name, "stopped", stopped).await?;
        }
    }
    Ok(())
}

/// The share of a core that a process uses, and its memory in KiB.
fn measure(pid: u32) -> Result<(f64, u64)> {
    std::thread::sleep(REST);
    let (before, start) = (Used::by(&[pid])?, Instant::now());
    std::thread::sleep(WATCH);
    let used = Used::by(&[pid])?.since(&before);
    Ok((used.as_secs_f64() / start.elapsed().as_secs_f64(), resident_kib(&[pid])?))
}
