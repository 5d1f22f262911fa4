//! Calls and the connections they are sent on.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use http::{HeaderValue, Request};
use http_body_util::BodyExt;
use relay::{
    Body, Call, Forwarded, Pool, PoolOptions, Rules, SendError, ServeOptions, Target, WireError,
};
use tokio::time::Instant;

use crate::harness::{OK, PATIENCE, get, proxy, read_all, read_to, run, serve, told, upstream};

#[test]
fn the_next_hop_learns_who_asked() {
    let (sender, heads) = mpsc::channel();
    let target = upstream(move |_, mut stream| {
        let head = read_to(&mut stream, "\r\n\r\n").expect("a head");
        sender.send(head.to_ascii_lowercase()).expect("a listener");
        stream.write_all(OK).expect("open");
    });
    let served = serve(ServeOptions::default(), move || {
        let pool = Pool::new(PoolOptions::default());
        let target = target.clone();
        move |request, peer| {
            let (pool, target) = (pool.clone(), target.clone());
            async move {
                let rules = Rules {
                    path: Some("/new?x=%2F".parse().expect("a path")),
                    host: Some(HeaderValue::from_static("other")),
                    forwarded: Some(Forwarded { peer, scheme: peer.scheme() }),
                    ..Rules::default()
                };
                let mut call = Call::forward(request, &rules);
                pool.send(&target, &mut call).await.expect("an answer")
            }
        }
    });
    let answer = served.ask(
        b"GET http://absolute/old HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\n\
          Forwarded: for=9.9.9.9\r\nTraceparent: 00-0af7-b7ad-01\r\nTracestate: a=1, b=%2F\r\n\
          Connection: close\r\n\r\n",
    );
    assert!(answer.ends_with("ok"), "{answer}");
    let head = heads.recv_timeout(PATIENCE).expect("a request");
    assert!(head.starts_with("get /new?x=%2f http/1.1\r\n"), "{head}");
    for line in [
        "host: other",
        "x-forwarded-for: 9.9.9.9, 127.0.0.1",
        "x-forwarded-host: absolute",
        "x-forwarded-proto: http",
        "forwarded: for=9.9.9.9, for=127.0.0.1;host=absolute;proto=http",
        "traceparent: 00-0af7-b7ad-01",
        "tracestate: a=1, b=%2f",
    ] {
        assert!(head.lines().any(|l| l == line), "no {line} in {head}");
    }
    assert!(!head.contains("connection:"), "{head}");
    served.end();
}

#[test]
fn a_call_that_was_not_sent_can_go_elsewhere() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let dead = Target::from(closed.local_addr().expect("bound"));
    drop(closed);
    let alive = upstream(|_, mut stream| {
        read_to(&mut stream, "\r\n\r\nbody").expect("the whole request");
        stream.write_all(OK).expect("open");
    });
    run(async {
        let pool = Pool::new(PoolOptions::default());
        let request = Request::post("/").header("host", "test").body(Body::from("body"));
        let mut call = Call::new(request.expect("a request"), None);
        let error = pool.send(&dead, &mut call).await.expect_err("nobody is there");
        assert!(matches!(error, SendError::NotSent(_)) && call.can_repeat(), "{error}");
        let answer = pool.send(&alive, &mut call).await.expect("an answer");
        assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), "ok");
    });
}

#[test]
fn a_connection_that_breaks_says_so() {
    let target = upstream(|_, mut stream| drop(read_to(&mut stream, "\r\n\r\n")));
    run(async {
        let pool = Pool::new(PoolOptions::default());
        let error = pool.send(&target, &mut get("/", None)).await.expect_err("no answer");
        assert!(matches!(error, SendError::Broken(_)), "{error}");
    });
}

#[test]
fn the_deadline_ends_a_call_and_its_connection() {
    let (sender, gone) = mpsc::channel();
    let target = upstream(move |_, mut stream| {
        read_to(&mut stream, "\r\n\r\n").expect("a head");
        assert_eq!(read_all(&mut stream), "");
        sender.send(()).expect("a listener");
    });
    run(async {
        let pool = Pool::new(PoolOptions::default());
        let deadline = Instant::now() + Duration::from_millis(100);
        let error = pool.send(&target, &mut get("/", Some(deadline))).await.expect_err("too late");
        assert!(matches!(error, SendError::Deadline), "{error}");
        tokio::task::yield_now().await;
        tokio::task::spawn_blocking(move || gone.recv_timeout(PATIENCE))
            .await
            .expect("no panic")
            .expect("the connection is closed");
    });
}

