//! Calls through both hops: streaming, upgrades, big bodies, errors.

use std::io::{Read, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::{Method, StatusCode};
use serde_json::json;
use system::client::Client;
use system::gateway::Gateway;
use system::{image, raw};

/// Bytes of the big body: more than would fit beside it in the memory that is allowed.
const BIG_BYTES: usize = 2 << 30;
/// The most that a hop may hold while the big body passes, in KiB.
const MEMORY_LIMIT_KIB: u64 = 64 * 1024;

async fn deployed() -> Result<(Gateway, Client)> {
    let gateway = Gateway::start(&[])?;
    let client = Client::new(&gateway)?;
    client.deploy(json!({ "service": "f", "image": image::test_function()? })).await?;
    Ok((gateway, client))
}

#[tokio::test]
async fn headers_follow_the_contract() -> Result<()> {
    let (_gateway, client) = deployed().await?;
    let request = client
        .request(Method::GET, "/function/f/head?a=b")
        .header("X-Call-Id", "mine")
        .header("Connection", "keep-alive, X-Private")
        .header("X-Private", "1")
        .header("X-Forwarded-For", "192.0.2.7")
        .header("Traceparent", "00-0af7-b7ad-01");
    let response = request.send().await?;
    assert_eq!(response.headers()["x-call-id"], "mine");
    assert!(response.headers().contains_key("x-start-time"));
    assert!(response.headers().contains_key("x-duration-seconds"));
    let seen = response.text().await?.to_lowercase();
    for line in [
        "get /head?a=b",
        "x-call-id: mine",
        "x-forwarded-for: 192.0.2.7, 127.0.0.1",
        "x-forwarded-host: ",
        "forwarded: for=127.0.0.1;host=\"127.0.0.1:",
        "traceparent: 00-0af7-b7ad-01",
        "x-start-time: ",
    ] {
        assert!(seen.contains(line), "{line} not in {seen}");
    }
    assert!(!seen.contains("x-private"), "{seen}");
    let response = client.request(Method::GET, "/function/f").send().await?;
    let id = response.headers()["x-call-id"].to_str()?;
    assert_eq!(id.len(), 36, "{id} is a UUID");
    Ok(())
}

#[tokio::test]
async fn a_body_larger_than_memory_streams_through_both_ways() -> Result<()> {
    let (gateway, client) = deployed().await?;
    let piece = bytes::Bytes::from(vec![b'x'; 1 << 20]);
    let pieces = futures_util::stream::iter(
        (0..BIG_BYTES >> 20).map(move |_| Ok::<_, std::io::Error>(piece.clone())),
    );
    let request = client.request(Method::POST, "/function/f/count");
    let response = request.body(reqwest::Body::wrap_stream(pieces)).send().await?;
    assert_eq!(response.text().await?, BIG_BYTES.to_string());

    let path = format!("/function/f/big?bytes={BIG_BYTES}");
    let mut response = client.request(Method::GET, &path).send().await?;
    let mut bytes = 0;
    while let Some(chunk) = response.chunk().await? {
        bytes += chunk.len();
    }
    assert_eq!(bytes, BIG_BYTES);
    let pid = gateway.pid().context("no gateway")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u64 =
        peak.and_then(|p| p.split_whitespace().next()?.parse().ok()).context("no peak")?;
    assert!(peak < MEMORY_LIMIT_KIB, "the gateway took {peak} KiB");
    Ok(())
}

#[tokio::test]
async fn events_arrive_as_they_are_sent() -> Result<()> {
    let (_gateway, client) = deployed().await?;
    let mut stream = client.request(Method::GET, "/function/f/sse").send().await?;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert_eq!(stream.chunk().await?.as_deref(), Some(b"data: 0\n\n".as_slice()));
    client.call("f/release").await?;
    assert_eq!(stream.chunk().await?.as_deref(), Some(b"data: 1\n\n".as_slice()));
    assert_eq!(stream.chunk().await?, None);
    Ok(())
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel() -> Result<()> {
    let (gateway, _client) = deployed().await?;
    let port = gateway.port();
    tokio::task::spawn_blocking(move || -> Result<()> {
        let mut stream = raw::connect(port)?;
        stream.write_all(
            b"GET /function/f/upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
              Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n\r\n",
        )?;
        let head = raw::read_head(&mut stream)?;
        assert_eq!(raw::status(&head), 101, "{head}");
        for word in [b"ping".as_slice(), b"\x00\xff\x01", &[7; 100_000]] {
            stream.write_all(word)?;
            let mut back = vec![0; word.len()];
            stream.read_exact(&mut back)?;
            assert_eq!(back, word);
        }
        Ok(())
    })
    .await?
}

#[tokio::test]
async fn trailers_heads_and_expectations_pass() -> Result<()> {
    let (gateway, _client) = deployed().await?;
    let port = gateway.port();
    tokio::task::spawn_blocking(move || -> Result<()> {
        let ask = |head: &str| {
            raw::exchange(
                port,
                format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
            )
        };
        let answer = ask("GET /function/f/trailers HTTP/1.1\r\nTE: trailers")?;
        assert!(answer.to_lowercase().contains("x-sum: 42"), "{answer}");
        let answer = ask("HEAD /function/f/version HTTP/1.1")?;
        assert_eq!(raw::status(&answer), 200, "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");

        let mut stream = raw::connect(port)?;
        stream.write_all(
            b"POST /function/f/count HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\
              Content-Length: 3\r\nConnection: close\r\n\r\n",
        )?;
        let head = raw::read_head(&mut stream)?;
        assert_eq!(raw::status(&head), 100, "{head}");
        stream.write_all(b"abc")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        assert!(answer.ends_with('3'), "{answer}");

        let answer = raw::exchange(
            port,
            b"POST /function/f/count HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
              Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        )?;
        assert!(answer.ends_with('3'), "{answer}");
        Ok(())
    })
    .await?
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_504() -> Result<()> {
    let gateway = Gateway::start(&[])?;
    let client = Client::new(&gateway)?;
    let image = image::test_function()?;
    client
        .deploy(
            json!({ "service": "f", "image": image, "annotations": { "flint.dev/timeout": "1s" } }),
        )
        .await?;
    let response = client.request(Method::GET, "/function/f/sleep?ms=30000").send().await?;
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert!(response.headers().contains_key("x-openfaas-internal"));
    assert_eq!(client.call("f/sleep?ms=1").await?.0, StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn a_function_that_breaks_in_mid_call_is_502_and_comes_back() -> Result<()> {
    let (_gateway, client) = deployed().await?;
    let (status, body) = client.call("f/exit").await?;
    assert!(status.is_server_error(), "{status} {body}");
    tokio::time::timeout(Duration::from_secs(60), async {
        client
            .until("f", "started again", |s| {
                s["instances"][0]["restarts"].as_u64() >= Some(1) && s["availableReplicas"] == 1
            })
            .await
    })
    .await??;
    assert_eq!(client.call("f/version").await?.0, StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn metrics_have_the_contracts_names() -> Result<()> {
    let (gateway, client) = deployed().await?;
    client.call("f/version").await?;
    client.call("unknown").await?;
    let text = reqwest::get(format!("{}/metrics", gateway.metrics_url)).await?.text().await?;
    for series in [
        r#"gateway_function_invocation_total{code="200",function_name="f.openfaas-fn"} 1"#,
        r#"gateway_function_invocation_started{function_name="f.openfaas-fn"} 1"#,
        r#"gateway_functions_seconds_count{code="200",function_name="f.openfaas-fn"} 1"#,
        r#"gateway_service_count{function_name="f.openfaas-fn"} 1"#,
    ] {
        assert!(text.contains(series), "{series} not in {text}");
    }
    assert!(!text.contains("unknown"), "names that are not there make no series");
    let health = reqwest::get(format!("{}/healthz", gateway.metrics_url)).await?;
    assert_eq!((health.status(), health.text().await?.as_str()), (StatusCode::OK, "OK"));
    Ok(())
}
