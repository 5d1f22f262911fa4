//! One process that serves HTTP itself. The upstream is in this process, so that it can do odd
//! things; the watchdog's child only sleeps.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use crate::harness::{Answer, Conn, Watchdog, chunk, request, unix_upstream, upstream, wait_for};

pub(crate) fn http(url: &str, more: &[(&str, &str)]) -> Watchdog {
    let mut variables = vec![("mode", "http"), ("fprocess", "sleep 1000"), ("upstream_url", url)];
    variables.extend(more);
    Watchdog::ready(&variables)
}

/// An upstream that answers each request with the same bytes and tells what it was asked.
pub(crate) fn canned(answer: &'static str) -> (String, mpsc::Receiver<Answer>) {
    let (asked, heard) = mpsc::channel();
    let asked = Mutex::new(asked);
    let url = upstream(move |mut conn| {
        while let Some(request) = conn.request() {
            asked.lock().expect("a channel").send(request).expect("a listener");
            conn.send(answer.as_bytes());
        }
    });
    (url, heard)
}

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn requests_and_answers_pass_unchanged() {
    let (url, heard) = canned(
        "HTTP/1.1 201 Created\r\nX-A: 1\r\nX-A: 2\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\
         Content-Length: 2\r\n\r\nhi",
    );
    let watchdog = http(&url, &[("log_callid", "true")]);
    let head = "PUT /a%2Fb//c;d?x=%20&y\nX-Call-Id: 7\nConnection: X-Gone\nX-Gone: 1\nAccept: */*";
    let answer = watchdog.ask(head, b"hello");
    assert_eq!((answer.status(), answer.text().as_str()), (201, "hi"));
    assert_eq!((answer.get("x-a"), answer.get("x-hop")), (Some("1"), None));
    assert!(answer.get("x-duration-seconds").is_some());

    let asked = heard.recv().expect("a request");
    assert_eq!(asked.head.line, "PUT /a%2Fb//c;d?x=%20&y HTTP/1.1");
    assert_eq!(asked.get("host"), Some("test"));
    assert_eq!(asked.get("content-length"), Some("5"));
    assert_eq!((asked.get("x-gone"), asked.get("transfer-encoding")), (None, None));
    assert_eq!(asked.text(), "hello");
    watchdog.wait_log("PUT /a%2Fb//c;d?x=%20&y - 201 Created - ContentLength: 2B (");
    watchdog.wait_log(" [7]");

    watchdog.get("/none");
    watchdog.wait_log(" [none]");
}

#[test]
fn the_base_of_the_url_comes_first() {
    let (url, heard) = canned(OK);
    let watchdog = http(&format!("{url}/base/"), &[]);
    watchdog.get("/a?b");
    assert_eq!(heard.recv().expect("a request").head.line, "GET /base/a?b HTTP/1.1");
}

#[test]
fn connections_to_the_function_are_used_again() {
    let count = Arc::new(Mutex::new(0));
    let served = Arc::clone(&count);
    let url = upstream(move |mut conn| {
        if conn.request().is_none() {
            return;
        }
        *served.lock().expect("a count") += 1;
        conn.send(OK.as_bytes());
        while conn.request().is_some() {
            conn.send(OK.as_bytes());
        }
    });
    let watchdog = http(&url, &[]);
    for _ in 0..20 {
        assert_eq!(watchdog.get("/").status(), 200);
    }
    assert!(*count.lock().expect("a count") < 20);
}

#[test]
fn a_connection_that_the_function_closed_is_no_failure() {
    // It says it keeps the connection and then closes it, as servers do that time out.
    let url = upstream(|mut conn| {
        if conn.request().is_some() {
            conn.send(OK.as_bytes());
        }
    });
    let watchdog = http(&url, &[]);
    for _ in 0..50 {
        assert_eq!(watchdog.ask("POST /", b"x").status(), 200);
    }
}

#[test]
fn chunks_and_trailers_pass_both_ways_as_they_come() {
    let (step, steps) = mpsc::channel::<&str>();
    let (asked, heard) = mpsc::channel();
    let shared = Mutex::new((steps, asked));
    let url = upstream(move |mut conn| {
        let Some(head) = conn.head() else { return };
        let (steps, asked) = &mut *shared.lock().expect("one call");
        assert_eq!(head.get("te"), Some("trailers"));
        assert_eq!(conn.chunk().expect("a chunk"), b"first");
        conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n");
        for text in steps.iter() {
            conn.send(&chunk(text));
        }
        let rest = conn.answer_to(head, false);
        asked.send(rest).expect("a listener");
        conn.send(b"0\r\nX-Sum: 9\r\n\r\n");
    });
    let watchdog = http(&url, &[]);
    let mut conn = watchdog.connect();
    conn.send(&request("POST /\nTransfer-Encoding: chunked\nTE: trailers\nTrailer: X-In", b""));
    conn.send(&chunk("first"));
    let head = conn.head().expect("a head before the request has ended");
    for text in ["data: 1\n\n", "data: 2\n\n"] {
        step.send(text).expect("an upstream");
        assert_eq!(conn.chunk().expect("a chunk of its own"), text.as_bytes());
    }
    drop(step);
    conn.send(&chunk("last"));
    conn.send(b"0\r\nX-In: 5\r\n\r\n");
    let request = heard.recv().expect("a request");
    assert_eq!(request.text(), "last");
    assert_eq!(request.trailers, [("x-in".to_owned(), "5".to_owned())]);
    let answer = conn.answer_to(head, false);
    assert!(answer.whole);
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "9".to_owned())]);
}

