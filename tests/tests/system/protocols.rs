//! What clients may speak: gRPC through both hops, and https.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Request;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::Certificate;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use system::client::Client;
use system::gateway::Gateway;
use system::world::World;
use system::{bundle, on_each_backend};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for an answer; only a failing test takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

on_each_backend! {
    grpc_streams_both_ways_through_gateway_and_watchdog,
}

async fn grpc_streams_both_ways_through_gateway_and_watchdog(world: World) -> Result<()> {
    let World { gateway, client, image } = world;
    client.deploy(json!({ "service": "chat", "image": image })).await?;
    let stream = TcpStream::connect(("127.0.0.1", gateway.port())).await?;
    let (grpc, connection) = h2::client::handshake(stream).await?;
    tokio::spawn(connection);
    for (path, metadata) in [("/function/chat/test.Echo/Chat", ""), ("/test.Echo/Chat", "chat")] {
        timeout(PATIENCE, chat(&grpc, path, metadata)).await??;
    }
    Ok(())
}

/// Three messages, each sent when the one before has come back, and a status.
async fn chat(grpc: &h2::client::SendRequest<Bytes>, path: &str, metadata: &str) -> Result<()> {
    let request = Request::post(format!("http://gateway{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("x-faas-function", metadata);
    let mut grpc = grpc.clone().ready().await?;
    let (answer, mut sender) = grpc.send_request(request.body(())?, false)?;
    sender.send_data(Bytes::from_static(b"0"), false)?;
    let mut body = answer.await?.into_body();
    for message in 0..3 {
        let echoed = body.data().await.context("a message")??;
        assert_eq!(echoed, message.to_string());
        let next = Bytes::from((message + 1).to_string());
        if message < 2 {
            sender.send_data(next, false)?;
        }
    }
    sender.send_data(Bytes::new(), true)?;
    while let Some(rest) = body.data().await {
        assert_eq!(rest?, "");
    }
    let status = body.trailers().await?.context("trailers")?;
    assert_eq!(status["grpc-status"], "0");
    Ok(())
}

#[tokio::test]
async fn functions_are_called_by_https_and_told_so() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()])?;
    let files = ["tls.crt", "tls.key"].map(|name| dir.path().join(name));
    std::fs::write(&files[0], cert.pem())?;
    std::fs::write(&files[1], signing_key.serialize_pem())?;
    let [certificate, key] = files.each_ref().map(|path| path.to_str().unwrap_or_default());
    let tls = ["--tls-cert", certificate, "--tls-key", key, "--tls-port", "0"];
    let gateway = Gateway::start_on("process", &[&tls[..], &["--plain-http", "local"]].concat())?;
    let client = Client::new(&gateway)?;
    let image = bundle::test_function(&client).await?;
    client.deploy(json!({ "service": "f", "image": image })).await?;
    // Without TLS it is the word to end.
    let pid = gateway.pid().and_then(|pid| Pid::from_raw(pid.try_into().ok()?)).context("a pid")?;
    kill_process(pid, Signal::HUP)?;
    let https = reqwest::Client::builder()
        .tls_certs_only([Certificate::from_pem(cert.pem().as_bytes())?])
        .timeout(PATIENCE)
        .build()?;
    let url = format!("https://localhost:{}/function/f/head", gateway.tls_port());
    let seen = https.get(url).send().await?.text().await?.to_lowercase();
    for line in ["x-forwarded-proto: https\n", "host=\"localhost:", ";proto=https\n"] {
        assert!(seen.contains(line), "{line} not in {seen}");
    }
    let (_, seen) = client.call("f/head").await?;
    assert!(seen.to_lowercase().contains(";proto=http\n"), "{seen}");
    Ok(())
}
