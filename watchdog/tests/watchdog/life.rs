//! From the start to the end: configuration, readiness, signals, deaths.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc;

use rustix::process::Signal;

use crate::harness::{Conn, Watchdog, chunk, request, upstream, wait_for, wait_gone, wait_pid};

#[test]
fn bad_configuration_is_named() {
    let cases: [(&[(&str, &str)], &str); 6] = [
        (&[], "fprocess"),
        (&[("fprocess", "cat"), ("mode", "warp")], "mode"),
        (&[("fprocess", "cat"), ("exec_timeout", "soon")], "exec_timeout"),
        (&[("fprocess", "cat"), ("jwt_auth", "true")], "jwt_auth"),
        (&[("fprocess", "cat"), ("port", "none")], "port"),
        (&[("fprocess", "cat"), ("mode", "http")], "upstream_url"),
    ];
    for (variables, name) in cases {
        let mut watchdog = Watchdog::launch(variables);
        assert_eq!(watchdog.wait().code(), Some(1), "{name}");
        watchdog.wait_log(&format!("invalid configuration: {name}="));
    }
}

#[test]
fn what_it_starts_with_is_logged() {
    let watchdog = Watchdog::ready(&[("fprocess", "cat"), ("exec_timeout", "1m5s")]);
    watchdog.wait_log("Version: ");
    watchdog.wait_log("Watchdog mode: streaming\tfprocess: \"cat\"");
    watchdog.wait_log("Timeouts: read: 30s write: 30s hard: 1m5s health: 0s");
    watchdog.wait_log(&format!("Writing lock-file to: {}", watchdog.path(".lock").display()));
    assert_eq!(watchdog.get("/_/health").text(), "OK");
    assert_eq!(watchdog.get("/_/ready").status(), 200);
    assert_eq!(watchdog.ask("POST /_/health", b"").status(), 405);
    assert_eq!(watchdog.ask("POST /_/ready", b"").status(), 405);
    assert!(!watchdog.lines().iter().any(|line| line.contains("/_/")));
}

#[test]
fn flags_answer_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let run = |flag| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fwatchdog"));
        command.arg(flag).env("TMPDIR", dir.path()).output().expect("it runs")
    };
    let version = run("-version");
    assert!(version.status.success());
    assert_eq!(String::from_utf8_lossy(&version.stdout).trim(), env!("CARGO_PKG_VERSION"));
    assert_eq!(run("-run-healthcheck").status.code(), Some(1));
    std::fs::write(dir.path().join(".lock"), "").expect("writable");
    assert_eq!(run("-run-healthcheck").status.code(), Some(0));
    assert_eq!(run("-nonsense").status.code(), Some(2));
}

#[test]
fn health_needs_no_lock_file_when_there_is_none() {
    let watchdog = Watchdog::start(&[("fprocess", "cat"), ("suppress_lock", "true")]);
    wait_for("health", || (watchdog.get("/_/health").status() == 200).then_some(()));
    assert!(!watchdog.path(".lock").exists());
}

#[test]
fn a_lock_file_that_was_removed_is_ill_health() {
    let watchdog = Watchdog::ready(&[("fprocess", "cat")]);
    std::fs::remove_file(watchdog.path(".lock")).expect("it is there");
    assert_eq!(watchdog.get("/_/health").status(), 503);
    assert_eq!(watchdog.get("/_/ready").status(), 503);
}

/// A function that accepts connections only when the file `go` appears.
const SLOW_START: &str = r#"sh -c 'while [ ! -e "$TMPDIR/go" ]; do sleep 0.02; done
    exec python3 -u -c "
