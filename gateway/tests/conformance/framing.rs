//! Where a request's body ends: `Content-Length` and `Transfer-Encoding` (RFC 9112 6).

use crate::case::{BAD, CODING, Case, SMUGGLED, all_refused, ok, post, refusal, request};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = all_refused(BAD, both());
    cases.extend(all_refused(BAD, lengths()));
    cases.extend(all_refused(CODING, codings()));
    cases.extend(accepted());
    cases.extend(after_another());
    cases.extend(no_body());
    cases
}

fn row(name: &'static str, headers: &str, body: &str) -> (&'static str, String) {
    (name, post(&format!("{headers}\r\n\r\n{body}")))
}

/// Both headers: one hop may believe the first, another the second.
fn both() -> Vec<(&'static str, String)> {
    vec![
        row("length_then_chunked", "Content-Length: 6\r\nTransfer-Encoding: chunked", "0\r\n\r\nG"),
        row("chunked_then_length", "Transfer-Encoding: chunked\r\nContent-Length: 6", "0\r\n\r\nG"),
        row("both_in_upper_case", "CONTENT-LENGTH: 5\r\nTRANSFER-ENCODING: CHUNKED", "0\r\n\r\n"),
        row(
            "length_of_zero_and_chunked",
            "Content-Length: 0\r\nTransfer-Encoding: chunked",
            "0\r\n\r\n",
        ),
        row(
            "both_with_headers_between",
            "Transfer-Encoding: chunked\r\nA: b\r\nC: d\r\nContent-Length: 5",
            "0\r\n\r\n",
        ),
        row(
            "two_lengths_and_chunked",
            "Content-Length: 5\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
            "0\r\n\r\n",
        ),
    ]
}

fn lengths() -> Vec<(&'static str, String)> {
    let rows = [
        ("lengths_that_differ", "5\r\nContent-Length: 6"),
        ("lengths_that_agree_twice", "5\r\nContent-Length: 5"),
        ("list_of_lengths_that_differ", "5, 6"),
        ("list_of_lengths_that_agree", "5, 5"),
        ("length_with_plus", "+5"),
        ("length_with_minus", "-5"),
        ("length_in_hex", "0x5"),
        ("length_in_hex_digits", "a"),
        ("length_with_space_inside", "5 5"),
        ("length_that_is_empty", ""),
        ("length_with_parameter", "5;a=b"),
        ("length_with_exponent", "1e1"),
        ("length_with_point", "5.0"),
        ("length_in_other_digits", "\u{665}"),
        ("length_with_vertical_tab", "\u{b}5"),
        ("length_above_64_bits", "18446744073709551621"),
        ("length_of_a_hundred_digits", &"9".repeat(100)),
        ("length_with_underscore", "1_0"),
        ("length_in_quotes", "\"5\""),
        ("length_with_comma", "5,"),
    ];
    rows.into_iter()
        .map(|(name, value)| row(name, &format!("Content-Length: {value}"), "hello"))
        .collect()
}

/// What is not exactly `chunked` once: undone by one hop and not by another, it moves the end.
fn codings() -> Vec<(&'static str, String)> {
    let rows = [
        ("coding_unknown", "xchunked"),
        ("coding_twice_in_a_list", "chunked, chunked"),
        ("coding_twice_in_lines", "chunked\r\nTransfer-Encoding: chunked"),
        ("coding_identity", "identity"),
        ("coding_identity_after_chunked", "chunked\r\nTransfer-Encoding: identity"),
        ("coding_gzip_before_chunked", "gzip, chunked"),
        ("coding_gzip_after_chunked", "chunked, gzip"),
        ("coding_with_trailing_comma", "chunked,"),
        ("coding_with_leading_comma", ",chunked"),
        ("coding_with_parameter", "chunked;q=1"),
        ("coding_in_quotes", "\"chunked\""),
        ("coding_with_vertical_tab", "\u{b}chunked"),
        ("coding_that_is_empty", ""),
        ("coding_with_space_inside", "chun ked"),
        ("coding_with_no_break_space", "\u{a0}chunked"),
    ];
    rows.into_iter()
        .map(|(name, value)| {
            row(name, &format!("Transfer-Encoding: {value}"), "5\r\nhello\r\n0\r\n\r\n")
        })
        .collect()
}

fn passes(name: &'static str, headers: &str, body: &str) -> Case {
    let hello = request("POST / HTTP/1.1").body("hello");
    Case::new(name).send(row(name, headers, body).1).hear(ok("/")).kept().sees(hello)
}

