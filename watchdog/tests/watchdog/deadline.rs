//! What is left of a call's time, from hop to hop, and calls that the function did not take.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{
    Answer, Watchdog, request, unix_upstream, upstream, wait_for, wait_gone, wait_pid,
};
use crate::http::{OK, canned, http};

const TOLD: &str = "x-faas-deadline";

fn number(text: Option<&str>) -> u64 {
    text.expect("a deadline").parse().expect("milliseconds")
}

/// Checks that an answer says what happened, and at which hop.
fn is_too_slow(answer: &Answer) {
    assert_eq!((answer.status(), answer.get("x-faas-error")), (504, Some("deadline")));
    assert!(answer.text().ends_with(" (limit of the watchdog hop)\n"), "{}", answer.text());
}

#[test]
fn a_server_is_told_what_is_left() {
    let (url, heard) = canned(OK);
    let minute = http(&url, &[("exec_timeout", "1m")]);
    let told = |watchdog: &Watchdog, header: &str| {
        assert_eq!(watchdog.ask(&format!("GET /{header}"), b"").status(), 200);
        let asked = heard.recv().expect("a request");
        asked.get(TOLD).map(str::to_owned)
    };
    assert!(number(told(&minute, "").as_deref()) <= 60_000);
    assert!(number(told(&minute, "\nX-Faas-Deadline: 9000").as_deref()) <= 9_000);
    assert!(number(told(&minute, "\nX-Timeout: 8s").as_deref()) <= 8_000);
    for more_or_rubbish in ["60001", "99999999999999999999", "soon", "-5", ""] {
        let left = told(&minute, &format!("\nX-Faas-Deadline: {more_or_rubbish}"));
        assert!((30_000..=60_000).contains(&number(left.as_deref())), "{more_or_rubbish}");
    }
    let endless = http(&url, &[("exec_timeout", "0")]);
    assert_eq!(told(&endless, ""), None);
    assert_eq!(told(&endless, "\nX-Faas-Deadline: soon"), None);
    assert!(number(told(&endless, "\nX-Faas-Deadline: 9000").as_deref()) <= 9_000);
}

#[test]
fn a_server_loses_the_call_when_the_time_of_the_hop_before_is_over() {
    let (event, events) = mpsc::channel();
    let event = Mutex::new(event);
    let url = upstream(move |mut conn| {
        if conn.request().is_some() {
            assert!(conn.head().is_none());
            event.lock().expect("a channel").send(()).expect("a listener");
        }
    });
    let watchdog = http(&url, &[("exec_timeout", "1h")]);
    is_too_slow(&watchdog.ask("GET /\nX-Faas-Deadline: 200", b""));
    events.recv().expect("the function is told");
}

#[test]
fn what_is_over_before_it_begins_does_not_begin() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let url = upstream(move |mut conn| {
        while conn.request().is_some() {
            counted.fetch_add(1, Relaxed);
            conn.send(OK.as_bytes());
        }
    });
    is_too_slow(&http(&url, &[]).ask("POST /\nX-Faas-Deadline: 0", b"x"));
    assert_eq!(calls.load(Relaxed), 0);

    let watchdog = Watchdog::ready(&[("fprocess", "sh -c 'touch \"$TMPDIR/ran\"'")]);
    is_too_slow(&watchdog.ask("POST /\nX-Faas-Deadline: 0", b"x"));
    assert!(!watchdog.path("ran").exists());
    assert_eq!(watchdog.get("/").status(), 200);
    assert!(watchdog.path("ran").exists());
}

#[test]
fn a_process_is_told_what_is_left_and_ends_with_its_group() {
    let watchdog = Watchdog::ready(&[
        ("fprocess", "sh -c 'echo \"$Http_X_Faas_Deadline\"'"),
        ("exec_timeout", "1m"),
    ]);
    let told = |head: &str| number(Some(watchdog.ask(head, b"").text().trim()));
    assert!((30_000..=60_000).contains(&told("GET /")));
    assert!((30_000..=60_000).contains(&told("GET /\nX-Faas-Deadline: later")));
    assert!(told("GET /\nX-Faas-Deadline: 9000") <= 9_000);

    let process = r#"sh -c 'sleep 1000 & echo $! > "$TMPDIR/pid"; wait'"#;
    for mode in ["streaming", "serializing"] {
        let variables = [("fprocess", process), ("mode", mode), ("exec_timeout", "1h")];
        let watchdog = Watchdog::ready(&variables);
        is_too_slow(&watchdog.ask("GET /\nX-Faas-Deadline: 2000", b""));
        wait_gone(wait_pid(&watchdog.path("pid")));
    }
}

