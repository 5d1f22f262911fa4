//! Clients that call too often, too slowly, or with too much.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use provider::Address;

use crate::house::House;
use crate::upstream::{Reply, Upstream, ok};

const FUNCTION: &str = r#"{"service":"f","image":"i"}"#;
/// Longest wait for a byte; only a failing test takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// The number of seconds in `Retry-After`.
fn retry_after(answer: &str) -> u64 {
    let line = answer.lines().find_map(|line| line.strip_prefix("retry-after: "));
    line.expect("a header").trim().parse().expect("whole seconds")
}

fn is_refused(answer: &str, words: &[&str]) {
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.contains("x-faas-error: rate_limited\r\n"), "{answer}");
    for word in words {
        assert!(answer.contains(word), "{word} is not in {answer}");
    }
}

impl House {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn throttled(&self, limit: &str) -> u64 {
        let text = String::from_utf8(self.metrics.text().unwrap()).unwrap();
        let labels = format!("{{function_name=\"f.openfaas-fn\",limit=\"{limit}\"}} ");
        let line = text.lines().find_map(|line| {
            line.strip_prefix("flint_function_calls_throttled_total")?.strip_prefix(&*labels)
        });
        line.map_or(0, |count| count.parse().unwrap())
    }
}

fn rest(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn a_client_that_calls_too_often_is_told_the_limit_and_when_to_come_again() {
    let house = House::with(&["--client-rate", "2/h"]).await;
    house.deploy(FUNCTION).await;
    assert!(house.call("/function/f").await.unwrap().starts_with("HTTP/1.1 200 "));
    assert!(house.call("/function/none").await.unwrap().starts_with("HTTP/1.1 404 "));
    let refused = house.call("/function/f").await.unwrap();
    is_refused(&refused, &["127.0.0.1", "(2/h)", "--client-rate", "--trusted-proxies"]);
    assert!((1700..=1800).contains(&retry_after(&refused)), "{refused}");
    let other = house.call("/function/none").await.unwrap();
    is_refused(&other, &["--client-rate"]);
    assert_eq!(house.throttled("client"), 1, "there is no series for what is not there");
    let metrics = &house.directory.get("f").unwrap().live.metrics;
    assert_eq!((metrics.invocations(), metrics.started.get()), (1, 1), "it was not begun");
}

#[tokio::test]
async fn clients_behind_a_trusted_proxy_are_told_apart() {
    let flags = ["--client-rate", "1/h", "--trusted-proxies", "127.0.0.0/8,10.0.0.0/8"];
    let house = House::with(&flags).await;
    house.deploy(FUNCTION).await;
    for (hops, is_free) in [
        ("192.0.2.1", true),
        ("192.0.2.2", true),
        ("192.0.2.1", false),
        ("192.0.2.9, 192.0.2.1, 10.1.1.1", false),
        ("2001:db8:0:1::1", true),
        ("2001:db8:0:1::2", false),
        ("2001:db8:0:2::1", true),
    ] {
        let answer = house.call_with("/function/f", &format!("X-Forwarded-For: {hops}"));
        let answer = answer.await.unwrap();
        match is_free {
            true => assert!(answer.starts_with("HTTP/1.1 200 "), "{hops}: {answer}"),
            false => is_refused(&answer, &[hops.split(", ").nth(1).unwrap_or(hops)]),
        }
    }
}

#[tokio::test]
async fn a_client_cannot_choose_its_address() {
    let house = House::with(&["--client-rate", "1/h"]).await;
    house.deploy(FUNCTION).await;
    for (hop, status) in [("192.0.2.1", "200"), ("192.0.2.2", "429")] {
        let answer = house.call_with("/function/f", &format!("X-Forwarded-For: {hop}"));
        let answer = answer.await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

#[tokio::test]
async fn a_function_takes_as_many_calls_as_its_annotation_says() {
    let house = House::new().await;
    let limited = r#"{"service":"f","image":"i",
        "annotations":{"flint.dev/rate-limit":"1/h burst 3"}}"#;
    house.deploy(limited).await;
    house.deploy(r#"{"service":"g","image":"i"}"#).await;
    for _ in 0..3 {
        assert!(house.call("/function/f").await.unwrap().starts_with("HTTP/1.1 200 "));
    }
    let refused = house.call("/function/f").await.unwrap();
    is_refused(&refused, &["f.openfaas-fn", "(1/h burst 3)", "flint.dev/rate-limit"]);
    assert!((3500..=3600).contains(&retry_after(&refused)), "{refused}");
    assert!(house.call("/function/g").await.unwrap().starts_with("HTTP/1.1 200 "));
    assert_eq!((house.throttled("function"), house.throttled("client")), (1, 0));
    // A deploy with a higher limit counts at once.
    house.deploy(&limited.replace("1/h burst 3", "1000/s")).await;
    while house.call("/function/f").await.unwrap().starts_with("HTTP/1.1 429 ") {}
    house.deploy(FUNCTION).await;
    for _ in 0..9 {
        assert!(house.call("/function/f").await.unwrap().starts_with("HTTP/1.1 200 "));
    }
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_408() {
    let house = House::with(&["--min-body-rate", "1Ki"]).await;
    let upstream = Upstream::new(|_, _| Reply::Bytes(ok("all of it")));
    house.fake.set_address(Address::Tcp(upstream.address));
    house.deploy(FUNCTION).await;
    let mut slow = house.connect();
    write!(slow, "POST /function/f HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\nslow")
        .unwrap();
    let answer = tokio::task::spawn_blocking(|| rest(slow)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let house = House::with(&["--write-stall-timeout", "300ms"]).await;
    let upstream = Upstream::new(|_, _| Reply::Bytes(ok(&"x".repeat(64 << 20))));
    house.fake.set_address(Address::Tcp(upstream.address));
    house.deploy(FUNCTION).await;
    let mut deaf = house.open("/function/f");
    house.in_flight(1).await;
    tokio::time::timeout(PATIENCE, house.in_flight(0)).await.unwrap();
    deaf.set_read_timeout(Some(PATIENCE)).unwrap();
    let error = deaf.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn heads_and_targets_are_as_large_as_the_flags_say() {
    let house = House::with(&["--max-header-size", "2Ki", "--max-uri-size", "512"]).await;
    house.deploy(FUNCTION).await;
    let path = |bytes: usize| format!("/function/f?{}", "x".repeat(bytes - 12));
    for (bytes, status) in [(512, "200"), (513, "414")] {
        let answer = house.call(&path(bytes)).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    for (bytes, status) in [(1800, "200"), (2048, "431")] {
        let header = format!("X-Long: {}", "x".repeat(bytes));
        let answer = house.call_with("/function/f", &header).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_above_the_limit_wait_and_are_not_refused() {
    let house = House::with(&["--max-connections", "3"]).await;
    house.deploy(FUNCTION).await;
    let idle: Vec<_> = (0..3).map(|_| house.connect()).collect();
    let mut waits = house.connect();
    write!(waits, "GET /function/f HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    waits.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let early = waits.read(&mut [0]).unwrap_err().kind();
    assert!(matches!(early, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{early}");
    waits.set_read_timeout(Some(PATIENCE)).unwrap();
    drop(idle);
    let answer = tokio::task::spawn_blocking(|| rest(waits)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