#[test]
fn connections_are_kept_and_expire() {
    let (sender, gone) = mpsc::channel();
    let target = upstream(move |number, mut stream| {
        while read_to(&mut stream, "\r\n\r\n").is_some() {
            let number = number.to_string();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}");
            stream.write_all(answer.as_bytes()).expect("open");
        }
        sender.send(()).expect("a listener");
    });
    run(async {
        let idle_timeout = Duration::from_secs(1);
        let pool = Pool::new(PoolOptions { idle_timeout, ..PoolOptions::default() });
        for _ in 0..5 {
            let answer = pool.send(&target, &mut get("/", None)).await.expect("an answer");
            assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), "0");
        }
        tokio::task::spawn_blocking(move || gone.recv_timeout(PATIENCE))
            .await
            .expect("no panic")
            .expect("the connection expires");
        let answer = pool.send(&target, &mut get("/", None)).await.expect("an answer");
        assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), "1");
    });
}

#[test]
fn a_kept_connection_that_is_closed_meanwhile_is_replaced() {
    // The first connection is closed at the very moment when a second request comes.
    let target = upstream(|number, mut stream| {
        read_to(&mut stream, "\r\n\r\n").expect("a head");
        stream.write_all(OK).expect("open");
        if number == 0 {
            read_to(&mut stream, "\r\n\r\n").expect("a head");
        }
    });
    run(async {
        let pool = Pool::new(PoolOptions::default());
        for _ in 0..2 {
            let answer = pool.send(&target, &mut get("/", None)).await.expect("an answer");
            assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), "ok");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
}

#[test]
fn unix_sockets_of_any_length_and_nothing_that_poses_as_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let long = dir.path().join("d".repeat(150));
    std::fs::create_dir(&long).expect("writable");
    let short = dir.path().join("up.sock");
    let listener = UnixListener::bind(&short).expect("a socket");
    let socket = long.join("up.sock");
    std::fs::rename(&short, &socket).expect("same directory");
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            if read_to(&mut stream, "\r\n\r\n").is_some() {
                stream.write_all(OK).expect("open");
            }
        }
    });
    let (link, file) = (long.join("link"), long.join("file"));
    std::os::unix::fs::symlink(&socket, &link).expect("writable");
    std::fs::write(&file, "").expect("writable");
    run(async {
        let pool = Pool::new(PoolOptions::default());
        let answer =
            pool.send(&Target::unix(&socket), &mut get("/", None)).await.expect("an answer");
        assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), "ok");
        for path in [&link, &file, &long.join("missing")] {
            let error = pool.send(&Target::unix(path), &mut get("/", None)).await;
            let error = error.expect_err("not a socket");
            assert!(matches!(error, SendError::NotSent(_)), "{error}");
        }
        assert!(Target::unix(&socket).probe().await.is_ok());
    });
}

/// An upstream whose first connection answers once and then closes when the next request has come,
/// before it answers. What came is sent to `heads`.
fn fickle(heads: mpsc::Sender<String>, first_words: &'static str) -> Target {
    upstream(move |number, mut stream| {
        let mut asked = 0;
        while let Some(head) = read_to(&mut stream, "\r\n\r\n") {
            let chunked = head.contains("chunked");
            let end = if chunked { "0\r\n\r\n" } else { "body" };
            let body = match head.starts_with("POST") {
                true => read_to(&mut stream, end).expect("a body"),
                false => String::new(),
            };
            asked += 1;
            if number == 0 && asked == 2 {
                let _ = stream.write_all(first_words.as_bytes());
                return;
            }
            heads.send(head + &body).expect("a listener");
            stream.write_all(OK).expect("open");
        }
    })
}

#[test]
fn what_a_closing_connection_did_not_answer_is_sent_again() {
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
    ] {
        let (sender, heads) = mpsc::channel();
        let served = proxy(ServeOptions::default(), fickle(sender, ""));
        let mut stream = served.connect();
        for _ in 0..2 {
            stream.write_all(request.as_bytes()).expect("open");
            read_to(&mut stream, "\r\n\r\nok").expect("an answer");
        }
        for _ in 0..2 {
            let head = told(&heads);
            assert!(
                head.ends_with("body")
                    || head.ends_with("\r\n0\r\n\r\n")
                    || head.starts_with("GET"),
                "{head}"
            );
        }
        drop(stream);
        served.end();
    }
}

