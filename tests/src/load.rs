//! A bounded load on loopback in which every call that fails counts: the generator of
//! `faas certify`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use cli::certify::{Call, Expect, Load, Plan, Report, Trust};

use crate::gateway::Gateway;

/// Calls a second.
pub const RATE: u32 = 80;
/// Time between two looks at a counter.
const LOOK: Duration = Duration::from_millis(20);

/// Starts calling a path of the gateway; every second call has a connection of its own.
pub fn start(gateway: &Gateway, path: &str) -> Result<Load> {
    start_at(gateway, path, RATE)
}

/// As [`start`], so many times a second.
pub fn start_at(gateway: &Gateway, path: &str, rate: u32) -> Result<Load> {
    let path = path.to_owned();
    let script = move |number: u64| {
        let call = Call::get(path.clone(), Expect::Complete);
        if number.is_multiple_of(2) { call } else { call.fresh() }
    };
    let url = gateway.url.clone();
    let plan = Plan { url, trust: Trust::default(), per_second: rate, script: Arc::new(script) };
    Load::start(plan, "load")
}

/// Fails with a line for each call that failed.
pub fn none_failed(report: &Report) -> Result<()> {
    let lines: Vec<_> = report.failures().iter().map(|o| report.line(o).to_string()).collect();
    let (failed, all) = (lines.len(), report.outcomes.len());
    ensure!(failed == 0, "{failed} of {all} calls failed:\n{}", lines.join("\n"));
    Ok(())
}

/// Waits until a call of the function is in flight, as the gateway's metrics tell.
pub async fn in_flight(gateway: &Gateway, function: &str) -> Result<()> {
    let series = format!(
        "gateway_function_invocation_inflight{{function_name=\"{function}.openfaas-fn\"}} 1"
    );
    loop {
        let metrics = reqwest::get(format!("{}/metrics", gateway.metrics_url)).await?;
        if metrics.text().await?.contains(&series) {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}
