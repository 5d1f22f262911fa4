//! Heads of answers as functions send them: what cannot be passed on is 502, and nothing of one
//! answer gets into the next.

use crate::case::{Answer, Case, GATEWAY, SMUGGLED, any, get, ok, post, request};
use crate::upstream::Reply;

/// An answer that nobody asked for.
const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
/// A head that no gateway should keep in memory.
const HUGE: usize = 4 << 20;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(
        bad().into_iter().map(|(name, bytes)| Case::new(name).answered(bytes, any(GATEWAY))),
    );
    cases.extend(lenient());
    cases.extend(provisional());
    cases.extend(bodiless());
    cases.extend(surplus());
    cases.extend(accepted());
    cases.extend(breaks());
    cases
}

impl Case {
    /// A POST, which is not sent again when something breaks, and what becomes of its answer.
    pub(crate) fn answered(self, bytes: String, answer: Answer) -> Self {
        let case =
            self.reply(Reply::new(bytes).close()).send(post("Content-Length: 5\r\n\r\nhello"));
        let kept = match answer.cut {
            true => case.hear(answer).closed(),
            false => case.hear(answer).kept_or_closed(),
        };
        kept.sees(request("POST / HTTP/1.1").body("hello"))
    }
}

fn head(headers: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\nhello")
}

fn bad() -> Vec<(&'static str, String)> {
    let line = |line: &str| format!("{line}\r\nContent-Length: 5\r\n\r\nhello");
    vec![
        ("garbage", "hello, this is no answer\r\n\r\n".to_owned()),
        ("a_request", SMUGGLED.to_owned()),
        ("nothing", String::new()),
        ("half_a_status_line", "HTTP/1.1 20".to_owned()),
        ("half_a_head", "HTTP/1.1 200 OK\r\nContent-Len".to_owned()),
        ("lengths_that_differ", head("Content-Length: 5\r\nContent-Length: 6")),
        ("list_of_lengths_that_differ", head("Content-Length: 5, 6")),
        ("length_of_letters", head("Content-Length: five")),
        ("length_with_minus", head("Content-Length: -5")),
        ("length_with_plus", head("Content-Length: +5")),
        ("length_above_64_bits", head("Content-Length: 99999999999999999999999")),
        ("coding_unknown", head("Transfer-Encoding: xchunked")),
        ("coding_after_chunked", head("Transfer-Encoding: chunked, gzip")),
        ("nul_in_a_value", head("A: \0\r\nContent-Length: 5")),
        ("cr_in_a_value", head("A: b\rc\r\nContent-Length: 5")),
        ("no_colon", head("A\r\nContent-Length: 5")),
        ("space_in_a_name", head("A b: c\r\nContent-Length: 5")),
        ("name_that_is_empty", head(": c\r\nContent-Length: 5")),
        ("status_of_two_digits", line("HTTP/1.1 20 OK")),
        ("status_of_four_digits", line("HTTP/1.1 2000 OK")),
        ("status_of_letters", line("HTTP/1.1 2x0 OK")),
        ("status_of_zeros", line("HTTP/1.1 000 OK")),
        ("status_that_is_missing", line("HTTP/1.1")),
        ("version_2", line("HTTP/2.0 200 OK")),
        ("version_0_9", line("HTTP/0.9 200 OK")),
        ("another_protocol", line("ICY 200 OK")),
        (
            "switch_of_protocols_unasked",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhello"
                .to_owned(),
        ),
        ("head_that_is_huge", head(&format!("A: {}\r\nContent-Length: 5", "b".repeat(HUGE)))),
        (
            "headers_that_are_too_many",
            head(&format!("{}Content-Length: 5", "A: b\r\n".repeat(100_000))),
        ),
        ("head_without_end", format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(1_000_000))),
    ]
}

