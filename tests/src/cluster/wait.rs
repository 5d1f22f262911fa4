//! Waiting for what the cluster comes to.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

/// Longest wait for the cluster: it starts containers, and shares two cores with the tests.
const PATIENCE: Duration = Duration::from_secs(120);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Waits until what is looked at is as wanted, and gives it; fails with what it was the last time.
pub async fn until(
    what: &str,
    look: impl AsyncFn() -> Result<Value>,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let start = Instant::now();
    loop {
        let seen = look().await;
        match &seen {
            Ok(value) if wanted(value) => return seen,
            Ok(value) if start.elapsed() > PATIENCE => bail!("never {what}: {value:#}"),
            Err(_) if start.elapsed() > PATIENCE => return seen,
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}
