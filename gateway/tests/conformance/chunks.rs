//! Chunked bodies of requests (RFC 9112 7.1).

use crate::case::{BAD, Case, SMUGGLED, any, cut, ok, post, refusal, request};

/// Longest row of one chunk's extensions or of one trailer that is tried.
const LONG: usize = 100 << 10;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> =
        broken().into_iter().map(|(name, body)| breaks(name, &body)).collect();
    cases.extend(ended_early());
    cases.extend(accepted());
    cases.extend(trailers());
    cases
}

fn chunked(body: &str) -> String {
    post(&format!("Transfer-Encoding: chunked\r\n\r\n{body}"))
}

/// The upstream may have the head by then, but never a whole body; nothing after it is believed.
fn breaks(name: &'static str, body: &str) -> Case {
    Case::new(name)
        .send(chunked(body))
        .send(SMUGGLED)
        .hear(refusal(BAD))
        .closed()
        .sees(cut("POST / HTTP/1.1"))
}

fn broken() -> Vec<(&'static str, String)> {
    let sized = |size: &str| format!("{size}\r\nhello\r\n0\r\n\r\n");
    let mut rows: Vec<(&str, String)> = [
        ("size_of_no_digit", "g"),
        ("size_that_is_empty", ""),
        ("size_with_minus", "-5"),
        ("size_with_plus", "+5"),
        ("size_with_0x", "0x5"),
        ("size_with_leading_space", " 5"),
        ("size_with_leading_tab", "\t5"),
        ("size_with_underscore", "0_5"),
        ("size_with_trailing_letter", "5g"),
        ("size_with_two_numbers", "5 5"),
        ("size_with_comma", "5,"),
        ("size_above_64_bits", "10000000000000005"),
        ("size_of_many_digits", "fffffffffffffffffffff5"),
        ("size_with_nul", "5\0"),
        ("size_in_quotes", "\"5\""),
        ("extension_with_bare_lf", "5;a\nb"),
        ("extension_with_bare_cr", "5;a\rb"),
        ("extension_with_nul", "5;a=\0"),
    ]
    .into_iter()
    .map(|(name, size)| (name, sized(size)))
    .collect();
    rows.extend(
        [
            ("size_line_ends_in_lf", "5\nhello\r\n0\r\n\r\n"),
            ("size_line_ends_in_cr", "5\rhello\r\n0\r\n\r\n"),
            ("size_line_ends_in_cr_cr_lf", "5\r\r\nhello\r\n0\r\n\r\n"),
            ("data_ends_in_lf", "5\r\nhello\n0\r\n\r\n"),
            ("data_ends_in_cr", "5\r\nhello\r0\r\n\r\n"),
            ("data_longer_than_its_size", "3\r\nhello\r\n0\r\n\r\n"),
            ("data_shorter_than_its_size", "7\r\nhello\r\n0\r\n\r\n"),
            ("data_without_an_end", "5\r\nhello0\r\n\r\n"),
            ("last_chunk_ends_in_lf", "5\r\nhello\r\n0\n\r\n"),
            ("last_line_is_lf", "5\r\nhello\r\n0\r\n\n"),
            ("no_chunks_at_all", "hello, this is no chunk\r\n\r\n"),
            ("second_chunk_bad", "5\r\nhello\r\nx\r\nhello\r\n0\r\n\r\n"),
        ]
        .map(|(name, body)| (name, body.to_owned())),
    );
    rows.push(("extension_without_end", format!("5;{}", "a".repeat(LONG))));
    rows.push((
        "extensions_of_many_small_chunks",
        format!("1;{}\r\na\r\n", "e".repeat(200)).repeat(1000),
    ));
    rows
}

