//! What becomes of connections.

use std::io::{Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use http::Response;
use relay::{Body, Places, ServeOptions};
use tokio::time::Instant;

use crate::harness::{
    Odd, PATIENCE, Tell, hello, proxy, read_all, read_to, serve, serve_on, told, upstream,
};

#[test]
fn slow_heads_and_idle_connections_are_closed() {
    let quick = Duration::from_millis(200);
    let options = ServeOptions { header_timeout: quick, ..ServeOptions::default() };
    let served = serve(options, hello);
    assert_eq!(served.ask(b"GET / HTTP/1.1\r\nHos"), "");
    served.end();

    let options = ServeOptions { idle_timeout: quick, ..ServeOptions::default() };
    let served = serve(options, hello);
    assert_eq!(served.ask(b""), "");
    let answer = served.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.ends_with("hello"), "{answer}");
    served.end();
}

#[test]
fn no_more_connections_than_allowed() {
    let options = ServeOptions { places: Some(Places::new(1)), ..ServeOptions::default() };
    let served = serve(options, hello);
    let mut first = served.connect();
    first.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("open");
    read_to(&mut first, "hello").expect("an answer");
    let mut second = served.connect();
    second.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("open");
    second.set_nonblocking(true).expect("a socket");
    first.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("open");
    read_to(&mut first, "hello").expect("an answer");
    let early = second.read(&mut [0]).expect_err("it waits");
    assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock);
    second.set_nonblocking(false).expect("a socket");
    drop(first);
    read_to(&mut second, "hello").expect("its turn");
    drop(second);
    served.end();
}

#[test]
fn a_client_that_does_not_read_cannot_hold_a_call_beyond_its_deadline() {
    let (sender, dropped) = mpsc::channel();
    let options =
        ServeOptions { header_timeout: Duration::from_millis(100), ..ServeOptions::default() };
    let served = serve(options, move || {
        let sender = sender.clone();
        move |_, _| {
            let guard = Tell(sender.clone());
            let deadline = Instant::now() + Duration::from_millis(300);
            let body = Body::boxed(Odd { endless: true, sent: false });
            let body = body.with_deadline(deadline).with_guard(guard);
            std::future::ready(Response::new(body))
        }
    });
    let mut stream = served.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("open");
    dropped.recv_timeout(PATIENCE).expect("at the deadline");
    served.end();
}

#[test]
fn all_threads_share_one_port() {
    let served = serve_on(3, ServeOptions::default(), || {
        |_, _| async {
            let name = thread::current().name().map(str::to_owned);
            Response::new(Body::from(name.unwrap_or_default()))
        }
    });
    for _ in 0..10 {
        let answer = served.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert!(answer.contains("data-"), "{answer}");
    }
    served.end();
}

#[test]
fn a_call_ends_with_its_client() {
    let (asked, asks) = mpsc::channel();
    let (sender, dropped) = mpsc::channel();
    let served = serve(ServeOptions::default(), move || {
        let (asked, sender) = (asked.clone(), sender.clone());
        move |request: http::Request<Body>, _| {
            let guard = Tell(sender.clone());
            asked.send(()).expect("a listener");
            async move {
                let (_guard, _request) = (guard, request);
                std::future::pending().await
            }
        }
    });
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nwhole",
        // Nobody reads the body, and still it is seen.
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    ] {
        let mut stream = served.connect();
        stream.write_all(request.as_bytes()).expect("open");
        told(&asks);
        drop(stream);
        told(&dropped);
    }
    served.end();
}

#[test]
fn the_upstream_learns_that_the_client_is_gone() {
    let (asked, asks) = mpsc::channel();
    let (sender, gone) = mpsc::channel();
    let target = upstream(move |number, mut stream| {
        read_to(&mut stream, "\r\n\r\n").expect("a head");
        if number == 1 {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";
            stream.write_all(head.as_bytes()).expect("open");
        }
        asked.send(()).expect("a listener");
        assert_eq!(read_all(&mut stream), "");
        sender.send(()).expect("a listener");
    });
    let served = proxy(ServeOptions::default(), target);
    for begun in [false, true] {
        let mut stream = served.connect();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("open");
        told(&asks);
        if begun {
            read_to(&mut stream, "2\r\nok\r\n").expect("the beginning");
        }
        drop(stream);
        told(&gone);
    }
    served.end();
}

#[test]
fn idle_connections_take_little_memory() {
    let served = serve(ServeOptions::default(), hello);
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let open = |count: usize| -> Vec<_> {
        let mut all: Vec<_> = (0..count).map(|_| served.connect()).collect();
        for stream in &mut all {
            stream.write_all(request).expect("open");
            read_to(stream, "hello").expect("an answer");
        }
        all
    };
    let warm = open(100);
    let before = resident_kib();
    let all = open(2000);
    let each = (resident_kib() - before) as f64 / all.len() as f64;
    // The goal is 20; a read buffer alone would be 8.
    assert!(each < 6.0, "{each} KiB a connection");
    drop((warm, all));
    served.end();
}

fn resident_kib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}