#[test]
fn what_was_begun_to_be_answered_is_not_sent_again() {
    let (sender, heads) = mpsc::channel();
    let served = proxy(ServeOptions::default(), fickle(sender, "HTTP/1.1 2"));
    let mut stream = served.connect();
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(request).expect("open");
    read_to(&mut stream, "\r\n\r\nok").expect("an answer");
    stream.write_all(request).expect("open");
    read_to(&mut stream, "the connection broke before an answer").expect("an answer");
    told(&heads);
    assert!(heads.try_recv().is_err(), "it came once");
    drop(stream);
    served.end();
}

#[test]
fn what_is_too_long_to_be_kept_is_not_sent_again() {
    let target = upstream(|number, mut stream| {
        read_to(&mut stream, "\r\n\r\n").expect("a head");
        stream.write_all(OK).expect("open");
        assert_eq!(number, 0, "nobody asks again");
        read_to(&mut stream, "\r\n\r\n").expect("a head");
        stream.read_exact(&mut vec![0; 200 << 10]).expect("a body");
    });
    run(async {
        let pool = Pool::new(PoolOptions::default());
        let answer = pool.send(&target, &mut get("/", None)).await.expect("an answer");
        assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), "ok");
        let request = Request::post("/").header("host", "a");
        let request = request.body(Body::full(vec![b'x'; 200 << 10])).expect("a request");
        let mut call = Call::new(request, None);
        let error = pool.send(&target, &mut call).await.expect_err("no answer");
        assert!(matches!(error, SendError::Broken(WireError::Closed)), "{error}");
        assert!(!call.can_repeat());
    });
}

#[test]
fn a_connection_with_more_on_it_than_the_answer_is_not_used_again() {
    let (sender, numbers) = mpsc::channel();
    let target = upstream(move |number, mut stream| {
        while read_to(&mut stream, "\r\n\r\n").is_some() {
            sender.send(number).expect("a listener");
            stream.write_all(OK).expect("open");
            if number == 0 {
                stream.write_all(b"HTTP/1.1 200 OK\r\n").expect("open");
            }
        }
    });
    run(async {
        let pool = Pool::new(PoolOptions::default());
        for expected in [0, 1, 1] {
            let answer = pool.send(&target, &mut get("/", None)).await.expect("an answer");
            assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), "ok");
            assert_eq!(told(&numbers), expected);
        }
    });
}

#[test]
fn odd_answers_are_no_answers() {
    let (sender, answers) = mpsc::channel::<&str>();
    let answers = std::sync::Mutex::new(answers);
    let target = upstream(move |_, mut stream| {
        read_to(&mut stream, "\r\n\r\n").expect("a head");
        let answer = answers.lock().expect("no panic").recv().expect("a test");
        stream.write_all(answer.as_bytes()).expect("open");
    });
    let long = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(200 << 10));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(200));
    let (long, many): (&'static str, &'static str) = (long.leak(), many.leak());
    run(async {
        let pool = Pool::new(PoolOptions::default());
        for answer in [
            "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
            "nonsense\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Le",
            "",
            long,
            many,
        ] {
            sender.send(answer).expect("an upstream");
            let error = pool.send(&target, &mut get("/", None)).await.expect_err("no answer");
            assert!(matches!(error, SendError::Broken(_)), "{answer:?} {error}");
        }
    });
}

#[test]
fn provisional_answers_are_passed_over_and_bodies_end_as_told() {
    let (sender, answers) = mpsc::channel::<(&str, bool)>();
    let answers = std::sync::Mutex::new(answers);
    let target = upstream(move |_, mut stream| {
        read_to(&mut stream, "\r\n\r\n").expect("a head");
        let (answer, _) = answers.lock().expect("no panic").recv().expect("a test");
        for piece in answer.split_inclusive("|") {
            stream.write_all(piece.trim_end_matches('|').as_bytes()).expect("open");
        }
    });
    run(async {
        let pool = Pool::new(PoolOptions::default());
        for (answer, whole) in [
            (
                "HTTP/1.1 103 Early\r\nLink: a\r\n\r\n|HTTP/1.1 102 \r\n\r\nHTTP/1.1 200 OK\r\n\r\nok",
                true,
            ),
            ("HTTP/1.1 200 OK\r\n\r\no|k", true),
            ("HTTP/1.0 200 OK\r\n\r\nok", true),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no|\r\n1\r\nk\r\n0\r\n\r\n",
                true,
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok|x", false),
        ] {
            sender.send((answer, whole)).expect("an upstream");
            let response = pool.send(&target, &mut get("/", None)).await.expect("an answer");
            let body = response.into_body().collect().await;
            assert_eq!(body.is_ok(), whole, "{answer:?}");
            if let Ok(body) = body {
                assert_eq!(body.to_bytes(), "ok", "{answer:?}");
            }
        }
    });
}
