//! Bodies, both ways.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::sync::mpsc;
use std::thread;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use relay::{Body, Call, Pool, PoolOptions, Rules, Sendable, ServeOptions};

use crate::harness::{
    OK, Odd, PATIENCE, Tell, proxy, read_all, read_to, run, serve, told, upstream,
};

#[test]
fn a_body_that_fails_resets() {
    let served = serve(ServeOptions::default(), || {
        |_, _| async { Response::new(Body::boxed(Odd { endless: false, sent: false })) }
    });
    for version in ["1.1", "1.0"] {
        let mut stream = served.connect();
        let request = format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("open");
        let mut text = Vec::new();
        let error = stream.read_to_end(&mut text).expect_err("no proper end");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    served.end();
}

#[test]
fn guards_go_at_the_end_of_the_body_or_of_the_client() {
    let (sender, dropped) = mpsc::channel();
    let served = serve(ServeOptions::default(), move || {
        let sender = sender.clone();
        move |request: Request<Body>, _| {
            let guard = Tell(sender.clone());
            async move {
                let body = match request.uri().path() {
                    "/endless" => Body::boxed(Odd { endless: true, sent: false }),
                    _ => Body::from("hello"),
                };
                Response::new(body.with_guard(guard))
            }
        }
    });
    let mut stream = served.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("open");
    read_to(&mut stream, "hello").expect("an answer");
    dropped.recv_timeout(PATIENCE).expect("at the end of the body");
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").expect("open");
    read_to(&mut stream, "xxxx").expect("some of it");
    drop(stream);
    dropped.recv_timeout(PATIENCE).expect("when the client is gone");
    served.end();
}

#[test]
fn request_bodies_have_a_limit() {
    let target = upstream(|_, mut stream| drop(read_all(&mut stream)));
    let served = serve(ServeOptions::default(), move || {
        let pool = Pool::new(PoolOptions::default());
        let target = target.clone();
        move |request, _| {
            let (pool, target) = (pool.clone(), target.clone());
            async move {
                let rules = Rules { max_body_bytes: Some(4), ..Rules::default() };
                let error = pool.send(&target, &mut Call::forward(request, &rules)).await;
                Response::new(Body::from(error.expect_err("too large").to_string()))
            }
        }
    });
    let mut stream = served.connect();
    stream
        .write_all(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
        )
        .expect("open");
    read_to(&mut stream, "the body is larger than 4 bytes").expect("an answer");
    drop(stream);
    served.end();
}

#[test]
fn any_body_passes_through_the_body_type() {
    run(async {
        let text = http_body_util::StreamBody::new(futures_util::stream::iter([
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"ab"))),
            Ok(Frame::data(Bytes::from_static(b"cd"))),
        ]));
        let whole = Body::boxed(text).with_limit(4).collect().await.expect("a body");
        assert_eq!(whole.to_bytes(), "abcd");
        assert!(Body::from("abcde").with_limit(4).collect().await.is_err());
        assert!(Body::empty().collect().await.expect("a body").to_bytes().is_empty());
    });
}

#[test]
fn bodies_stream_both_ways_at_once() {
    let target = upstream(|_, mut stream| {
        let head = read_to(&mut stream, "\r\n\r\n").expect("a head").to_ascii_lowercase();
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).expect("open");
        // Each piece is answered before the next one is sent.
        while let Some(line) = read_to(&mut stream, "\r\n") {
            let size = usize::from_str_radix(line.trim(), 16).expect("a size");
            let rest = read_to(&mut stream, "\r\n").expect("data");
            stream.write_all(format!("{size:x}\r\n{rest}").as_bytes()).expect("open");
            if size == 0 {
                return;
            }
        }
    });
    let served = proxy(ServeOptions::default(), target);
    let mut stream = served.connect();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("open");
    read_to(&mut stream, "\r\n\r\n").expect("a head before any body");
    for piece in ["one", "two", "three"] {
        let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
        stream.write_all(chunk.as_bytes()).expect("open");
        assert_eq!(read_to(&mut stream, piece).expect("an echo"), chunk[..chunk.len() - 2]);
        read_to(&mut stream, "\r\n").expect("an echo");
    }
    stream.write_all(b"0\r\n\r\n").expect("open");
    assert_eq!(read_to(&mut stream, "\r\n\r\n").expect("an end"), "0\r\n\r\n");
    drop(stream);
    served.end();
}

