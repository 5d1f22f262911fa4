//! Templates and samples, built and run for real.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use reqwest::{Method, StatusCode};
use system::cli::Cli;
use system::client::Client;
use system::gateway::Gateway;
use system::registry::Registry;
use system::world::World;
use system::{docker, on_each_backend, project, run};

on_each_backend! {
    the_five_samples_are_up_with_one_command,
    every_starter_answers,
    a_handler_that_throws_is_500_and_logged,
    a_build_that_fails_shows_the_step_and_deploys_nothing,
}

/// Every template that `faas new` offers, what its starter is sent and what it answers.
const STARTERS: [(&str, &str, &str); 6] = [
    ("rust", "hi", "Hello from Rust. You said: hi"),
    ("node22", "hi", r#"{"message":"Hello from Node.js","body":"hi"}"#),
    ("python3-http", "hi", "Hello from Python. You said: hi"),
    ("golang-middleware", "hi", "Hello from Go. You said: hi"),
    ("bash-streaming", "hi", "You said: hi"),
    ("dockerfile", "hi", "hi"),
];

fn copy(names: &[&str], to: &Path) -> Result<()> {
    let from = names.iter().map(|name| project().join(name));
    run(Command::new("cp").arg("-r").args(from).arg(to)).map(|_| ())
}

async fn post(client: &Client, path: &str, body: &str) -> Result<(StatusCode, String)> {
    let request = client.request(Method::POST, &format!("/function/{path}"));
    let response =
        request.header("content-type", "text/plain").body(body.to_owned()).send().await?;
    Ok((response.status(), response.text().await?))
}

async fn the_five_samples_are_up_with_one_command(world: World) -> Result<()> {
    let World { gateway, client, .. } = world;
    let cli = Cli::new(&gateway)?;
    let dir = tempfile::tempdir()?;
    copy(&["stack.yml", "samples"], dir.path())?;
    let printed = cli.ok(dir.path(), &["up", "--gateway", &gateway.url])?;
    for name in ["pinyin", "notice", "search", "wordcount", "hello-go"] {
        assert!(printed.contains(&format!("{}/function/{name}", gateway.url)), "{printed}");
        client.until(name, "ready", |status| status["availableReplicas"] == 1).await?;
    }
    assert_eq!(post(&client, "pinyin", "北京").await?.1, "bei jing");
    assert_eq!(post(&client, "wordcount", "b a b").await?.1, "2 b\n1 a\n");
    assert_eq!(post(&client, "hello-go", "Ada").await?.1, "Hello, Ada!\n");
    assert_eq!(client.call("notice?id=9").await?.0, StatusCode::NOT_FOUND);
    let (status, found) = client.call("search?q=beijing").await?;
    assert_eq!(status, StatusCode::OK, "{found}");
    assert!(found.contains("北京天气") && !found.contains("上海"), "{found}");
    Ok(())
}

async fn every_starter_answers(world: World) -> Result<()> {
    let World { gateway, client, .. } = world;
    let cli = Cli::new(&gateway)?;
    let dir = tempfile::tempdir()?;
    // A Dockerfile needs Docker, and says so.
    let (others, dockerfile) = STARTERS.split_at(STARTERS.len() - 1);
    let starters = if gateway.provider() == "docker" { &STARTERS } else { others };
    for (lang, _, _) in starters {
        cli.ok(dir.path(), &["new", "--lang", lang, lang, "--prefix", "flint-test", "--quiet"])?;
        cli.ok(dir.path(), &["up", "--filter", lang, "--gateway", &gateway.url])?;
    }
    for (lang, sent, answer) in starters {
        client.until(lang, "ready", |status| status["availableReplicas"] == 1).await?;
        let wanted = (StatusCode::OK, (*answer).to_owned());
        assert_eq!(post(&client, lang, sent).await?, wanted, "{lang}");
    }
    if gateway.provider() == "process" {
        let lang = dockerfile[0].0;
        cli.ok(dir.path(), &["new", "--lang", lang, lang, "--quiet"])?;
        let error = cli.fails(dir.path(), &["up", "--filter", lang])?;
        assert!(error.contains("needs Docker"), "{error}");
    }
    Ok(())
}

async fn a_handler_that_throws_is_500_and_logged(world: World) -> Result<()> {
    let World { gateway, client, .. } = world;
    let cli = Cli::new(&gateway)?;
    let dir = tempfile::tempdir()?;
    for (lang, file, code) in [
        ("node22", "handler.js", "module.exports = async () => { throw new Error('boom-js') }\n"),
        (
            "python3-http",
            "handler.py",
            "def handle(event, context):\n    raise ValueError('boom-py')\n",
        ),
    ] {
        cli.ok(
            dir.path(),
            &["new", "--lang", lang, lang, "--prefix", "flint-test-throw", "--quiet"],
        )?;
        std::fs::write(dir.path().join(lang).join(file), code)?;
        for test in ["handler.test.js", "handler_test.py"] {
            let _ = std::fs::remove_file(dir.path().join(lang).join(test));
        }
        cli.ok(dir.path(), &["up", "--filter", lang, "--gateway", &gateway.url])?;
        client.until(lang, "ready", |status| status["availableReplicas"] == 1).await?;
        assert_eq!(post(&client, lang, "").await?.0, StatusCode::INTERNAL_SERVER_ERROR);
        let logs = cli.ok(dir.path(), &["logs", lang, "--tail=false"])?;
        assert!(logs.contains("boom-"), "{logs}");
    }
    Ok(())
}

async fn a_build_that_fails_shows_the_step_and_deploys_nothing(world: World) -> Result<()> {
    let World { gateway, client, .. } = world;
    let cli = Cli::new(&gateway)?;
    let dir = tempfile::tempdir()?;
    cli.ok(
        dir.path(),
        &["new", "--lang", "golang-middleware", "bad", "--prefix", "flint-test", "--quiet"],
    )?;
    std::fs::write(dir.path().join("bad/handler.go"), "package function\n\nfunc Handle( {\n")?;
    let error = cli.fails(dir.path(), &["up", "--gateway", &gateway.url])?;
    assert!(error.contains("handler.go:3"), "{error}");
    assert_eq!(client.call("bad").await?.0, StatusCode::NOT_FOUND);
    Ok(())
}

#[tokio::test]
async fn images_go_to_a_registry_and_come_back_with_credentials() -> Result<()> {
    let registry = Registry::start()?;
    let config = registry.docker_config()?;
    let gateway = Gateway::start(&["--docker-config", &config])?;
    let (mut cli, client) = (Cli::new(&gateway)?, Client::new(&gateway)?);
    let dir = tempfile::tempdir()?;
    let new = ["new", "--lang", "bash-streaming", "f", "--prefix", &registry.host, "--quiet"];
    cli.ok(dir.path(), &new)?;
    cli.ok(dir.path(), &["build"])?;
    let error = cli.fails(dir.path(), &["push"])?;
    assert!(error.contains(&registry.host), "without a password: {error}");
    cli.set_docker_config(&config);
    cli.ok(dir.path(), &["push"])?;
    let image = format!("{}/f:latest", registry.host);
    docker(&["rmi", &image])?;
    cli.ok(dir.path(), &["deploy", "--wait", "--gateway", &gateway.url])?;
    assert_eq!(post(&client, "f", "hi").await?.1, "You said: hi");
    client.remove("f").await?;
    docker(&["rmi", &image])?;
    Ok(())
}
