//! One process per request: streaming, serializing, classic; and files.

use serde_json::Value;

use crate::harness::{Watchdog, chunk, request, wait_for, wait_gone, wait_pid};

fn streaming(process: &str) -> Watchdog {
    Watchdog::ready(&[("fprocess", process)])
}

#[test]
fn streaming_gives_the_request_to_the_process() {
    let watchdog = streaming("sh -c 'cat; echo; env'");
    let head = "POST /a%20b?x=y%20z\nX-Call-Id: 7\nX-Two: 1\nX-Two: 2\nProxy: evil\nMethod: EVIL";
    let answer = watchdog.ask(head, b"hello");
    let text = answer.text();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.get("content-type"), Some("application/octet-stream"));
    assert!(text.starts_with("hello\n"), "{text}");
    for line in [
        "Http_Method=POST",
        "Http_Path=/a b",
        "Http_Query=x=y%20z",
        "Http_X_Call_Id=7",
        "Http_X_Two=1, 2",
        "Http_Content_Length=5",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line} in {text}");
    }
    assert!(!text.contains("evil") && !text.contains("EVIL"), "{text}");
    watchdog.wait_log("POST /a%20b?x=y%20z - 200 - ContentLength: -1B (");
}

#[test]
fn streaming_flows_both_ways_at_once() {
    let watchdog = streaming("cat");
    let mut conn = watchdog.connect();
    conn.send(&request("POST /\nTransfer-Encoding: chunked", b""));
    conn.send(&chunk("one"));
    let head = conn.head().expect("an answer before the request has ended");
    assert_eq!(head.line, "HTTP/1.1 200 OK");
    assert_eq!(conn.chunk().expect("a chunk"), b"one");
    for text in ["two", "three"] {
        conn.send(&chunk(text));
        assert_eq!(conn.chunk().expect("a chunk"), text.as_bytes());
    }
    conn.send(b"0\r\n\r\n");
    assert_eq!(conn.chunk().expect("the end"), b"");
}

#[test]
fn a_connection_serves_one_call_after_the_other() {
    let watchdog = streaming("cat");
    let mut conn = watchdog.connect();
    for text in ["one", "two"] {
        conn.send(&request("POST /", text.as_bytes()));
        assert_eq!(conn.answer(false).text(), text);
    }
}

#[test]
fn a_failure_before_the_first_byte_is_500() {
    let watchdog = streaming("sh -c 'exit 3'");
    let answer = watchdog.get("/");
    assert_eq!((answer.status(), answer.text().as_str()), (500, "exit status 3\n"));
    assert_eq!(answer.get("x-faas-error"), Some("function_failed"));
    watchdog.wait_log("GET / - 500 - ");
}

#[test]
fn a_failure_after_the_first_byte_resets() {
    let answer = streaming("sh -c 'echo part; exit 3'").get("/");
    assert_eq!(answer.status(), 200);
    assert_eq!((answer.text().as_str(), answer.whole), ("part\n", false));
}

#[test]
fn a_program_that_is_missing_is_500() {
    let answer = streaming("/no/such/program").get("/");
    assert_eq!(answer.status(), 500);
    assert_eq!(answer.get("x-openfaas-internal"), Some("of-watchdog"));
}

#[test]
fn the_time_limit_kills_the_whole_group() {
    let process = r#"sh -c 'sleep 1000 & echo $! > "$TMPDIR/pid"; wait'"#;
    let watchdog = Watchdog::ready(&[("fprocess", process), ("exec_timeout", "2s")]);
    let answer = watchdog.get("/");
    assert_eq!(answer.status(), 504);
    assert_eq!(answer.get("x-faas-error"), Some("deadline"));
    let text = "fwatchdog: the function did not answer within 2s (limit of the watchdog hop)\n";
    assert_eq!(answer.text(), text);
    wait_gone(wait_pid(&watchdog.path("pid")));
}

#[test]
fn the_time_limit_after_the_first_byte_resets() {
    let variables = [("fprocess", "sh -c 'echo part; sleep 1000'"), ("exec_timeout", "2s")];
    let answer = Watchdog::ready(&variables).get("/");
    assert_eq!(answer.status(), 200);
    assert!(!answer.whole, "{answer:?}");
}

#[test]
fn a_caller_can_shorten_the_time_limit() {
    let answer = streaming("sleep 1000").ask("GET /\nX-Timeout: 100ms", b"");
    assert_eq!(answer.status(), 504);
}

