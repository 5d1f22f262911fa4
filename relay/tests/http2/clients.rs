//! What ordinary clients may expect.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use relay::{Body, Call, Forwarded, Peer, Pool, PoolOptions, Rules, ServeOptions, Target};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::harness::{PATIENCE, ask, get, run, serve};

/// Answers with the request's head, as text.
async fn describe(request: Request<Body>, peer: Peer) -> Response<Body> {
    let (head, body) = request.into_parts();
    let length = body.collect().await.expect("a body").to_bytes().len();
    let (method, uri) = (head.method, head.uri);
    let headers = head.headers;
    Response::new(Body::from(format!("{method} {uri} {headers:?} {length} {}", peer.scheme())))
}

#[test]
fn both_protocols_are_spoken_on_one_port() {
    let served = serve(ServeOptions::default(), || describe);
    run(async {
        let client = served.client().await;
        let answer = ask(&client, get("/a%2Fb//;c?d=%20"), None).await.expect("an answer");
        assert_eq!(answer.status, 200);
        let expected = r#"GET /a%2Fb//;c?d=%20 {"host": "test"} 0 http"#;
        assert_eq!(answer.text, expected);
        let posted = Request::post("http://test/").body(()).expect("a request");
        let answer = ask(&client, posted, Some(b"hello")).await.expect("an answer");
        assert!(answer.text.ends_with(" 5 http"), "{}", answer.text);
    });
    let mut stream = served.connect();
    stream.write_all(b"PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("open");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("text");
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    served.end();
}

#[test]
fn the_preface_may_come_in_pieces() {
    let served = serve(ServeOptions::default(), || describe);
    let mut stream = served.connect();
    for piece in [&b"PRI * HT"[..], b"TP/2.0\r\n\r\n", b"SM\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
        stream.write_all(piece).expect("open");
    }
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).expect("a frame");
    assert_eq!(frame[3..5], [4, 0], "settings come first");
    drop(stream);
    served.end();
}

#[test]
fn streams_do_not_wait_for_each_other() {
    let served = serve(ServeOptions::default(), || {
        let open = std::rc::Rc::new(Notify::new());
        move |request: Request<Body>, _| {
            let open = open.clone();
            async move {
                match request.uri().path() {
                    "/wait" => open.notified().await,
                    _ => open.notify_waiters(),
                }
                Response::new(Body::from("done"))
            }
        }
    });
    run(async {
        let client = served.client().await;
        let mut waiting = JoinSet::new();
        for _ in 0..100 {
            let client = client.clone();
            waiting.spawn_local(async move { ask(&client, get("/wait"), None).await });
        }
        tokio::task::yield_now().await;
        while !waiting.is_empty() {
            assert_eq!(ask(&client, get("/go"), None).await.expect("an answer").text, "done");
            while let Some(waited) = waiting.try_join_next() {
                assert_eq!(waited.expect("a task").expect("an answer").text, "done");
            }
        }
    });
    served.end();
}

#[test]
fn a_head_has_no_body_but_its_length() {
    let served = serve(ServeOptions::default(), || async |_, _| Response::new(Body::from("hello")));
    run(async {
        let client = served.client().await;
        let head = Request::head("http://test/").body(()).expect("a request");
        let answer = ask(&client, head, None).await.expect("an answer");
        assert_eq!(
            (answer.text.as_str(), &answer.headers["content-length"]),
            ("", &"5".parse().expect("a value"))
        );
    });
    served.end();
}

/// An upstream that speaks HTTP/1.1: takes one request whole and answers.
fn upstream(answer: &'static str) -> (Target, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = Target::from(listener.local_addr().expect("bound"));
    let (sender, requests) = mpsc::channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut text = Vec::new();
        let mut byte = [0];
        while !text.ends_with(b"0\r\n\r\n") && !text.ends_with(b"0\r\nx-sum: 7\r\n\r\n") {
            stream.read_exact(&mut byte).expect("more");
            text.push(byte[0]);
        }
        sender.send(String::from_utf8(text).expect("text")).expect("a listener");
        stream.write_all(answer.as_bytes()).expect("open");
    });
    (target, requests)
}

