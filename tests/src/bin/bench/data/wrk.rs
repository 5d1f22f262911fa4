//! Closed loop: each of so many connections sends its next request when it has the last answer.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Prints what `wrk` has counted as one line of JSON.
const SCRIPT: &str = r#"
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"us":%d,"failed":%d,"p50":%d,"p90":%d,"p99":%d}\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(90), latency:percentile(99)))
end
"#;

/// Percentiles of latency in microseconds: 50, 90, 99.
pub(crate) type Latency = [f64; 3];

/// What one run has shown.
pub(crate) struct Load {
    pub(crate) requests: f64,
    pub(crate) per_second: f64,
    pub(crate) latency_us: Latency,
}

/// Loads a path for a time; any failed request is an error.
pub(crate) fn run(
    folder: &Path,
    url: &str,
    (connections, time): (usize, Duration),
) -> Result<Load> {
    let script = folder.join("wrk.lua");
    std::fs::write(&script, SCRIPT)?;
    let seconds = time.as_secs().max(1);
    let output = Command::new("wrk")
        .arg(format!("-t{}", threads(connections)))
        .arg(format!("-c{connections}"))
        .arg(format!("-d{seconds}s"))
        .arg("-s")
        .arg(script)
        .arg(url)
        .stdin(Stdio::null())
        .output()
        .context("the bench needs wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with('{'));
    let line = line.with_context(|| format!("wrk said nothing of {url}: {text}"))?;
    let told: Value = serde_json::from_str(line)?;
    let number = |key: &str| told[key].as_f64().unwrap_or_default();
    ensure!(number("failed") == 0.0, "calls of {url} failed: {text}");
    Ok(Load {
        requests: number("requests"),
        per_second: number("requests") * 1e6 / number("us").max(1.0),
        latency_us: ["p50", "p90", "p99"].map(number),
    })
}

fn threads(connections: usize) -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(connections)
}
