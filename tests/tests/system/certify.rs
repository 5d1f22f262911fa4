//! `faas certify` against a real gateway.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use system::cli::Cli;
use system::client::Client;
use system::gateway::Gateway;
use system::world::World;

/// Longest wait for the function to show.
const PATIENCE: Duration = Duration::from_secs(60);

async fn functions(client: &Client) -> Result<Vec<Value>> {
    let (_, body) = client.system(Method::GET, "/system/functions", None).await?;
    Ok(serde_json::from_str(&body)?)
}

#[tokio::test]
async fn a_gateway_of_processes_passes_without_an_image() -> Result<()> {
    let gateway = Gateway::start_on("process", &[])?;
    let (cli, client) = (Cli::new(&gateway)?, Client::new(&gateway)?);
    let dir = tempfile::tempdir()?;
    let line = ["certify", "--duration", "1s", "--rate", "20", "--replicas", "3", "--json"];
    let page: Value = serde_json::from_str(&cli.ok(dir.path(), &line)?)?;
    assert_eq!(page["passed"], true, "{page:#}");
    assert_eq!(page["failures"], 0, "{page:#}");
    assert_eq!(functions(&client).await?, Vec::<Value>::new());
    Ok(())
}

#[tokio::test]
async fn a_gateway_of_containers_passes_with_an_image() -> Result<()> {
    let World { gateway, client, image } = World::start("docker").await?;
    let cli = Cli::new(&gateway)?;
    let dir = tempfile::tempdir()?;
    let line =
        ["certify", "--duration", "1s", "--rate", "20", "--replicas", "2", "--image", &image];
    let text = cli.ok(dir.path(), &line)?;
    assert!(text.contains("from zero"), "{text}");
    assert_eq!(functions(&client).await?, Vec::<Value>::new());
    Ok(())
}

#[tokio::test]
async fn what_is_interrupted_leaves_nothing() -> Result<()> {
    let gateway = Gateway::start_on("process", &[])?;
    let (cli, client) = (Cli::new(&gateway)?, Client::new(&gateway)?);
    let dir = tempfile::tempdir()?;
    let mut command = cli.command(dir.path(), &["certify", "--duration", "1h"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn()?;
    let start = Instant::now();
    let called = |all: &[Value]| all.iter().any(|f| f["invocationCount"].as_u64() >= Some(10));
    while !called(&functions(&client).await?) {
        ensure!(start.elapsed() < PATIENCE, "it was never called");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    kill_process(Pid::from_child(&child), Signal::INT)?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code().context("it ended by itself")?, 130, "{said}");
    assert!(said.contains("Interrupted: removing the function."), "{said}");
    assert_eq!(functions(&client).await?, Vec::<Value>::new());
    Ok(())
}
