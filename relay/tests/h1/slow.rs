//! Clients that are slow, on purpose or not.

use std::io::{Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use relay::{Body, BodyRate, ServeOptions};

use crate::harness::{Odd, Served, Tell, read_all, read_to, serve, told};

const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";

/// Wants a thousand bytes per second; `early` answers before it reads.
fn impatient(early: bool) -> Served {
    let rate = BodyRate { bytes_per_second: 1000, window: Duration::from_millis(200) };
    let options = ServeOptions { min_body_rate: Some(rate), ..ServeOptions::default() };
    serve(options, move || {
        move |request: Request<Body>, _| async move {
            if early {
                return Response::new(request.into_body());
            }
            let answer = match request.into_body().collect().await {
                Ok(whole) => format!("{} bytes", whole.to_bytes().len()),
                Err(error) => error.to_string(),
            };
            Response::new(Body::from(answer))
        }
    })
}

#[test]
fn a_body_that_comes_too_slowly_is_answered_with_408() {
    let served = impatient(false);
    for some in ["", "x"] {
        let mut stream = served.connect();
        stream.write_all(POST).expect("open");
        stream.write_all(some.as_bytes()).expect("open");
        let answer = read_all(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(
            answer.contains("x-faas-error") && answer.contains("connection: close"),
            "{answer}"
        );
    }
    served.end();
}

#[test]
fn a_body_that_comes_too_slowly_resets_an_answer_that_has_begun() {
    let served = impatient(true);
    let mut stream = served.connect();
    stream.write_all(POST).expect("open");
    stream.write_all(b"some").expect("open");
    read_to(&mut stream, "some").expect("an answer");
    let error = stream.read_to_end(&mut Vec::new()).expect_err("no proper end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    served.end();
}

#[test]
fn a_body_that_comes_fast_enough_may_take_its_time() {
    let served = impatient(false);
    let mut stream = served.connect();
    stream.write_all(POST).expect("open");
    for _ in 0..10 {
        stream.write_all(&[b'x'; 100]).expect("open");
        thread::sleep(Duration::from_millis(40));
    }
    read_to(&mut stream, "1000 bytes").expect("an answer");
    served.end();
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let (sender, dropped) = mpsc::channel();
    let options =
        ServeOptions { write_stall_timeout: Duration::from_millis(200), ..ServeOptions::default() };
    let served = serve(options, move || {
        let sender = sender.clone();
        move |_, _| {
            let body = Body::boxed(Odd { endless: true, sent: false });
            let body = body.with_guard(Tell(sender.clone()));
            std::future::ready(Response::new(body))
        }
    });
    let mut stream = served.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("open");
    told(&dropped);
    let error = stream.read_to_end(&mut Vec::new()).expect_err("no proper end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    served.end();
}

#[test]
fn a_slow_head_keeps_nobody_else_waiting() {
    let served = serve(ServeOptions::default(), crate::harness::hello);
    let slow: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = served.connect();
            stream.write_all(b"GET / HTTP/1.1\r\nHos").expect("open");
            stream
        })
        .collect();
    let answer = served.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(answer.ends_with("hello"), "{answer}");
    drop(slow);
    served.end();
}