#[test]
fn a_client_that_goes_away_takes_the_whole_group_along() {
    let watchdog = streaming(r#"sh -c 'sleep 1000 & echo $! > "$TMPDIR/pid"; wait'"#);
    let mut conn = watchdog.connect();
    conn.send(&request("GET /", b""));
    let pid = wait_pid(&watchdog.path("pid"));
    drop(conn);
    wait_gone(pid);
}

#[test]
fn a_client_that_goes_away_in_mid_answer_does_too() {
    let watchdog = streaming(r#"sh -c 'echo $$ > "$TMPDIR/pid"; echo part; sleep 1000'"#);
    let mut conn = watchdog.connect();
    conn.send(&request("GET /", b""));
    conn.head().expect("an answer");
    let pid = wait_pid(&watchdog.path("pid"));
    drop(conn);
    wait_gone(pid);
}

#[test]
fn what_is_left_behind_cannot_keep_a_call_open() {
    for combine in ["true", "false"] {
        let process = r#"sh -c 'sleep 1000 & echo $! > "$TMPDIR/pid"; echo hi'"#;
        let variables = [("fprocess", process), ("mode", "classic"), ("combine_output", combine)];
        let watchdog = Watchdog::ready(&variables);
        assert_eq!(watchdog.get("/").text(), "hi\n");
        let pid = wait_pid(&watchdog.path("pid")).to_string();
        let killed = std::process::Command::new("kill").arg(&pid).status().expect("kill runs");
        assert!(killed.success(), "it was left alone");
    }
}

#[test]
fn a_body_that_nobody_reads_is_no_failure() {
    let watchdog = streaming("echo hi");
    let mut conn = watchdog.connect();
    conn.send(&request("POST /", &vec![b'x'; 8 << 20]));
    assert_eq!(conn.answer(false).text(), "hi\n");
    conn.send(&request("GET /", b""));
    assert_eq!(conn.answer(false).text(), "hi\n");
}

#[test]
fn a_body_that_breaks_off_kills_the_process() {
    let watchdog = streaming(r#"sh -c 'echo $$ > "$TMPDIR/pid"; cat >/dev/null; sleep 1000'"#);
    let mut conn = watchdog.connect();
    conn.send(&request("POST /\nTransfer-Encoding: chunked", b""));
    conn.send(&chunk("one"));
    let pid = wait_pid(&watchdog.path("pid"));
    conn.send(b"nonsense\r\n");
    wait_gone(pid);
}

#[test]
fn large_bodies_pass_through_little_memory() {
    let watchdog = streaming("cat");
    let size: usize = 256 << 20;
    let mut conn = watchdog.connect();
    conn.send(&request(&format!("POST /\nContent-Length: {size}"), b""));
    let block = vec![b'x'; 64 << 10];
    let (mut sent, mut received) = (block.len(), 0);
    conn.send(&block);
    conn.head().expect("an answer");
    while received < size {
        // Never more on its way than the sockets and pipes can hold.
        while sent < size && sent - received < 2 * block.len() {
            conn.send(&block);
            sent += block.len();
        }
        received += conn.chunk().expect("a chunk").len();
    }
    assert_eq!((received, conn.chunk()), (size, Some(Vec::new())));
    assert!(watchdog.peak_kib() < 24 << 10, "{} KiB", watchdog.peak_kib());
}

#[test]
fn log_lines_of_any_length_are_kept() {
    let process =
        r#"sh -c 'head -c 1048576 /dev/zero | tr "\0" x >&2; echo >&2; echo end >&2; echo hi'"#;
    let watchdog = streaming(process);
    assert_eq!(watchdog.get("/").text(), "hi\n");
    watchdog.wait_log("stderr: end");
    let pieces: Vec<_> = watchdog.lines().into_iter().filter(|l| l.contains("stderr: x")).collect();
    let xs: usize = pieces.iter().map(|line| line.matches('x').count()).sum();
    assert_eq!((pieces.len(), xs), (16, 1 << 20));
}

#[test]
fn head_runs_the_process_and_has_no_body() {
    let watchdog = streaming(r#"sh -c 'echo hi; echo ran > "$TMPDIR/ran"'"#);
    let mut conn = watchdog.connect();
    conn.send(&request("HEAD /", b""));
    assert_eq!(conn.answer(true).status(), 200);
    assert!(watchdog.path("ran").exists());
    conn.send(&request("GET /", b""));
    assert_eq!(conn.answer(false).text(), "hi\n");
}

#[test]
fn serializing_answers_when_it_knows_the_end() {
    let process = r#"sh -c 'cat; test "$Http_Query" != fail'"#;
    let watchdog =
        Watchdog::ready(&[("fprocess", process), ("mode", "serializing"), ("content_type", "a/b")]);
    let answer = watchdog.ask("POST /", b"hello");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
    assert_eq!(answer.get("content-length"), Some("5"));
    assert_eq!(answer.get("content-type"), Some("a/b"));
    assert!(answer.get("x-duration-seconds").is_some());
    watchdog.wait_log("POST / - 200 - ContentLength: 5B (");

    let answer = watchdog.ask("POST /?fail", b"hello");
    assert_eq!((answer.status(), answer.text().as_str()), (500, "exit status 1\n"));
    assert!(answer.get("x-duration-seconds").is_some());
}

#[test]
fn serializing_passes_on_what_is_too_large_to_hold() {
    let process = "head -c 20000000 /dev/zero";
    let watchdog = Watchdog::ready(&[("fprocess", process), ("mode", "serializing")]);
    let answer = watchdog.get("/");
    assert_eq!((answer.body.len(), answer.whole), (20_000_000, true));
}

#[test]
fn classic_is_as_it_was() {
    let process = r#"sh -c 'cat; echo oops >&2; exit "${Http_X_Exit:-0}"'"#;
    let watchdog = Watchdog::ready(&[("fprocess", process), ("mode", "classic")]);
    let answer = watchdog.ask("POST /\nContent-Type: a/b", b"hello ");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "hello oops\n"));
    assert_eq!(answer.get("content-type"), Some("a/b"));
    assert!(answer.get("x-duration-seconds").is_some());
    watchdog.wait_log("Forking fprocess.");
    watchdog.wait_log("Wrote 11 Bytes - Duration: ");

    let answer = watchdog.ask("POST /\nX-Exit: 2", b"hello ");
    assert_eq!((answer.status(), answer.text().as_str()), (500, "exit status 2\nhello oops\n\n"));
    assert_eq!(watchdog.get("/").get("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(watchdog.ask("OPTIONS /", b"").status(), 405);
}

#[test]
fn classic_can_keep_stderr_and_headers_apart() {
    let watchdog = Watchdog::ready(&[
        ("fprocess", "sh -c 'env; echo oops >&2'"),
        ("mode", "classic"),
        ("combine_output", "false"),
        ("cgi_headers", "false"),
    ]);
    let text = watchdog.get("/").text();
    assert!(!text.lines().any(|line| line == "oops"), "{text}");
    assert!(!text.contains("Http_"), "{text}");
    watchdog.wait_log("stderr: oops");
}

#[test]
fn classic_time_limit_is_408() {
    let variables = [("fprocess", "sleep 1000"), ("mode", "classic"), ("exec_timeout", "200ms")];
    let answer = Watchdog::ready(&variables).get("/");
    assert_eq!((answer.status(), answer.text().as_str()), (408, "Killed process.\n"));
}

#[test]
fn classic_can_give_the_request_as_json() {
    let variables = [("fprocess", "cat"), ("mode", "classic"), ("marshal_request", "true")];
    let answer = Watchdog::ready(&variables).ask("POST /\nX-A: b", b"hello");
    let json: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(json["header"]["X-A"][0], "b");
    assert_eq!(json["body"]["raw"], "aGVsbG8=");
}

#[test]
fn headers_too_large_for_a_process_are_431() {
    let watchdog = streaming("cat");
    let big = "x".repeat(200 << 10);
    assert_eq!(watchdog.ask(&format!("GET /\nX-Big: {big}"), b"").status(), 431);
    let huge = "x".repeat(1100 << 10);
    let mut conn = watchdog.connect();
    conn.try_send(&request(&format!("GET /\nX-Huge: {huge}"), b""));
    // It may be told, or cut off in the middle of what it sends.
    assert!(conn.head().is_none_or(|head| head.line.contains(" 431 ")));
    assert_eq!(watchdog.get("/").status(), 200);
}

#[test]
fn files_are_served_and_nothing_else() {
    let watchdog = Watchdog::ready(&[("mode", "static"), ("static_path", "{dir}/public")]);
    let public = watchdog.path("public");
    std::fs::create_dir_all(public.join("sub")).expect("writable");
    std::fs::write(public.join("a b.html"), "0123456789").expect("writable");
    std::fs::write(public.join("sub/index.html"), "index").expect("writable");
    std::fs::write(watchdog.path("secret"), "secret").expect("writable");

    let answer = watchdog.get("/a%20b.html");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "0123456789"));
    assert_eq!(answer.get("content-type"), Some("text/html; charset=utf-8"));
    let modified = answer.get("last-modified").expect("a date").to_owned();
    let again = format!("GET /a%20b.html\nIf-Modified-Since: {modified}");
    assert_eq!(watchdog.ask(&again, b"").status(), 304);
    let part = watchdog.ask("GET /a%20b.html\nRange: bytes=2-4", b"");
    assert_eq!((part.status(), part.text().as_str()), (206, "234"));
    assert_eq!(part.get("content-range"), Some("bytes 2-4/10"));
    assert_eq!(watchdog.ask("GET /a%20b.html\nRange: bytes=20-", b"").status(), 416);
    assert_eq!(watchdog.ask("HEAD /a%20b.html", b"").get("content-length"), Some("10"));
    assert_eq!(watchdog.get("/sub/").text(), "index");
    let moved = watchdog.get("/sub?q");
    assert_eq!((moved.status(), moved.get("location")), (301, Some("./sub/?q")));
    for path in ["/", "/../secret", "/%2e%2e/secret", "/nothing"] {
        assert_eq!(watchdog.get(path).status(), 404, "{path}");
    }
    assert_eq!(watchdog.ask("POST /a%20b.html", b"x").status(), 405);
    wait_for("the access log", || {
        watchdog.lines().iter().any(|line| line.contains("GET /nothing - 404")).then_some(())
    });
}
