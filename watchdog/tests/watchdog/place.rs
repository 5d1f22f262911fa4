//! Where calls come in and where the function's server listens: sockets, and ports that are chosen.

use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::process::Signal;

use crate::harness::{Answer, Conn, Watchdog, request};

/// Listens where `upstream_url` says, and answers with what it was told.
const SERVER: &str = r#"python3 -u -c "
import http.server, json, os, socketserver, urllib.parse
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        told = [os.environ.get(name) for name in (\"upstream_url\", \"PORT\", \"http_port\")]
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header(\"Content-Length\", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
class Unix(socketserver.UnixStreamServer):
    def get_request(self): return super().get_request()[0], (\"\", 0)
url = os.environ[\"upstream_url\"]
if url.startswith(\"unix:\"): Unix(url[5:], Handler).serve_forever()
else: http.server.HTTPServer((\"127.0.0.1\", urllib.parse.urlparse(url).port), Handler).serve_forever()
""#;

const PORTLESS: [(&str, &str); 3] =
    [("port", "none"), ("metrics_port", "none"), ("listen_socket", "{dir}/fn.sock")];

fn server(url: &str, more: &[(&str, &str)]) -> Watchdog {
    let mut variables = vec![("mode", "http"), ("fprocess", SERVER), ("upstream_url", url)];
    variables.extend(more);
    Watchdog::launch(&variables)
}

fn ask(socket: &Path) -> Answer {
    let mut conn = Conn::unix(socket);
    conn.send(&request("GET /", b""));
    conn.answer(false)
}

/// What the function's server was told: `upstream_url`, `PORT`, `http_port`.
fn told(answer: &Answer) -> [Option<String>; 3] {
    assert_eq!(answer.status(), 200);
    serde_json::from_slice(&answer.body).expect("an answer of the server")
}

#[test]
fn a_socket_is_chosen_and_goes_with_the_watchdog() {
    let mut watchdog = server("unix:", &PORTLESS);
    watchdog.wait_log("Listening on socket: ");
    let [url, port, http_port] = told(&ask(&watchdog.path("fn.sock")));
    let path = watchdog.path(&format!("upstream-{}.sock", watchdog.id()));
    assert_eq!(url, Some(format!("unix:{}", path.display())));
    assert_eq!((port, http_port), (None, None));
    assert!(path.exists());
    watchdog.signal(Signal::TERM);
    assert_eq!(watchdog.wait().code(), Some(0));
    assert!(!path.exists() && !watchdog.path("fn.sock").exists());
}

#[test]
fn without_ports_it_has_none() {
    let watchdog = server("unix:", &PORTLESS);
    watchdog.wait_log("Listening on socket: ");
    assert_eq!(watchdog.listening_ports(), 0);
    let lines = watchdog.lines();
    assert!(!lines.iter().any(|line| line.contains("on port")), "{lines:#?}");
    // The same count, where there is something to count.
    let watchdog = Watchdog::ready(&[("fprocess", "cat")]);
    assert_eq!(watchdog.listening_ports(), 2);
}

#[test]
fn a_socket_that_an_earlier_run_left_is_no_hindrance() {
    let dir = tempfile::tempdir().expect("a directory");
    let stale = dir.path().join("up.sock");
    drop(UnixListener::bind(&stale).expect("a socket"));
    let watchdog = server(&format!("unix:{}", stale.display()), &PORTLESS);
    watchdog.wait_log("Listening on socket: ");
    let [url, ..] = told(&ask(&watchdog.path("fn.sock")));
    assert_eq!(url, Some(format!("unix:{}", stale.display())));
}

#[test]
fn each_function_gets_a_port_of_its_own() {
    let both = [(); 2].map(|()| server("http://127.0.0.1:0", &PORTLESS));
    let [first, second] = both.map(|watchdog| {
        watchdog.wait_log("Listening on socket: ");
        let [url, port, http_port] = told(&ask(&watchdog.path("fn.sock")));
        let port = port.expect("a port");
        assert_eq!(http_port.as_ref(), Some(&port));
        assert_eq!(url, Some(format!("http://127.0.0.1:{port}")));
        (watchdog, port)
    });
    assert_ne!(first.1, second.1);
}

#[test]
fn a_place_that_is_taken_by_something_else_is_told() {
    let long = "d".repeat(120);
    let mut watchdog = server("unix:", &[("TMPDIR", &format!("/tmp/{long}"))]);
    assert_eq!(watchdog.wait().code(), Some(1));
    watchdog.wait_log("set TMPDIR to a shorter one");
}

#[test]
fn who_uses_the_socket_alone_need_not_wait_for_the_end() {
    // An empty variable is as good as none: the default is what counts here.
    let mut watchdog = server("unix:", &[&PORTLESS[..], &[("healthcheck_interval", "")]].concat());
    watchdog.wait_log("Listening on socket: ");
    watchdog.signal(Signal::TERM);
    watchdog.wait_log("SIGTERM: no new connections in 0s");
    assert_eq!(watchdog.wait().code(), Some(0));
}
