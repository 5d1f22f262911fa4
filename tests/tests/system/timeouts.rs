//! One timeout for all hops: who says that it is over, and what becomes of what ran.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::json;
use system::client::Client;
use system::gateway::Gateway;
use system::world::World;
use system::{docker, image, on_each_backend, unique};

on_each_backend! {
    the_watchdog_says_that_a_server_took_too_long,
    a_process_that_takes_too_long_is_gone,
    contradictions_are_refused_and_leave_nothing,
}

/// Longest wait for a killed process to be gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// A call that takes too long: the text of its answer, once it is checked to be a 504.
async fn too_slow(client: &Client, path: &str) -> Result<String> {
    let response = client.request(Method::GET, &format!("/function/{path}")).send().await?;
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(response.headers()["x-faas-error"], "deadline");
    assert!(response.headers().contains_key("x-openfaas-internal"));
    Ok(response.text().await?)
}

async fn the_watchdog_says_that_a_server_took_too_long(world: World) -> Result<()> {
    let World { client, image, gateway: _gateway } = world;
    let annotations = json!({ "flint.dev/timeout": "2s" });
    client.deploy(json!({ "service": "f", "image": image, "annotations": annotations })).await?;
    for variable in ["exec_timeout", "read_timeout", "write_timeout"] {
        // The server is the watchdog's child and has its variables.
        let told = client.call(&format!("f/env?name={variable}")).await?;
        assert_eq!(told, (StatusCode::OK, "2s".to_owned()), "{variable}");
    }
    let head = client.call("f/head").await?.1.to_lowercase();
    let left = head.lines().find_map(|line| line.strip_prefix("x-faas-deadline: "));
    let left: u64 = left.with_context(|| format!("no deadline in {head}"))?.trim().parse()?;
    assert!((1..=2000).contains(&left), "{left}");

    let text = too_slow(&client, "f/sleep?ms=60000").await?;
    assert!(text.ends_with("(limit of the watchdog hop)\n"), "{text}");
    assert_eq!(client.call("f/sleep?ms=1").await?.0, StatusCode::OK);
    Ok(())
}

async fn a_process_that_takes_too_long_is_gone(world: World) -> Result<()> {
    let World { client, image, gateway } = world;
    let mark = unique("mark");
    let program = if gateway.provider() == "docker" { "/testfn" } else { "./testfn" };
    // The test function is a server, so it never ends by itself.
    client
        .deploy(json!({
            "service": "f", "image": image, "envProcess": format!("{program} {mark}"),
            "envVars": { "mode": "serializing", "PORT": "0" },
            "annotations": { "flint.dev/timeout": "2s" },
        }))
        .await?;
    let call = tokio::spawn(async move { too_slow(&client, "f").await });
    until_running(&mark, true).await?;
    let text = call.await??;
    assert!(text.ends_with("(limit of the watchdog hop)\n"), "{text}");
    until_running(&mark, false).await
}

/// Waits until a process with this word in its command line is there, or none is.
async fn until_running(word: &str, wanted: bool) -> Result<()> {
    let runs = || -> Result<bool> {
        for process in std::fs::read_dir("/proc")? {
            let command = std::fs::read(process?.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&command).contains(word) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let looking = async {
        while runs()? != wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    };
    let waited = tokio::time::timeout(PATIENCE, looking).await;
    waited.with_context(|| format!("running: {word} was never {wanted}"))?
}

async fn contradictions_are_refused_and_leave_nothing(world: World) -> Result<()> {
    let World { client, image, gateway: _gateway } = world;
    for (variable, value) in [("exec_timeout", "30s"), ("write_timeout", "5s")] {
        let function = json!({
            "service": "f", "image": image, "envVars": { variable: value },
            "annotations": { "flint.dev/timeout": "10s" },
        });
        let answer = client.system(Method::POST, "/system/functions", Some(function)).await?;
        assert_eq!(answer.0, StatusCode::BAD_REQUEST, "{}", answer.1);
        for named in [format!("envVars.{variable}: {value:?}"), "timeout \"10s\"".to_owned()] {
            ensure!(answer.1.contains(&named), "{named} is not in {}", answer.1);
        }
    }
    ensure!(client.status("f").await?.is_none(), "it was made");
    Ok(())
}

#[tokio::test]
async fn the_gateway_says_it_for_those_who_do_not() -> Result<()> {
    let gateway = Gateway::start(&[])?;
    let client = Client::new(&gateway)?;
    let image = image::bare_function()?;
    let annotations = json!({ "flint.dev/timeout": "2s" });
    client.deploy(json!({ "service": "f", "image": image, "annotations": annotations })).await?;
    let text = too_slow(&client, "f/sleep?ms=60000").await?;
    assert!(text.contains("2000 ms (limit of the gateway hop)"), "{text}");

    let containers = gateway.running()?;
    let container = containers.first().context("no container")?;
    let grace = docker(&["inspect", "--format", "{{.Config.StopTimeout}}", container])?;
    assert_eq!(grace.trim(), "12", "the timeout, and what the end itself may take");
    Ok(())
}