#[test]
fn the_function_decides_whether_it_wants_the_body() {
    let url = upstream(|mut conn| {
        while let Some(head) = conn.head() {
            assert_eq!(head.get("expect"), Some("100-continue"));
            if head.line.contains("/no") {
                conn.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
                // What would come next is the body, which nobody wants.
                return;
            }
            conn.send(b"HTTP/1.1 100 Continue\r\n\r\n");
            assert_eq!(conn.answer_to(head, false).text(), "hello");
            conn.send(OK.as_bytes());
        }
    });
    let watchdog = http(&url, &[]);
    let mut conn = watchdog.connect();
    conn.send(&request("POST /yes\nExpect: 100-continue\nContent-Length: 5", b""));
    assert_eq!(conn.head().expect("an answer").line, "HTTP/1.1 100 Continue");
    conn.send(b"hello");
    assert_eq!(conn.answer(false).text(), "hi");

    let mut conn = watchdog.connect();
    conn.send(&request("POST /no\nExpect: 100-continue\nContent-Length: 5", b""));
    assert_eq!(conn.answer(false).status(), 413);
}

#[test]
fn head_keeps_the_length() {
    let (url, _heard) = canned("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n");
    let watchdog = http(&url, &[]);
    let mut conn = watchdog.connect();
    for _ in 0..2 {
        conn.send(&request("HEAD /", b""));
        let answer = conn.answer(true);
        assert_eq!((answer.status(), answer.get("content-length")), (200, Some("1234")));
    }
}

#[test]
fn any_upgrade_becomes_a_tunnel() {
    let url = upstream(|mut conn| {
        let Some(head) = conn.head() else { return };
        assert_eq!((head.get("upgrade"), head.get("connection")), (Some("Echo"), Some("Upgrade")));
        conn.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: Echo\r\nConnection: Upgrade\r\n\r\n",
        );
        let four = conn.bytes(4);
        conn.send(&four);
        // The client has ended its side by then; ours is still open.
        let rest = conn.rest();
        conn.send(&rest);
    });
    let watchdog = http(&url, &[("exec_timeout", "300ms")]);
    let mut conn = watchdog.connect();
    conn.send(&request("GET /\nConnection: keep-alive, Upgrade\nUpgrade: Echo", b""));
    let head = conn.head().expect("an answer");
    assert_eq!(head.line, "HTTP/1.1 101 Switching Protocols");
    assert_eq!((head.get("upgrade"), head.get("connection")), (Some("Echo"), Some("Upgrade")));
    conn.send(b"ping");
    assert_eq!(conn.bytes(4), b"ping");
    assert!(watchdog.metrics().contains("http_requests_in_flight 1"));
    conn.send(b"rest");
    conn.end_writing();
    assert_eq!(conn.rest(), b"rest");
    wait_for("the end of the call", || {
        watchdog.metrics().contains("http_requests_in_flight 0").then_some(())
    });
}

#[test]
fn an_upgrade_that_is_declined_is_an_answer() {
    let (url, _heard) = canned(OK);
    let answer = http(&url, &[]).ask("GET /\nConnection: Upgrade\nUpgrade: websocket", b"");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "hi"));
}

#[test]
fn no_answer_in_time_is_504() {
    let (gone, gones) = mpsc::channel();
    let gone = Mutex::new(gone);
    let url = upstream(move |mut conn| {
        if conn.request().is_some() {
            assert!(conn.head().is_none());
            gone.lock().expect("a channel").send(()).expect("a listener");
        }
    });
    let watchdog = http(&url, &[("exec_timeout", "300ms")]);
    let answer = watchdog.get("/");
    assert_eq!(answer.status(), 504);
    assert_eq!(answer.get("x-openfaas-internal"), Some("of-watchdog"));
    assert_eq!(answer.get("x-faas-error"), Some("deadline"));
    assert!(answer.get("x-duration-seconds").is_some());
    gones.recv().expect("the function is told");

    assert_eq!(http(&url, &[]).ask("GET /\nX-Timeout: 100ms", b"").status(), 504);
}

#[test]
fn an_answer_that_takes_too_long_is_reset() {
    let url = upstream(|mut conn| {
        if conn.request().is_some() {
            conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            conn.send(&chunk("part"));
            conn.head();
        }
    });
    let answer = http(&url, &[("exec_timeout", "1s")]).get("/");
    assert_eq!((answer.status(), answer.text().as_str(), answer.whole), (200, "part", false));
}

#[test]
fn an_answer_that_breaks_off_is_reset() {
    let url = upstream(|mut conn| {
        if conn.request().is_some() {
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npart");
        }
    });
    let answer = http(&url, &[]).get("/");
    assert_eq!((answer.status(), answer.whole), (200, false));
}

