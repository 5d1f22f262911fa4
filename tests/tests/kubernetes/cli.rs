//! The command line against a gateway of a cluster.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use system::cli::Cli;
use system::{docker, unique};

use crate::cases;
use crate::world::{World, to_zero};

cases![the_verbs_of_every_day_work, plain_manifests_are_served_when_they_are_applied];

async fn the_verbs_of_every_day_work() -> Result<()> {
    let world = World::start()?;
    let cli = Cli::new(&world.gateway)?;
    let folder = tempfile::tempdir()?;
    // The engine that builds it is the cluster's, so it need not be pushed anywhere.
    let built = format!("{}:1", unique("flint-test/up"));
    let stack = format!(
        "version: 1.0\nprovider: {{ name: openfaas }}\nfunctions:\n  hello:\n    \
         lang: dockerfile\n    handler: ./hello\n    image: {built}\n"
    );
    std::fs::write(folder.path().join("stack.yaml"), stack)?;
    std::fs::create_dir(folder.path().join("hello"))?;
    let dockerfile = format!("FROM {}\nENV VERSION=built\n", world.image);
    std::fs::write(folder.path().join("hello/Dockerfile"), dockerfile)?;
    let used = use_it(&world, &cli, folder.path());
    let _ = docker(&["image", "rm", &built]);
    used
}

fn use_it(world: &World, cli: &Cli, folder: &Path) -> Result<()> {
    let faas = |args: &[&str]| cli.ok(folder, args);
    let up = faas(&["up"])?;
    ensure!(up.contains(&format!("{}/function/hello", world.gateway.url)), "{up}");
    let list = faas(&["list"])?;
    ensure!(list.contains("hello"), "{list}");
    let described: Value = serde_json::from_str(&faas(&["describe", "hello", "-o", "json"])?)?;
    ensure!(described["availableReplicas"] == 1, "{described:#}");
    let pods = world.cluster.pods("hello")?;
    let pod = pods[0]["metadata"]["name"].as_str().context("it has a name")?;
    let text = faas(&["describe", "hello"])?;
    ensure!(text.contains(pod), "{text}");
    let answer = invoke(cli, folder, "to be echoed")?;
    ensure!(answer.trim_end() == "to be echoed", "{answer}");
    let logs = faas(&["logs", "hello", "--tail=false"])?;
    ensure!(logs.contains("testfn: listening on 3000"), "{logs}");
    faas(&["scale", "hello", "2"])?;
    faas(&["remove", "hello"])?;
    let list = faas(&["list"])?;
    ensure!(!list.contains("hello"), "{list}");
    Ok(())
}

/// What `faas generate` has rendered is applied by `kubectl`, and is a function like any other: called, put to
/// sleep, woken by a call. A deploy does not fight over it with whoever applied it, but says who that is.
async fn plain_manifests_are_served_when_they_are_applied() -> Result<()> {
    let world = World::start()?;
    let World { client, cluster, gateway, image } = &world;
    let cli = Cli::new(gateway)?;
    let folder = tempfile::tempdir()?;
    let stack = format!(
        "version: 1.0\nprovider: {{ name: openfaas }}\nfunctions:\n  plain:\n    image: {image}\n    \
         environment: {{ VERSION: one }}\n"
    );
    std::fs::write(folder.path().join("stack.yaml"), stack)?;
    let arguments = ["generate", "--api", "apps/v1", "-n", &cluster.namespace];
    let manifests = cli.ok(folder.path(), &arguments)?;
    ensure!(manifests == cli.ok(folder.path(), &arguments)?, "always the same");
    let file = folder.path().join("manifests.yaml");
    std::fs::write(&file, manifests)?;
    cluster.kubectl(&["apply", "--server-side", "-f", &file.to_string_lossy()])?;
    client.until("plain", "ready", |status| status["availableReplicas"] == 1).await?;
    let version = client.call("plain/version").await?.1;
    ensure!(version == "one", "{version}");
    to_zero(client, "plain").await?;
    let (status, version) = client.call("plain/version").await?;
    ensure!(status.is_success() && version == "one", "{status}: {version}");
    let newer = json!({ "service": "plain", "image": image, "envVars": { "VERSION": "two" } });
    let (status, text) = client.system(Method::PUT, "/system/functions", Some(newer)).await?;
    ensure!(status == StatusCode::CONFLICT && text.contains("kubectl"), "{status}: {text}");
    Ok(())
}

/// Calls it with what is to be sent on its input.
fn invoke(cli: &Cli, folder: &Path, body: &str) -> Result<String> {
    let mut command = cli.command(folder, &["invoke", "hello"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().context("no stdin")?.write_all(body.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "it ended with {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