#[test]
fn a_call_goes_on_as_http_1() {
    let (target, requests) = upstream(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\nKeep-Alive: timeout=5\r\n\
         \r\n2\r\nok\r\n0\r\nx-sum: 9\r\n\r\n",
    );
    let served = serve(ServeOptions::default(), move || {
        let (pool, target) = (Pool::new(PoolOptions::default()), target.clone());
        move |request, peer: Peer| {
            let (pool, target) = (pool.clone(), target.clone());
            async move {
                let forwarded = Some(Forwarded { peer, scheme: peer.scheme() });
                let call = Call::forward(request, &Rules { forwarded, ..Rules::default() });
                pool.send(&target, call).await.expect("an answer")
            }
        }
    });
    run(async {
        let mut client = served.client().await.ready().await.expect("ready");
        let request = Request::post("http://a.test/x?y")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("te", "trailers")
            .header("trailer", "x-sum")
            .header("traceparent", "00-0af7-b7ad-01")
            .body(());
        let (answer, mut body) =
            client.send_request(request.expect("a request"), false).expect("open");
        body.send_data(Bytes::from_static(b"hello"), false).expect("open");
        let sum = HeaderMap::from_iter([(
            http::HeaderName::from_static("x-sum"),
            HeaderValue::from_static("7"),
        )]);
        body.send_trailers(sum).expect("open");
        let answer = crate::harness::read(answer.await.expect("an answer")).await.expect("whole");
        assert_eq!(answer.text, "ok");
        assert_eq!(answer.trailers.expect("trailers")["x-sum"], "9");
        assert!(!answer.headers.contains_key("keep-alive"));
    });
    let request = requests.recv_timeout(PATIENCE).expect("a request");
    assert!(request.starts_with("POST /x?y HTTP/1.1\r\n"), "{request}");
    for line in [
        "host: a.test",
        "cookie: a=1; b=2",
        "transfer-encoding: chunked",
        "traceparent: 00-0af7-b7ad-01",
        "forwarded: for=127.0.0.1;host=a.test;proto=http",
        "hello",
        "x-sum: 7",
    ] {
        assert!(request.lines().any(|l| l == line), "no {line} in {request}");
    }
    served.end();
}

#[test]
fn draining_says_goodbye_and_lets_streams_finish() {
    let (asked, asks) = mpsc::channel();
    let (go, gone) = tokio::sync::watch::channel(false);
    let served = serve(ServeOptions::default(), move || {
        let (asked, gone) = (asked.clone(), gone.clone());
        move |_, _| {
            let (asked, mut gone) = (asked.clone(), gone.clone());
            async move {
                asked.send(()).expect("a listener");
                gone.wait_for(|gone| *gone).await.expect("a word");
                Response::new(Body::from("finished"))
            }
        }
    });
    run(async {
        let (mut client, connection) = served.handshake().await;
        let connection = tokio::task::spawn_local(connection);
        let (answer, _) = client.send_request(get("/"), true).expect("open");
        tokio::task::spawn_blocking(move || asks.recv_timeout(PATIENCE))
            .await
            .expect("a thread")
            .expect("a call");
        served.trigger.drain();
        // The goodbye comes while the call is in flight.
        let told = async {
            while client.clone().ready().await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        told.await;
        go.send_replace(true);
        let answer = crate::harness::read(answer.await.expect("an answer")).await.expect("whole");
        assert_eq!(answer.text, "finished");
        drop(client);
        connection.await.expect("a task").expect("a proper end");
    });
    served.end();
}

#[test]
fn a_body_that_fails_resets_the_stream_and_no_other() {
    let served = serve(ServeOptions::default(), || {
        async |request: Request<Body>, _| {
            if request.uri().path() == "/good" {
                return Response::new(Body::from("good"));
            }
            let frames = [Ok(http_body::Frame::data(Bytes::from_static(b"part"))), Err("broken")];
            Response::new(Body::boxed(StreamBody::new(futures_util::stream::iter(frames))))
        }
    });
    run(async {
        let client = served.client().await;
        let error = ask(&client, get("/bad"), None).await.expect_err("no proper end");
        assert!(error.is_reset() && error.is_remote(), "{error}");
        assert_eq!(ask(&client, get("/good"), None).await.expect("an answer").text, "good");
    });
    served.end();
}
