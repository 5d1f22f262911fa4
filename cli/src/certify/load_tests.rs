use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use super::*;
use crate::certify::Expect;

/// Answers each request as its path says, until the test ends.
fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || serve(&stream.unwrap()));
        }
    });
    url
}

fn serve(stream: &TcpStream) {
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(first)) = lines.next() {
        while lines.next().is_some_and(|line| !line.unwrap_or_default().is_empty()) {}
        let answer = match first.split(' ').nth(1) {
            Some("/ok") => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-replica: r1\r\n\r\nok",
            Some("/500") => "HTTP/1.1 500 X\r\ncontent-length: 4\r\n\r\nwhy?",
            Some("/short") => "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nok",
            Some("/chunks") => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
            Some("/other") => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno",
            Some("/never") => return std::thread::park(),
            _ => return,
        };
        let _ = (&*stream).write_all(answer.as_bytes());
        if answer.contains("length: 20") || answer.contains("chunked") {
            return;
        }
    }
}

fn plan(url: String, per_second: u32, paths: &'static [&'static str]) -> Plan {
    let script = move |number: u64| {
        let path = paths[number as usize % paths.len()].to_owned();
        Call::get(path, Expect::Exactly("ok".into())).fresh()
    };
    Plan { url, trust: Trust::default(), per_second, script: Arc::new(script) }
}

fn failures(report: &Report) -> Vec<String> {
    report.failures().iter().map(|o| o.failure.as_ref().unwrap().to_string()).collect()
}

#[tokio::test]
async fn every_way_to_fail_is_told() {
    let paths = &["/ok", "/500", "/short", "/chunks", "/other", "/reset"];
    let load = Load::start(plan(server(), 100, paths), "one").unwrap();
    load.calls(6).await.unwrap();
    let report = load.stop().await.unwrap();
    let mut first: Vec<_> = report.outcomes.iter().filter(|o| o.number < 6).collect();
    first.sort_by_key(|outcome| outcome.number);
    let told: Vec<_> = first.iter().map(|outcome| outcome.failure.clone()).collect();
    assert_eq!(told[0], None);
    assert_eq!(first[0].replica.as_deref(), Some("r1"));
    assert_eq!(told[1], Some(Failure::Status(500, "why?".to_owned())));
    assert!(matches!(told[2], Some(Failure::Truncated(_))), "{:?}", told[2]);
    assert!(matches!(told[3], Some(Failure::Truncated(_))), "{:?}", told[3]);
    assert!(matches!(told[4], Some(Failure::Wrong(_))), "{:?}", told[4]);
    assert!(matches!(told[5], Some(Failure::Reset(_))), "{:?}", told[5]);
    assert_eq!(first.iter().filter(|o| o.could_be_sent_again()).count(), 3);
}

#[tokio::test]
async fn a_gateway_that_is_not_there_refuses_every_call() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let load = Load::start(plan(format!("http://{free}"), 100, &["/ok"]), "one").unwrap();
    load.calls(3).await.unwrap();
    assert!(load.failures() >= 3);
    let told = failures(&load.stop().await.unwrap());
    assert!(told.iter().all(|line| line.starts_with("no connection: ")), "{told:?}");
}

#[tokio::test]
async fn calls_are_made_when_they_are_due_up_to_a_limit() {
    let limits = Limits { in_flight: 3, calls: 5 };
    let load = Load::within(limits, plan(server(), 100, &["/never"]), "one").unwrap();
    load.calls(2).await.unwrap();
    assert_eq!(load.failures(), 2, "three hang, and two were too many");
    let lines: Vec<_> = load.book.pages().outcomes.iter().map(|o| o.failure.clone()).collect();
    assert_eq!(lines, [Some(Failure::Stalled(3)), Some(Failure::Stalled(3))]);
    drop(load);

    let limits = Limits { in_flight: 3, calls: 5 };
    let load = Load::within(limits, plan(server(), 100, &["/ok"]), "one").unwrap();
    let error = load.calls(100).await.unwrap_err().to_string();
    assert!(error.starts_with("the load ended"), "{error}");
    assert_eq!(load.stop().await.unwrap().outcomes.len(), 5);
}

#[tokio::test]
async fn a_pause_makes_no_calls_and_steps_get_their_own() {
    let load = Load::start(plan(server(), 200, &["/ok"]), "one").unwrap();
    load.calls(3).await.unwrap();
    load.pause();
    load.settled().await.unwrap();
    load.step("two");
    load.resume();
    load.calls(3).await.unwrap();
    let report = load.stop().await.unwrap();
    assert_eq!(failures(&report), Vec::<String>::new());
    assert!(report.figures(0).calls >= 3 && report.figures(1).calls >= 3);
    assert!(report.figures(0).calls + report.figures(1).calls == report.outcomes.len());
}

#[test]
fn a_rate_that_no_load_can_have_is_refused() {
    for rate in [0, MOST_PER_SECOND + 1] {
        let error = Load::start(plan(server(), rate, &["/ok"]), "one").unwrap_err().to_string();
        assert!(error.starts_with("a load has at "), "{error}");
    }
}