import http.server, os, socketserver
class S(socketserver.UnixStreamServer):
    def get_request(self): return super().get_request()[0], (\"\", 0)
S(os.environ[\"TMPDIR\"] + \"/up.sock\", http.server.SimpleHTTPRequestHandler).serve_forever()"'"#;

#[test]
fn it_is_ready_when_the_function_accepts_and_calls_wait_for_that() {
    let watchdog = Watchdog::start(&[
        ("mode", "http"),
        ("fprocess", SLOW_START),
        ("upstream_url", "unix:{dir}/up.sock"),
        ("listen_socket", "{dir}/fn.sock"),
    ]);
    let mut early = watchdog.connect();
    early.send(&request("GET /", b""));
    assert_eq!(watchdog.get("/_/health").status(), 503);
    assert_eq!(watchdog.get("/_/ready").status(), 503);
    assert!(!watchdog.path(".lock").exists() && !watchdog.path("fn.sock").exists());
    let hasty = watchdog.ask("GET /\nX-Timeout: 50ms", b"");
    assert_eq!((hasty.status(), hasty.get("x-faas-error")), (503, Some("not_ready")));

    std::fs::write(watchdog.path("go"), "").expect("writable");
    assert_eq!(early.answer(false).status(), 200);
    watchdog.wait_log("Listening on socket: ");
    assert!(watchdog.path(".lock").exists());
    assert_eq!(watchdog.get("/_/health").status(), 200);
    let socket = std::fs::metadata(watchdog.path("fn.sock")).expect("there");
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o777, 0o666);
    let mut conn = Conn::unix(&watchdog.path("fn.sock"));
    conn.send(&request("GET /", b""));
    assert_eq!(conn.answer(false).status(), 200);
}

#[test]
fn the_signal_to_end_takes_it_out_of_service_and_lets_calls_finish() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut watchdog =
            Watchdog::ready(&[("fprocess", "cat"), ("listen_socket", "{dir}/fn.sock")]);
        wait_for("the socket", || watchdog.path("fn.sock").exists().then_some(()));
        let mut idle = watchdog.connect();
        idle.send(&request("POST /", b"x"));
        idle.answer(false);
        let mut busy = watchdog.connect();
        busy.send(&request("POST /\nTransfer-Encoding: chunked", b""));
        busy.send(&chunk("one"));
        let head = busy.head().expect("an answer");
        assert_eq!(busy.chunk().expect("a chunk"), b"one");

        watchdog.signal(signal);
        watchdog.wait_log("draining: 1 requests");
        assert!(!watchdog.path("fn.sock").exists() && !watchdog.path(".lock").exists());
        assert_eq!(idle.rest(), b"");
        busy.send(&chunk("two"));
        busy.send(b"0\r\n\r\n");
        assert_eq!(busy.answer_to(head, false).text(), "two");
        assert_eq!(watchdog.wait().code(), Some(0));
    }
}

#[test]
fn calls_are_still_taken_for_a_while_after_the_signal() {
    let mut watchdog = Watchdog::ready(&[("fprocess", "cat"), ("healthcheck_interval", "10m")]);
    watchdog.signal(Signal::TERM);
    watchdog.wait_log("SIGTERM: no new connections in 10m");
    assert_eq!(watchdog.get("/_/health").status(), 503);
    assert_eq!(watchdog.ask("POST /", b"x").text(), "x");
    watchdog.signal(Signal::TERM);
    assert_eq!(watchdog.wait().code(), Some(0));
}

#[test]
fn calls_that_do_not_end_are_cut_off() {
    let process = r#"sh -c 'echo $$ > "$TMPDIR/pid"; echo part; sleep 1000'"#;
    let mut watchdog = Watchdog::ready(&[("fprocess", process), ("write_timeout", "300ms")]);
    let mut conn = watchdog.connect();
    conn.send(&request("GET /", b""));
    let head = conn.head().expect("an answer");
    let pid = wait_pid(&watchdog.path("pid"));
    watchdog.signal(Signal::TERM);
    assert!(!conn.answer_to(head, false).whole);
    assert_eq!(watchdog.wait().code(), Some(0));
    wait_gone(pid);
}