fn accepted() -> Vec<Case> {
    let chunked = "5\r\nhello\r\n0\r\n\r\n";
    vec![
        passes("length", "Content-Length: 5", "hello"),
        passes("length_with_leading_zeros", "Content-Length: 0005", "hello"),
        passes("length_with_spaces_around", "Content-Length: \t 5 \t", "hello"),
        passes("chunked", "Transfer-Encoding: chunked", chunked),
        passes("chunked_in_upper_case", "Transfer-Encoding: CHUNKED", chunked),
        passes("chunked_after_a_tab", "Transfer-Encoding:\tchunked", chunked),
        passes("chunked_without_a_space", "Transfer-Encoding:chunked", chunked),
        passes(
            "connection_cannot_name_the_length_away",
            "Content-Length: 5\r\nConnection: content-length",
            "hello",
        ),
        passes(
            "connection_cannot_name_the_coding_away",
            "Transfer-Encoding: chunked\r\nConnection: transfer-encoding",
            chunked,
        ),
        passes(
            "a_name_that_looks_like_the_coding_is_another",
            "Transfer_Encoding: chunked\r\nContent-Length: 5",
            "hello",
        ),
        Case::new("chunked_on_http_1_0_is_refused")
            .send("POST /function/f HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
            .hear(refusal(CODING))
            .closed(),
        Case::new("body_in_many_pieces")
            .send(post("Content-Length: 5\r\n\r\nh"))
            .arrived(1)
            .send("el")
            .send("lo")
            .hear(ok("/"))
            .kept()
            .sees(request("POST / HTTP/1.1").body("hello")),
    ]
}

/// The same on a connection that has served a request, where a hop may look less closely.
fn after_another() -> Vec<Case> {
    let second = |name, headers: &str, body: &str| {
        let first = post("Content-Length: 3\r\n\r\none");
        let (_, second) = row(name, headers, body);
        Case::new(name)
            .send(first + &second + SMUGGLED)
            .hear(ok("/"))
            .hear(refusal(CODING))
            .closed()
            .sees(request("POST / HTTP/1.1").body("one"))
    };
    vec![
        second(
            "pipelined_length_then_chunked",
            "Content-Length: 6\r\nTransfer-Encoding: chunked",
            "0\r\n\r\nG",
        ),
        second(
            "pipelined_chunked_then_length",
            "Transfer-Encoding: chunked\r\nContent-Length: 6",
            "0\r\n\r\nG",
        ),
        second("pipelined_lengths_that_differ", "Content-Length: 5\r\nContent-Length: 6", "hello"),
        second("pipelined_coding_unknown", "Transfer-Encoding: xchunked", "0\r\n\r\n"),
        Case::new("both_on_the_second_request_of_a_connection")
            .send(post("Content-Length: 3\r\n\r\none"))
            .hear(ok("/"))
            .send(post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"))
            .send(SMUGGLED)
            .hear(refusal(BAD))
            .closed()
            .sees(request("POST / HTTP/1.1").body("one")),
    ]
}

fn no_body() -> Vec<Case> {
    let with = |name, line: &'static str, headers: &str, body: &str, seen: &str| {
        let line_in = line.replacen(" /", " /function/f", 1);
        let send = format!("{line_in}\r\nHost: x\r\n{headers}\r\n{body}");
        let answer = if line.starts_with("HEAD") { ok("").of_head() } else { ok("/") };
        Case::new(name).send(send).hear(answer).kept().sees(request(line).body(seen))
    };
    let chunked = "3\r\nabc\r\n0\r\n\r\n";
    vec![
        with("post_without_a_length_has_no_body", "POST / HTTP/1.1", "", "", ""),
        with("post_of_length_zero", "POST / HTTP/1.1", "Content-Length: 0\r\n", "", ""),
        with("get_with_a_length", "GET / HTTP/1.1", "Content-Length: 3\r\n", "abc", "abc"),
        with("get_chunked", "GET / HTTP/1.1", "Transfer-Encoding: chunked\r\n", chunked, "abc"),
        with("delete_with_a_body", "DELETE / HTTP/1.1", "Content-Length: 3\r\n", "abc", "abc"),
        with("head_with_a_body", "HEAD / HTTP/1.1", "Content-Length: 3\r\n", "abc", "abc"),
        with("options_with_a_body", "OPTIONS / HTTP/1.1", "Content-Length: 3\r\n", "abc", "abc"),
        with(
            "body_that_looks_like_a_request",
            "POST / HTTP/1.1",
            "Content-Length: 46\r\n",
            SMUGGLED,
            SMUGGLED,
        ),
    ]
}