#[test]
fn a_function_that_hangs_up_is_500() {
    let url = upstream(|mut conn| drop(conn.request()));
    let answer = http(&url, &[]).get("/");
    assert_eq!(answer.status(), 500);
    assert_eq!(answer.get("x-openfaas-internal"), Some("of-watchdog"));
    assert_eq!(answer.get("x-faas-error"), Some("function_unreachable"));
}

#[test]
fn a_client_that_goes_away_cancels_the_call() {
    let (event, events) = mpsc::channel();
    let event = Mutex::new(event);
    let url = upstream(move |mut conn| {
        let tell = |text| event.lock().expect("a channel").send(text).expect("a listener");
        if conn.request().is_some() {
            tell("asked");
            assert!(conn.head().is_none());
            tell("gone");
        }
    });
    let watchdog = http(&url, &[]);
    let mut conn = watchdog.connect();
    conn.send(&request("GET /", b""));
    assert_eq!(events.recv(), Ok("asked"));
    drop(conn);
    assert_eq!(events.recv(), Ok("gone"));
    watchdog.wait_log("GET / - 499");
}

#[test]
fn too_many_calls_at_a_time_are_429() {
    let (release, released) = mpsc::channel::<()>();
    let (asked, heard) = mpsc::channel();
    let shared = Mutex::new((asked, released));
    let url = upstream(move |mut conn| {
        while conn.request().is_some() {
            let (asked, released) = &*shared.lock().expect("one call");
            asked.send(()).expect("a listener");
            released.recv().expect("a signal");
            conn.send(OK.as_bytes());
        }
    });
    let watchdog = http(&url, &[("max_inflight", "1")]);
    let mut first = watchdog.connect();
    first.send(&request("GET /", b""));
    heard.recv().expect("a call");
    let refused = watchdog.get("/");
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.get("content-type"), Some("text/plain"));
    assert_eq!(refused.get("x-openfaas-internal"), Some("faas-middleware"));
    let text = "Concurrent request limit exceeded. Max concurrent requests: 1\n";
    assert_eq!(refused.text(), text);
    assert_eq!(watchdog.get("/_/ready").status(), 429);
    assert_eq!(watchdog.get("/_/health").status(), 200);
    release.send(()).expect("a call waits");
    assert_eq!(first.answer(false).status(), 200);
    wait_for("a free place", || (watchdog.get("/_/ready").status() == 200).then_some(()));
}

#[test]
fn chunked_bodies_can_be_collected() {
    let (url, heard) = canned(OK);
    let watchdog = http(&url, &[("buffer_http", "true")]);
    let mut conn = watchdog.connect();
    conn.send(&request("POST /\nTransfer-Encoding: chunked", b""));
    conn.send(&chunk("one"));
    conn.send(&chunk("two"));
    conn.send(b"0\r\n\r\n");
    assert_eq!(conn.answer(false).status(), 200);
    let asked = heard.recv().expect("a request");
    assert_eq!((asked.get("content-length"), asked.text().as_str()), (Some("6"), "onetwo"));
    assert_eq!(asked.get("transfer-encoding"), None);
}

#[test]
fn the_function_may_be_on_a_unix_socket() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("up.sock");
    unix_upstream(&path, |mut conn| {
        while conn.request().is_some() {
            conn.send(OK.as_bytes());
        }
    });
    let watchdog = http(&format!("unix:{}", path.display()), &[]);
    assert_eq!(watchdog.ask("POST /", b"x").text(), "hi");
}

#[test]
fn readiness_can_be_asked_of_the_function() {
    let (url, heard) = canned("HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\n\r\n");
    let watchdog = http(&url, &[("ready_path", "/healthy?x")]);
    assert_eq!(watchdog.get("/_/ready").status(), 418);
    assert_eq!(heard.recv().expect("a request").head.line, "GET /healthy?x HTTP/1.1");
}

#[test]
fn a_server_in_python_works_under_localhost() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    let process = format!("python3 -u -m http.server {port} --bind 127.0.0.1");
    let watchdog = Watchdog::ready(&[
        ("mode", "http"),
        ("fprocess", &process),
        ("upstream_url", &format!("http://localhost:{port}")),
    ]);
    assert_eq!(watchdog.get("/").status(), 200);
    watchdog.wait_log("stderr: 127.0.0.1 - - ");
}

#[test]
fn both_content_length_and_transfer_encoding_are_never_both_believed() {
    let (url, heard) = canned(OK);
    let watchdog = http(&url, &[]);
    let smuggled = "0\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n";
    let head = format!(
        "POST /\nContent-Length: {}\nTransfer-Encoding: chunked\nConnection: close",
        smuggled.len()
    );
    let mut conn: Conn = watchdog.connect();
    conn.send(&request(&head, b""));
    conn.try_send(smuggled.as_bytes());
    assert!(conn.head().is_some_and(|head| head.line.contains(" 400 ")));
    drop(conn);
    assert_eq!(watchdog.get("/after").status(), 200);
    assert_eq!(heard.recv().expect("a request").head.line, "GET /after HTTP/1.1");
}