#[test]
fn large_bodies_go_through_whole() {
    let target = upstream(|_, mut stream| {
        let head = read_to(&mut stream, "\r\n\r\n").expect("a head").to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.expect("a length").parse().expect("a number")];
        stream.read_exact(&mut body).expect("a body");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).expect("open");
        stream.write_all(&body).expect("open");
    });
    let served = proxy(ServeOptions::default(), target);
    let body: Vec<u8> = (0..20_000_000_u32).map(|at| (at / 7) as u8).collect();
    let mut stream = served.connect();
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).expect("open");
    stream.write_all(&body).expect("open");
    read_to(&mut stream, "\r\n\r\n").expect("a head");
    let mut came = vec![0; body.len()];
    stream.read_exact(&mut came).expect("a body");
    assert!(came == body, "it came differently");
    drop(stream);
    served.end();
}

#[test]
fn whoever_waits_for_continue_is_told_when_the_upstream_wants_the_body() {
    let target = upstream(|number, mut stream| {
        let head = read_to(&mut stream, "\r\n\r\n").expect("a head").to_ascii_lowercase();
        assert!(head.contains("expect: 100-continue"), "{head}");
        if number == 0 {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").expect("open");
            read_to(&mut stream, "hello").expect("a body");
            stream.write_all(OK).expect("open");
        } else {
            let answer = "HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno";
            stream.write_all(answer.as_bytes()).expect("open");
            assert_eq!(read_all(&mut stream), "", "the body is not sent");
        }
    });
    let served = proxy(ServeOptions::default(), target);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    let mut stream = served.connect();
    stream.write_all(head.as_bytes()).expect("open");
    assert_eq!(read_to(&mut stream, "\r\n\r\n").expect("a word"), "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").expect("open");
    read_to(&mut stream, "\r\n\r\nok").expect("an answer");
    drop(stream);
    let mut stream = served.connect();
    stream.write_all(head.as_bytes()).expect("open");
    let answer = read_all(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 417 ") && answer.ends_with("no"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    served.end();
}

#[test]
fn an_upstream_that_knows_no_continue_gets_the_body_in_the_end() {
    let target = upstream(|_, mut stream| {
        read_to(&mut stream, "\r\n\r\nhello").expect("all of it");
        stream.write_all(OK).expect("open");
    });
    let served = proxy(ServeOptions::default(), target);
    let answer = served.ask(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\
          Connection: close\r\n\r\nhello",
    );
    // Who has begun to send needs no word.
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok"), "{answer}");
    served.end();
}

#[test]
fn an_early_answer_is_seen_by_whoever_is_still_sending() {
    let served = serve(ServeOptions::default(), || {
        |_, _| std::future::ready(Response::new(Body::from("hello")))
    });
    let head =
        |length: usize| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    // What is short enough is read away, and the connection goes on.
    let mut stream = served.connect();
    for _ in 0..2 {
        stream.write_all(head(1 << 20).as_bytes()).expect("open");
        stream.write_all(&vec![b'x'; 1 << 20]).expect("open");
        read_to(&mut stream, "hello").expect("an answer");
    }
    drop(stream);
    // More than that is not, but the client is not reset before it has read the answer.
    let mut stream = served.connect();
    stream.write_all(head(64 << 20).as_bytes()).expect("open");
    for _ in 0..64 {
        stream.write_all(&vec![b'x'; 1 << 20]).expect("open");
    }
    let answer = read_all(&mut stream);
    assert!(answer.ends_with("hello"), "{answer}");
    served.end();
}

#[test]
fn an_early_answer_of_the_upstream_is_passed_on() {
    let target = upstream(|_, mut stream| {
        read_to(&mut stream, "\r\n\r\n").expect("a head");
        let answer = "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
        stream.write_all(answer.as_bytes()).expect("open");
        stream.shutdown(std::net::Shutdown::Write).expect("open");
        // So that its end is an end and no reset.
        while stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {}
    });
    let served = proxy(ServeOptions::default(), target);
    let mut stream = served.connect();
    let length = 4 << 20;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("open");
    stream.write_all(&vec![b'x'; length]).expect("open");
    let answer = read_to(&mut stream, "\r\n\r\nno").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    drop(stream);
    served.end();
}

#[test]
fn trailers_go_both_ways() {
    let target = upstream(|_, mut stream| {
        let request = read_to(&mut stream, "\r\n0\r\nx-up: 1\r\n\r\n").expect("trailers");
        assert!(!request.contains("content-length"), "{request}");
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-down\r\n\r\n\
                      2\r\nok\r\n0\r\nX-Down: 2\r\nContent-Length: 7\r\n\r\n";
        stream.write_all(answer.as_bytes()).expect("open");
    });
    let served = proxy(ServeOptions::default(), target);
    let answer = served.ask(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\
          Connection: close\r\n\r\n1\r\nx\r\n0\r\nX-Up: 1\r\nHost: b\r\n\r\n",
    );
    assert!(answer.ends_with("\r\n2\r\nok\r\n0\r\nx-down: 2\r\n\r\n"), "{answer}");
    assert!(answer.contains("trailer: x-down"), "{answer}");
    served.end();
}

#[test]
fn a_body_that_is_read_in_another_task_ends_with_its_client_as_well() {
    let (sender, ends) = mpsc::channel();
    let (asked, asks) = mpsc::channel();
    let (dropped, drops) = mpsc::channel();
    let served = serve(ServeOptions::default(), move || {
        let (sender, asked, dropped) = (sender.clone(), asked.clone(), dropped.clone());
        move |request: Request<Body>, _| {
            let (sender, asked, guard) = (sender.clone(), asked.clone(), Tell(dropped.clone()));
            let mut body = Sendable::from(request.into_body());
            thread::spawn(move || {
                run(async move {
                    let mut all = Vec::new();
                    while let Some(Ok(frame)) = body.frame().await {
                        all.extend_from_slice(frame.data_ref().expect("data"));
                        asked.send(()).expect("a listener");
                    }
                    sender.send(all).expect("a listener");
                });
            });
            async move {
                let _guard = guard;
                std::future::pending().await
            }
        }
    });
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n";
    for rest in ["", "whole"] {
        let mut stream = served.connect();
        stream.write_all(head).expect("open");
        stream.write_all(b"half").expect("open");
        told(&asks);
        stream.write_all(rest.as_bytes()).expect("open");
        if !rest.is_empty() {
            told(&asks);
        }
        drop(stream);
        told(&drops);
        assert_eq!(told(&ends), format!("half{rest}").as_bytes());
    }
    served.end();
}

#[test]
fn a_body_nobody_wants_does_not_end_the_connection() {
    let served = serve(ServeOptions::default(), || {
        |request: Request<Body>, _| async move {
            match request.uri().path() {
                "/keep" => Response::new(Body::empty().with_guard(request.into_body())),
                _ => Response::new(Body::from("hello")),
            }
        }
    });
    let mut stream = served.connect();
    for path in ["/keep", "/drop", "/keep", "/drop"] {
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe");
        stream.write_all(request.as_bytes()).expect("open");
        read_to(&mut stream, "\r\n\r\n").expect("an answer");
        stream.write_all(b"llo\r\n0\r\n\r\n").expect("open");
    }
    drop(stream);
    served.end();
}
