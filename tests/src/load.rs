//! A bounded load on loopback that counts every call that failed, transport errors among them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use reqwest::Client as Http;
use tokio::task::JoinHandle;

use crate::gateway::Gateway;

/// Callers at a time; every second one opens a connection for each call.
const CALLERS: usize = 4;
/// Pause of a caller after each call: some hundred calls a second in all.
const PAUSE: Duration = Duration::from_millis(5);
/// Most calls of one load.
const MOST_CALLS: u64 = 200_000;
/// Time between two looks at a counter.
const LOOK: Duration = Duration::from_millis(20);

/// A running load.
pub struct Load {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
    callers: Vec<JoinHandle<Vec<String>>>,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// Calls made.
    pub calls: u64,
    /// What went wrong, a line a call.
    pub failures: Vec<String>,
}

impl Load {
    /// Starts calling a path of the gateway.
    pub fn start(gateway: &Gateway, path: &str) -> Self {
        let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let url = format!("{}{path}", gateway.url);
        let callers = (0..CALLERS)
            .map(|n| tokio::spawn(caller(n, url.clone(), stop.clone(), calls.clone())))
            .collect();
        Self { stop, calls, callers }
    }

    /// Waits until so many calls were made.
    pub async fn calls_at_least(&self, calls: u64) -> Result<()> {
        while self.calls.load(Ordering::Relaxed) < calls {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Ends it.
    pub async fn stop(self) -> Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        for caller in self.callers {
            failures.extend(caller.await?);
        }
        Ok(Report { calls: self.calls.load(Ordering::Relaxed), failures })
    }
}

async fn caller(
    number: usize,
    url: String,
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
) -> Vec<String> {
    let mut failures = Vec::new();
    let idle = if number.is_multiple_of(2) { usize::MAX } else { 0 };
    let Ok(http) = Http::builder().pool_max_idle_per_host(idle).build() else {
        return vec!["no client".to_owned()];
    };
    while !stop.load(Ordering::Relaxed) && calls.fetch_add(1, Ordering::Relaxed) < MOST_CALLS {
        if let Err(error) = call(&http, &url).await {
            failures.push(format!("{error:#}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
    failures
}

async fn call(http: &Http, url: &str) -> Result<()> {
    let response = http.get(url).send().await?;
    let status = response.status();
    let body = response.text().await?;
    anyhow::ensure!(status.is_success(), "{status}: {body}");
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