/// The client goes away or falls silent: the upstream must not take what came for all.
fn ended_early() -> Vec<Case> {
    let ends = |name, body: &str| {
        let case = Case::new(name).send(chunked(body)).arrived(1).finish();
        case.hear(any(BAD).optional()).closed().sees(cut("POST / HTTP/1.1"))
    };
    vec![
        ends("end_before_the_first_chunk", ""),
        ends("end_in_a_size", "5"),
        ends("end_in_data", "5\r\nhel"),
        ends("end_after_data", "5\r\nhello\r\n"),
        ends("end_in_the_last_chunk", "5\r\nhello\r\n0"),
        ends("end_before_the_last_line", "5\r\nhello\r\n0\r\n"),
        ends("end_in_a_trailer", "5\r\nhello\r\n0\r\nA: b\r\n"),
    ]
}

fn passes(name: &'static str, body: &str, seen: &str) -> Case {
    let wanted = request("POST / HTTP/1.1").with("transfer-encoding", "chunked").body(seen);
    Case::new(name).send(chunked(body)).hear(ok("/")).kept().sees(wanted)
}

fn accepted() -> Vec<Case> {
    let long = format!("10000\r\n{}\r\n0\r\n\r\n", "x".repeat(0x10000));
    vec![
        passes("one_chunk", "5\r\nhello\r\n0\r\n\r\n", "hello"),
        passes("chunks", "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello"),
        passes("no_data", "0\r\n\r\n", ""),
        passes("size_in_upper_case", "A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        passes("size_with_leading_zeros", "0005\r\nhello\r\n0\r\n\r\n", "hello"),
        passes("last_chunk_of_many_zeros", "5\r\nhello\r\n000\r\n\r\n", "hello"),
        passes("extension", "5;a=b\r\nhello\r\n0;c\r\n\r\n", "hello"),
        passes("extension_in_quotes", "5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n", "hello"),
        passes("data_of_line_ends", "4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"),
        passes("data_that_looks_like_an_end", "5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n"),
        passes("long_chunk", &long, &"x".repeat(0x10000)),
        Case::new("byte_by_byte")
            .drip(chunked("5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n"))
            .hear(ok("/"))
            .kept()
            .sees(request("POST / HTTP/1.1").body("hello").trailer("a", "b")),
        Case::new("followed_by_a_request")
            .send(chunked("5\r\nhello\r\n0\r\n\r\n") + &crate::case::get_path("/second"))
            .hear(ok("/"))
            .hear(ok("/second"))
            .kept()
            .sees(request("POST / HTTP/1.1").body("hello"))
            .sees(request("GET /second HTTP/1.1")),
    ]
}

fn trailers() -> Vec<Case> {
    let with = |trailers: &str| format!("5\r\nhello\r\n0\r\n{trailers}\r\n\r\n");
    let bad = |name, trailers: &str| breaks(name, &with(trailers));
    let hello = request("POST / HTTP/1.1").body("hello");
    vec![
        Case::new("trailer")
            .send(post(&format!(
                "Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n{}",
                with("X-Sum: 1")
            )))
            .hear(ok("/"))
            .kept()
            .sees(hello.clone().with("trailer", "X-Sum").trailer("x-sum", "1")),
        // It must not become a header, where it could change the meaning of the request.
        Case::new("trailer_that_frames_is_no_header")
            .send(chunked(&with("Content-Length: 1\r\nTransfer-Encoding: chunked\r\nHost: evil")))
            .hear(ok("/"))
            .kept()
            .sees(hello.without("content-length").with("host", "x")),
        bad("trailer_without_colon", "X-Sum"),
        bad("trailer_with_bare_lf", "A: b\nC: d"),
        bad("trailer_with_bare_cr", "A: b\rC: d"),
        bad("trailer_with_nul", "A: \0"),
        bad("trailer_that_is_folded", "A: b\r\n c"),
        bad("trailer_with_space_before_colon", "A : b"),
        bad("trailer_without_name", ": b"),
        bad("trailer_that_is_huge", &format!("A: {}", "b".repeat(LONG))),
        bad("trailers_that_are_too_many", &"A: b\r\n".repeat(5000)),
    ]
}
