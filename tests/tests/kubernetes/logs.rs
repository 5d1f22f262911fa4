//! Logs: of every replica, those that come later among them.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::Value;
use tokio::time::timeout;

use crate::cases;
use crate::world::{World, scale};

cases![logs_follow_every_replica_and_the_new_ones];

/// Longest wait for a line; only a failing test takes so long.
const PATIENCE: Duration = Duration::from_secs(90);
/// What each replica writes when it starts.
const FIRST_LINE: &str = "testfn: listening on 3000";

async fn logs_follow_every_replica_and_the_new_ones() -> Result<()> {
    let World { gateway, client, cluster: _cluster, image } = World::start()?;
    client.deploy(serde_json::json!({ "service": "f", "image": image })).await?;
    client.call("f/log?text=before").await?;
    let request = client.request(Method::GET, "/system/logs?name=f&follow=1&tail=100");
    let answer = request.basic_auth("admin", Some(gateway.password()?)).send().await?;
    let mut lines = Lines { answer, text: Vec::new() };
    lines.until(|line| line["text"].as_str().is_some_and(|text| text.contains("before"))).await?;

    scale(&client, "f", 3).await?;
    let mut started = BTreeSet::new();
    lines
        .until(|line| {
            if line["text"].as_str().is_some_and(|text| text.contains(FIRST_LINE)) {
                started.extend(line["instance"].as_str().map(str::to_owned));
            }
            started.len() == 2
        })
        .await?;
    let told = client.status("f").await?.context("it was deployed")?;
    let replicas = crate::world::instances(&told).iter();
    let replicas: BTreeSet<_> = replicas.filter_map(|i| i["id"].as_str()).collect();
    ensure!(started.iter().all(|name| replicas.contains(&**name)), "{started:?}, {replicas:?}");
    Ok(())
}

/// Lines as they come.
struct Lines {
    answer: reqwest::Response,
    text: Vec<u8>,
}

impl Lines {
    /// Reads until one is wanted.
    async fn until(&mut self, wanted: impl FnMut(&Value) -> bool) -> Result<()> {
        timeout(PATIENCE, self.read_until(wanted)).await.context("no such line came")?
    }

    async fn read_until(&mut self, mut wanted: impl FnMut(&Value) -> bool) -> Result<()> {
        loop {
            while let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                if wanted(&serde_json::from_slice(&line)?) {
                    return Ok(());
                }
            }
            let piece = self.answer.chunk().await?.context("the logs ended")?;
            self.text.extend_from_slice(&piece);
        }
    }
}