/// May be refused, or read and written anew; what the client gets is well-formed.
fn lenient() -> Vec<Case> {
    let either = |name, bytes: String| Case::new(name).answered(bytes, any(&[200, 502]));
    vec![
        either("length_and_chunked", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_owned()),
        either("lengths_that_agree", head("Content-Length: 5\r\nContent-Length: 5")),
        either("lf_line_ends", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello".to_owned()),
        either("lf_after_a_header", head("A: b\nContent-Length: 5")),
        either("folded_header", head("A: b\r\n c\r\nContent-Length: 5")),
        either("space_before_colon", head("A : b\r\nContent-Length: 5")),
        Case::new("status_of_no_class").answered("HTTP/1.1 999 Odd\r\nContent-Length: 5\r\n\r\nhello".to_owned(), any(&[999, 502])),
        either("version_1_2", "HTTP/1.2 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned()),
    ]
}

/// 1xx before the answer.
fn provisional() -> Vec<Case> {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let first = |name, first: &str| {
        let reply = Reply::new(format!("{first}{answer}"));
        let case = Case::new(name).reply(reply).send(get("\r\n"));
        case.hear(ok("hi")).kept().sees(request("GET / HTTP/1.1"))
    };
    vec![
        first("continue_unasked", "HTTP/1.1 100 Continue\r\n\r\n"),
        first("early_hints", "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"),
        first("processing_twice", "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"),
        first("hints_with_a_length", "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n"),
        Case::new("provisional_answers_without_end")
            .answered("HTTP/1.1 100 Continue\r\n\r\n".repeat(200_000) + answer, any(&[200, 502])),
        Case::new("provisional_answer_only")
            .answered("HTTP/1.1 100 Continue\r\n\r\n".to_owned(), any(GATEWAY)),
    ]
}

/// Answers that have no body, whatever they say.
fn bodiless() -> Vec<Case> {
    let to = |(name, method, bytes, answer): (&'static str, &str, String, Answer)| {
        let send = format!("{method} /function/f HTTP/1.1\r\nHost: x\r\n\r\n");
        let case = Case::new(name).reply(Reply::new(bytes)).send(send);
        case.hear(answer).kept_or_closed().sees(request(&format!("{method} / HTTP/1.1")))
    };
    to_head().into_iter().chain(without_content()).chain(not_modified()).map(to).collect()
}

type Bodiless = Vec<(&'static str, &'static str, String, Answer)>;

fn to_head() -> Bodiless {
    let found = || any(&[200]).of_head();
    let of_5 = || found().with("content-length", "5");
    let row = |name, headers: &str, body: &str, answer| {
        (name, "HEAD", format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n{body}"), answer)
    };
    vec![
        row("head_with_a_length", "Content-Length: 5", "", of_5()),
        row("head_with_a_body", "Content-Length: 5", "hello", of_5()),
        row("head_with_chunks", "Transfer-Encoding: chunked", "", found()),
        row("head_without_a_length", "A: b", "", found().with("a", "b")),
        row("head_with_an_answer_as_body", "Content-Length: 44", POISON, found()),
    ]
}

fn without_content() -> Bodiless {
    let none = || any(&[204]);
    let row = |name, headers: &str, body: &str, answer| {
        (name, "DELETE", format!("HTTP/1.1 204 No Content\r\n{headers}\r\n{body}"), answer)
    };
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    vec![
        row("no_content", "", "", none().without("content-length")),
        row("no_content_of_length_zero", "Content-Length: 0\r\n", "", none()),
        row("no_content_with_a_body", "Content-Length: 5\r\n", "hello", none()),
        row("no_content_with_chunks", "Transfer-Encoding: chunked\r\n", chunks, none()),
        row("no_content_with_an_answer_as_body", "Content-Length: 44\r\n", POISON, none()),
    ]
}

fn not_modified() -> Bodiless {
    let row = |name, headers: &str, body: &str| {
        let bytes = format!("HTTP/1.1 304 Not Modified\r\nETag: \"a\"{headers}\r\n\r\n{body}");
        (name, "GET", bytes, any(&[304]).with("etag", "\"a\""))
    };
    vec![
        row("not_modified", "", ""),
        row("not_modified_with_a_length", "\r\nContent-Length: 5", ""),
        row("not_modified_with_a_body", "\r\nContent-Length: 5", "hello"),
    ]
}

/// More than was announced: it must not become the answer to whoever calls next.
fn surplus() -> Vec<Case> {
    let more = |name, bytes: String, answer: Answer| {
        let case = Case::new(name).reply(Reply::new(bytes)).send(get("\r\n"));
        case.hear(answer).kept().sees(request("GET / HTTP/1.1"))
    };
    let two = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    vec![
        more("longer_than_its_length", format!("{two}there"), ok("hi")),
        more("an_answer_behind_the_answer", format!("{two}{POISON}"), ok("hi")),
        more("many_answers_behind_the_answer", format!("{two}{}", POISON.repeat(100)), ok("hi")),
        more("bytes_behind_the_last_chunk", format!("{chunks}there"), ok("hi")),
        more("an_answer_behind_the_last_chunk", format!("{chunks}{POISON}"), ok("hi")),
        more(
            "an_answer_behind_an_empty_one",
            format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n{POISON}"),
            ok(""),
        ),
        more(
            "an_answer_behind_no_content",
            format!("HTTP/1.1 204 No Content\r\n\r\n{POISON}"),
            any(&[204]),
        ),
        more(
            "an_answer_behind_not_modified",
            format!("HTTP/1.1 304 Not Modified\r\n\r\n{POISON}"),
            any(&[304]),
        ),
        more("empty_lines_behind_the_answer", format!("{two}\r\n\r\n"), ok("hi")),
    ]
}

fn accepted() -> Vec<Case> {
    let passes = |name, bytes: &[u8], answer: Answer| {
        let case = Case::new(name).reply(Reply::new(bytes.to_vec())).send(get("\r\n"));
        case.hear(answer).kept().sees(request("GET / HTTP/1.1"))
    };
    let hello = |headers: &[u8]| {
        [b"HTTP/1.1 200 OK\r\n", headers, b"\r\nContent-Length: 5\r\n\r\nhello"].concat()
    };
    vec![
        passes(
            "reason_that_is_missing",
            b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello",
            ok("hello"),
        ),
        passes(
            "reason_that_is_empty",
            b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello",
            ok("hello"),
        ),
        passes(
            "reason_in_other_letters",
            b"HTTP/1.1 200 \xc3\xa4\xff\r\nContent-Length: 5\r\n\r\nhello",
            ok("hello"),
        ),
        passes(
            "status_that_nobody_knows",
            b"HTTP/1.1 299 Odd\r\nContent-Length: 5\r\n\r\nhello",
            any(&[299]).body("hello"),
        ),
        passes(
            "error_of_the_function",
            b"HTTP/1.1 500 No\r\nContent-Length: 5\r\n\r\nhello",
            any(&[500]).body("hello").without("x-faas-error"),
        ),
        passes("high_bytes_in_a_value", &hello(b"A: caf\xe9"), ok("hello").with("a", "caf\u{e9}")),
        passes(
            "cookies_stay_apart",
            &hello(b"Set-Cookie: a=1, b\r\nSet-Cookie: c"),
            ok("hello").with("set-cookie", "a=1, b, c"),
        ),
        passes(
            "redirect_is_passed_on",
            b"HTTP/1.1 302 Found\r\nLocation: http://other/a\r\nContent-Length: 0\r\n\r\n",
            any(&[302]).with("location", "http://other/a"),
        ),
        passes(
            "version_1_0_kept_alive",
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
            ok("hello"),
        ),
    ]
}

/// The function's connection ends with its answer: the next call gets a new one.
fn breaks() -> Vec<Case> {
    let ends = |name, bytes: &str| {
        let case = Case::new(name).reply(Reply::new(bytes).close()).send(get("\r\n"));
        case.hear(ok("hello")).kept().sees(request("GET / HTTP/1.1"))
    };
    vec![
        ends("close_after_the_answer", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        ends(
            "close_that_is_announced",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        ),
        ends("version_1_0_with_a_length", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ]
}