#[test]
fn classic_knows_it_too() {
    let classic = [("mode", "classic"), ("marshal_request", "true")];
    let watchdog = Watchdog::ready(&[("fprocess", "cat"), classic[0], classic[1]]);
    let answer = watchdog.ask("POST /\nX-Faas-Deadline: 9000", b"x");
    let json: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert!(number(json["header"]["X-Faas-Deadline"][0].as_str()) <= 9_000);

    let watchdog = Watchdog::ready(&[("fprocess", "sleep 1000"), classic[0]]);
    let answer = watchdog.ask("GET /\nX-Faas-Deadline: 200", b"");
    assert_eq!((answer.status(), answer.text().as_str()), (408, "Killed process.\n"));
    assert_eq!(answer.get("x-faas-error"), Some("deadline"));
}

/// Checks that an answer says that another replica may take the call.
fn is_not_taken(answer: &Answer, status: u16) {
    assert_eq!(answer.status(), status, "{answer:?}");
    assert_eq!((answer.get("x-faas-not-taken"), answer.get("retry-after")), (Some("1"), Some("1")));
}

#[test]
fn a_call_too_many_is_not_taken_nor_its_body_read() {
    let watchdog = Watchdog::ready(&[("fprocess", "cat"), ("max_inflight", "1")]);
    let mut busy = watchdog.connect();
    busy.send(&request("POST /\nTransfer-Encoding: chunked", b""));
    wait_for("the first call", || {
        watchdog.metrics().contains("http_requests_in_flight 1").then_some(())
    });
    let mut refused = watchdog.connect();
    refused.send(&request("POST /\nContent-Length: 1000000", b""));
    is_not_taken(&refused.answer(false), 429);
    let mut asking = watchdog.connect();
    asking.send(&request("POST /\nExpect: 100-continue\nContent-Length: 5", b""));
    is_not_taken(&asking.answer(false), 429);
    busy.send(b"0\r\n\r\n");
    assert_eq!(busy.answer(false).status(), 200);
}

#[test]
fn a_call_that_never_reached_the_function_is_not_taken() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("up.sock");
    unix_upstream(&path, |mut conn| drop(conn.request()));
    let watchdog = http(&format!("unix:{}", path.display()), &[]);
    let broken = watchdog.get("/");
    assert_eq!((broken.status(), broken.get("x-faas-not-taken")), (500, None), "it saw that one");
    std::fs::remove_file(&path).expect("it is there");
    is_not_taken(&watchdog.ask("POST /", b"x"), 500);
}

#[test]
fn a_call_that_waits_for_a_function_which_is_stopped_is_not_taken() {
    let variables =
        [("mode", "http"), ("fprocess", "sleep 1000"), ("upstream_url", "unix:{dir}/never.sock")];
    let watchdog = Watchdog::start(&variables);
    let mut waiting = watchdog.connect();
    waiting.send(&request("GET /", b""));
    wait_for("the call", || watchdog.metrics().contains("http_requests_in_flight 1").then_some(()));
    watchdog.signal(Signal::TERM);
    is_not_taken(&waiting.answer(false), 503);
}

#[test]
fn only_the_watchdog_says_that_a_call_was_not_taken() {
    let answer = "HTTP/1.1 429 Busy\r\nX-Faas-Not-Taken: 1\r\nContent-Length: 0\r\n\r\n";
    let (url, _heard) = canned(answer);
    let answer = http(&url, &[]).get("/");
    assert_eq!((answer.status(), answer.get("x-faas-not-taken")), (429, None));
}
