//! Clients that are slow, many, or sent elsewhere.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process, setrlimit};
use serde_json::json;
use system::authority::Authority;
use system::client::Client;
use system::gateway::Gateway;
use system::load::{self, none_failed};
use system::world::World;
use system::{bundle, raw};
use tokio::time::timeout;

/// Longest wait for an answer; only a failing test takes so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Connections on which nearly nothing comes.
const SLOW: usize = 2000;
/// Calls of others meanwhile.
const CALLS: u64 = 100;

/// A client that has begun something and does not go on.
fn slow(port: u16, number: usize) -> Result<TcpStream> {
    let mut stream = raw::connect(port)?;
    let begun = match number % 4 {
        0 => "",
        1 => "GET /function/f/version HTTP/1.1\r\nHos",
        2 => "POST /function/f/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nfew",
        _ => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    };
    stream.write_all(begun.as_bytes())?;
    Ok(stream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_slow_connections_do_not_stop_others() -> Result<()> {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files)?;
    let World { gateway, client, image } = World::start("process").await?;
    client.deploy(json!({ "service": "f", "image": image })).await?;
    let port = gateway.port();
    let open = move || (0..SLOW).map(|number| slow(port, number)).collect::<Result<Vec<_>>>();
    let slow = tokio::task::spawn_blocking(open).await??;
    let load = load::start(&gateway, "/function/f/version")?;
    timeout(PATIENCE, load.calls(CALLS)).await??;
    none_failed(&load.stop().await?)?;
    drop(slow);
    let (status, _) = client.system(reqwest::Method::GET, "/system/functions", None).await?;
    ensure!(status.is_success(), "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_ends_says_so_before_it_stops_to_serve() -> Result<()> {
    let mut gateway = Gateway::start_on("process", &["--shutdown-delay=1h"])?;
    let client = Client::new(&gateway)?;
    let image = bundle::test_function(&client).await?;
    client.deploy(json!({ "service": "f", "image": image })).await?;
    let health = format!("{}/healthz", gateway.metrics_url);
    ensure!(reqwest::get(&health).await?.status().is_success());
    let pid = gateway.pid().and_then(|pid| Pid::from_raw(pid.try_into().ok()?)).context("a pid")?;
    kill_process(pid, Signal::TERM)?;
    let unready = async {
        while reqwest::get(&health).await?.status() != 503 {
            tokio::task::yield_now().await;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, unready).await??;
    // New connections and calls go on.
    let mut stream = raw::connect(gateway.port())?;
    stream
        .write_all(b"GET /function/f/version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    tokio::task::block_in_place(|| stream.read_to_string(&mut answer))?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // A second signal cuts the wait short.
    ensure!(tokio::task::block_in_place(|| gateway.stop())? == Some(0));
    Ok(())
}

#[tokio::test]
async fn the_cli_certifies_a_gateway_whose_authority_it_is_told() -> Result<()> {
    let authority = Authority::new()?;
    let flags = authority.flags();
    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    flags.push("--plain-http=local");
    let gateway = Gateway::start_on("process", &flags)?;
    let cli = system::cli::Cli::new(&gateway)?;
    let (url, file) = (format!("https://localhost:{}", gateway.tls_port()), authority.path());
    let [password, file] = [gateway.password()?, file.display().to_string()];
    let dir = tempfile::tempdir()?;
    let there = ["--gateway", &url, "--tls-ca", &file];
    cli.ok(dir.path(), &[&["login", &format!("--password={password}")], &there[..]].concat())?;
    let check = ["certify", "--duration=1s", "--rate=20", "--replicas=2", "--json"];
    let page = cli.ok(dir.path(), &[&check, &there[..]].concat())?;
    let page: serde_json::Value = serde_json::from_str(&page)?;
    ensure!(page["passed"] == true && page["failures"] == 0, "{page:#}");
    Ok(())
}
