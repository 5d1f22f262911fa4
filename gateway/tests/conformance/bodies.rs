//! Bodies of answers: whole ones are passed on whole, broken ones visibly broken.

use crate::case::{Answer, Case, any, get, ok, request};
use crate::upstream::Reply;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = broken()
        .into_iter()
        .map(|(name, body)| Case::new(name).answered(chunked(body), any(&[200, 502]).cut()))
        .collect();
    cases.extend(short());
    cases.extend(whole());
    cases
}

fn chunked(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

fn broken() -> Vec<(&'static str, &'static str)> {
    vec![
        ("size_of_no_digit", "2\r\nhi\r\ng\r\nhello\r\n0\r\n\r\n"),
        ("size_that_is_empty", "2\r\nhi\r\n\r\nhello\r\n0\r\n\r\n"),
        ("size_with_minus", "2\r\nhi\r\n-5\r\nhello\r\n0\r\n\r\n"),
        ("size_with_0x", "2\r\nhi\r\n0x5\r\nhello\r\n0\r\n\r\n"),
        ("size_above_64_bits", "2\r\nhi\r\n10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("data_longer_than_its_size", "2\r\nhi\r\n3\r\nhello\r\n0\r\n\r\n"),
        ("data_shorter_than_its_size", "2\r\nhi\r\n7\r\nhello\r\n0\r\n\r\n"),
        ("extension_with_bare_lf", "2\r\nhi\r\n5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("end_before_the_first_chunk", ""),
        ("end_in_a_size", "2\r\nhi\r\n5"),
        ("end_in_data", "2\r\nhi\r\n5\r\nhel"),
        ("end_before_the_last_chunk", "2\r\nhi\r\n"),
        ("end_before_the_last_line", "2\r\nhi\r\n0\r\n"),
        ("end_in_a_trailer", "2\r\nhi\r\n0\r\nA: b\r\n"),
        ("trailer_without_colon", "2\r\nhi\r\n0\r\nA\r\n\r\n"),
    ]
}

fn short() -> Vec<Case> {
    let short = |name, headers: &str, body: &str| {
        let bytes = format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n{body}");
        Case::new(name).answered(bytes, any(&[200, 502]).cut())
    };
    vec![
        short("shorter_than_its_length", "Content-Length: 5", "hel"),
        short("no_byte_of_its_length", "Content-Length: 5", ""),
        short(
            "shorter_than_its_length_and_announced",
            "Connection: close\r\nContent-Length: 5",
            "hel",
        ),
    ]
}

fn whole() -> Vec<Case> {
    let passes = |name, reply: Reply, answer: Answer| {
        let case = Case::new(name).reply(reply).send(get("TE: trailers\r\nConnection: TE\r\n\r\n"));
        case.hear(answer).kept().sees(request("GET / HTTP/1.1"))
    };
    let keep = |body: &str| Reply::new(chunked(body));
    let until_close = "HTTP/1.1 200 OK\r\nA: b\r\n\r\nhello";
    let mebibyte = "x".repeat(1 << 20);
    vec![
        passes("chunks", keep("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"), ok("hello")),
        passes(
            "chunks_in_upper_case",
            Reply::new(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            ),
            ok("hello"),
        ),
        passes("extension", keep("5;a=\"b\"\r\nhello\r\n0;c\r\n\r\n"), ok("hello")),
        passes("size_with_leading_zeros", keep("00005\r\nhello\r\n000\r\n\r\n"), ok("hello")),
        passes("no_data", keep("0\r\n\r\n"), ok("")),
        passes(
            "trailer",
            Reply::new(
                "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
            ),
            ok("hello").trailer("x-sum", "1").with("trailer", "X-Sum"),
        ),
        passes(
            "trailer_that_frames_is_no_header",
            keep("5\r\nhello\r\n0\r\nContent-Length: 1\r\n\r\n"),
            ok("hello").without("content-length"),
        ),
        passes(
            "until_the_end_of_the_connection",
            Reply::new(until_close).close(),
            ok("hello").with("a", "b"),
        ),
        passes(
            "nothing_until_the_end_of_the_connection",
            Reply::new("HTTP/1.1 200 OK\r\n\r\n").close(),
            ok(""),
        ),
        passes(
            "version_1_0_until_the_end",
            Reply::new("HTTP/1.0 200 OK\r\n\r\nhello").close(),
            ok("hello"),
        ),
        passes(
            "large_with_a_length",
            Reply::new(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{mebibyte}",
                mebibyte.len()
            )),
            ok(&mebibyte),
        ),
        passes(
            "large_in_a_chunk",
            keep(&format!("{:x}\r\n{mebibyte}\r\n0\r\n\r\n", mebibyte.len())),
            ok(&mebibyte),
        ),
        passes(
            "large_in_small_chunks",
            keep(&format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(20_000))),
            ok(&"x".repeat(20_000)),
        ),
        passes("data_that_looks_like_an_end", keep("5\r\n0\r\n\r\n\r\n0\r\n\r\n"), ok("0\r\n\r\n")),
    ]
}
