//! What is refused.

use relay::ServeOptions;

use crate::harness::{hello, serve};

#[test]
fn what_is_no_proper_request_is_refused() {
    let options = ServeOptions { max_uri_bytes: 100, ..ServeOptions::default() };
    let served = serve(options, hello);
    let long = "x".repeat(101);
    let huge = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(1100 << 10));
    let cases = [
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", " 200 "),
        ("GET / HTTP/1.0\r\n\r\n", " 200 "),
        ("GET / HTTP/1.1\r\n\r\n", " 400 "),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", " 400 "),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", " 400 "),
        ("GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n", " 400 "),
        ("nonsense\r\n\r\n", " 400 "),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", " 501 "),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", " 501 "),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", " 501 "),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
            " 501 ",
        ),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", " 400 "),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", " 400 "),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", " 400 "),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            " 400 ",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\ncontent-LENGTH: 1\r\n\r\n",
            " 400 ",
        ),
        (&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), " 414 "),
        (&huge, " 431 "),
    ];
    for (request, status) in cases {
        let answer = served.ask(request.as_bytes());
        let line = answer.lines().next().unwrap_or_default();
        let shown = &request[..request.len().min(120)];
        // Who sends more than is read may be cut off before the answer comes through.
        let cut = request.len() > 1 << 20 && line.is_empty();
        assert!(cut || line.contains(status), "{shown:?}: {answer:?}");
    }
    served.end();
}