/// In http mode, `sleep` plays the function; the upstream is in this process.
fn http(process: &str) -> Watchdog {
    let url = upstream(|mut conn| {
        while conn.request().is_some() {
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    Watchdog::ready(&[("mode", "http"), ("fprocess", process), ("upstream_url", &url)])
}

#[test]
fn the_function_is_asked_to_end_after_the_last_call() {
    let mut watchdog =
        http(r#"sh -c 'trap "echo asked; exit 7" TERM; echo set; while :; do sleep 0.02; done'"#);
    watchdog.wait_log("stdout: set");
    watchdog.signal(Signal::TERM);
    assert_eq!(watchdog.wait().code(), Some(0));
    watchdog.wait_log("stdout: asked");
}

#[test]
fn a_function_that_will_not_end_is_killed() {
    let mut watchdog = http(
        r#"sh -c 'trap "" TERM; sleep 1000 & echo $! > "$TMPDIR/pid"; while :; do sleep 0.02; done'"#,
    );
    let pid = wait_pid(&watchdog.path("pid"));
    watchdog.signal(Signal::TERM);
    assert_eq!(watchdog.wait().code(), Some(0));
    wait_gone(pid);
}

#[test]
fn the_end_of_the_function_is_the_end_of_the_watchdog() {
    for (code, reason) in [("3", "exit status 3"), ("0", "exit status 0")] {
        let process = format!(
            r#"sh -c 'echo last words; while [ ! -e "$TMPDIR/go" ]; do sleep 0.02; done; exit {code}'"#
        );
        let mut watchdog = http(&process);
        assert_eq!(watchdog.get("/").status(), 200);
        std::fs::write(watchdog.path("go"), "").expect("writable");
        assert_eq!(watchdog.wait().code(), Some(1));
        watchdog.wait_log(&format!("Forked function has terminated: {reason}"));
        watchdog.wait_log("stdout: last words");
        assert!(!watchdog.path(".lock").exists());
    }
}

#[test]
fn a_function_that_dies_before_it_is_ready_ends_the_watchdog() {
    let variables = [
        ("mode", "http"),
        ("fprocess", "sh -c 'echo no config >&2; exit 4'"),
        ("upstream_url", "unix:/nowhere/up.sock"),
    ];
    let mut watchdog = Watchdog::launch(&variables);
    assert_eq!(watchdog.wait().code(), Some(1));
    watchdog.wait_log("Forked function has terminated: exit status 4");
    watchdog.wait_log("stderr: no config");

    let missing = [variables[0], ("fprocess", "/no/such/server"), variables[2]];
    let mut watchdog = Watchdog::launch(&missing);
    assert_eq!(watchdog.wait().code(), Some(1));
    watchdog.wait_log("cannot start the function: /no/such/server");
}

#[test]
fn the_functions_output_is_never_blocked() {
    let process =
        r#"sh -c 'head -c 3000000 /dev/zero | tr "\0" x; echo; echo all out; exec sleep 1000'"#;
    let watchdog = http(process);
    watchdog.wait_log("stdout: all out");
    let out = |lines: &[String]| {
        let mine = lines.iter().filter_map(|line| line.split_once(" stdout: x"));
        mine.map(|(_, rest)| rest.len() + 1).sum::<usize>()
    };
    watchdog.wait_lines("it all", |lines| (out(lines) == 3_000_000).then_some(()));
}

#[test]
fn prefixes_can_be_left_out() {
    let url = upstream(|mut conn| drop(conn.head()));
    let watchdog = Watchdog::ready(&[
        ("mode", "http"),
        ("fprocess", "sh -c 'echo plain; exec sleep 1000'"),
        ("upstream_url", &url),
        ("prefix_logs", "false"),
    ]);
    watchdog.wait_lines("plain", |lines| lines.iter().find(|line| *line == "plain").cloned());
}

#[test]
fn calls_are_counted() {
    let watchdog = Watchdog::ready(&[("fprocess", "cat")]);
    for _ in 0..3 {
        watchdog.ask("POST /", b"x");
    }
    watchdog.get("/_/health");
    let text = wait_for("three calls", || {
        let text = watchdog.metrics();
        text.contains(r#"http_requests_total{code="200",method="post"} 3"#).then_some(text)
    });
    assert!(text.contains("http_requests_in_flight 0"), "{text}");
    assert!(text.contains(r#"http_request_duration_seconds_count{code="200",method="post"} 3"#));
    assert!(!text.contains(r#"method="get""#), "{text}");
}

#[test]
fn metrics_that_cannot_listen_are_no_failure() {
    let taken = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let watchdog = Watchdog::ready(&[("fprocess", "cat"), ("metrics_port", &port)]);
    watchdog.wait_log(&format!("Metrics cannot listen on port {port}: "));
    assert_eq!(watchdog.ask("POST /", b"x").text(), "x");
}

#[test]
fn a_port_that_is_taken_is_told() {
    let taken = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let mut watchdog = Watchdog::launch(&[("fprocess", "cat"), ("port", &port)]);
    assert_eq!(watchdog.wait().code(), Some(1));
    watchdog.wait_log(&format!("cannot listen on port {port}: "));
}

#[test]
fn calls_of_a_function_that_ends_before_it_was_ready_are_told() {
    let mut watchdog = Watchdog::start(&[
        ("mode", "http"),
        ("fprocess", "sleep 1000"),
        ("upstream_url", "unix:/nowhere/up.sock"),
    ]);
    let (answers, answer) = mpsc::channel();
    let answers = Mutex::new(answers);
    let port = watchdog.port;
    let caller = std::thread::spawn(move || {
        let mut conn = Conn::tcp(port);
        conn.send(&request("GET /", b""));
        answers.lock().expect("a channel").send(conn.answer(false)).expect("a listener");
    });
    wait_for("the call", || watchdog.metrics().contains("http_requests_in_flight 1").then_some(()));
    watchdog.signal(Signal::TERM);
    assert_eq!(answer.recv().expect("an answer").status(), 503);
    caller.join().expect("no panic");
    assert_eq!(watchdog.wait().code(), Some(0));
}
