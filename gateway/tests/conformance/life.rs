//! The life of a connection: one request after another, and how it ends.

use crate::case::{Case, Limits, SMUGGLED, any, cut, get, get_path, ok, post, request};
use crate::upstream::Reply;

/// A body that no socket's buffers hold.
const LARGE: usize = 8 << 20;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = pipelines();
    cases.extend(old());
    cases.extend(ends());
    cases.extend(slow());
    cases.extend(unread());
    cases.extend(expectations());
    cases
}

fn seen(line: &str) -> crate::case::Wanted {
    request(line)
}

fn pipelines() -> Vec<Case> {
    let three = get_path("/1") + &post("Content-Length: 3\r\n\r\ntwo") + &get_path("/3");
    let close = "GET /function/f/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let many: String = (0..50).map(|i| get_path(&format!("/{i}"))).collect();
    let mut long = Case::new("fifty_at_once_are_answered_in_order").send(many);
    for i in 0..50 {
        long = long.hear(ok(&format!("/{i}"))).sees(seen(&format!("GET /{i} HTTP/1.1")));
    }
    vec![
        Case::new("three_at_once_are_answered_in_order")
            .send(three)
            .hear(ok("/1"))
            .hear(ok("/"))
            .hear(ok("/3"))
            .kept()
            .sees(seen("GET /1 HTTP/1.1"))
            .sees(seen("POST / HTTP/1.1").body("two"))
            .sees(seen("GET /3 HTTP/1.1")),
        long.kept(),
        Case::new("nothing_is_carried_out_after_close")
            .send(format!("{close}{SMUGGLED}"))
            .hear(ok("/1").with("connection", "close"))
            .closed()
            .sees(seen("GET /1 HTTP/1.1").without("connection")),
        Case::new("close_in_a_list")
            .send(get("Connection: x-a, CLOSE\r\n\r\n"))
            .hear(ok("/").with("connection", "close"))
            .closed()
            .sees(seen("GET / HTTP/1.1")),
        // Whoever says that nothing more comes may have gone away: a proxy cannot tell.
        Case::new("end_after_the_requests")
            .send(get_path("/1") + &get_path("/2"))
            .finish()
            .hear(ok("/1").optional())
            .hear(ok("/2").optional())
            .closed()
            .sees(cut("GET /1 HTTP/1.1").or_whole())
            .sees(cut("GET /2 HTTP/1.1").or_whole()),
        Case::new("head_has_no_body")
            .send("HEAD /function/f/a HTTP/1.1\r\nHost: x\r\n\r\n")
            .hear(any(&[200]).of_head().with("content-length", "2"))
            .kept()
            .sees(seen("HEAD /a HTTP/1.1")),
    ]
}

/// HTTP/1.0, which ends connections and knows no chunks.
fn old() -> Vec<Case> {
    let plain = "GET /function/f HTTP/1.0\r\nHost: x\r\n\r\n";
    let keep = "GET /function/f HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let root = || seen("GET / HTTP/1.1");
    vec![
        Case::new("http_1_0_closes").send(plain).send(SMUGGLED).hear(ok("/").old()).closed().sees(root()),
        Case::new("http_1_0_keeps_alive_when_asked")
            .send(keep)
            .hear(ok("/").old().with("connection", "keep-alive"))
            .kept()
            .sees(root()),
        Case::new("http_1_0_gets_no_chunks")
            .reply(Reply::new(chunked))
            .send(plain)
            .hear(ok("hello").old().without("transfer-encoding"))
            .closed()
            .sees(root()),
        Case::new("http_1_0_gets_no_chunks_when_it_keeps_alive")
            .reply(Reply::new(chunked))
            .send(keep)
            .hear(ok("hello").old().without("transfer-encoding"))
            .closed()
            .sees(root()),
        Case::new("http_1_0_with_a_body")
            .send("POST /function/f HTTP/1.0\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
            .hear(ok("/").old())
            .closed()
            .sees(seen("POST / HTTP/1.1").body("hello")),
        Case::new("http_1_0_expects_nothing")
            .reply(Reply::on_head("HTTP/1.1 100 Continue\r\n\r\n").then("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"))
            .send("POST /function/f HTTP/1.0\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
            .hear(ok("hi").old().strictly())
            .closed()
            .sees(seen("POST / HTTP/1.1").body("hello")),
    ]
}

/// The client goes away in the middle.
fn ends() -> Vec<Case> {
    let maybe_told = || any(&[400]).optional();
    let head = |name, bytes: &str| Case::new(name).send(bytes).finish().hear(maybe_told()).closed();
    let body = |name, bytes: &str| {
        let send = post(&format!("Content-Length: 5\r\n\r\n{bytes}"));
        let case = Case::new(name).send(send).arrived(1).finish();
        case.hear(maybe_told()).closed().sees(cut("POST / HTTP/1.1"))
    };
    vec![
        head("end_in_the_method", "GE"),
        head("end_in_the_target", "GET /functio"),
        head("end_after_the_request_line", "GET /function/f HTTP/1.1\r\n"),
        head("end_in_a_header", "GET /function/f HTTP/1.1\r\nHos"),
        head("end_before_the_last_line", "GET /function/f HTTP/1.1\r\nHost: x\r\n"),
        head("end_within_the_last_line", "GET /function/f HTTP/1.1\r\nHost: x\r\n\r"),
        body("end_before_the_body", ""),
        body("end_in_the_body", "hel"),
        Case::new("gone_in_the_body")
            .send(post("Content-Length: 5\r\n\r\nhe"))
            .arrived(1)
            .sees(cut("POST / HTTP/1.1")),
        Case::new("gone_before_the_answer")
            .send(post("Content-Length: 5\r\n\r\nhello"))
            .sees(cut("POST / HTTP/1.1").or_whole()),
    ]
}

fn slow() -> Vec<Case> {
    let head = Limits { header_ms: Some(200), ..Limits::default() };
    let idle = Limits { idle_ms: Some(200), ..Limits::default() };
    let too_late = || any(&[408]).optional();
    let endless = get(&"A: b\r\n".repeat(100));
    vec![
        Case::new("head_that_stops")
            .limits(head)
            .send("GET /function/f HTTP/1.1\r\nHo")
            .hear(too_late())
            .closed(),
        Case::new("head_that_drips").limits(head).drip(endless).hear(too_late()).closed(),
        Case::new("second_head_that_stops")
            .limits(head)
            .send(get_path("/1") + "GET /fun")
            .hear(ok("/1"))
            .hear(too_late())
            .closed()
            .sees(seen("GET /1 HTTP/1.1")),
        Case::new("silence_from_the_start").limits(idle).closed(),
        Case::new("silence_after_an_answer")
            .limits(idle)
            .send(get_path("/1"))
            .hear(ok("/1"))
            .closed()
            .sees(seen("GET /1 HTTP/1.1")),
        Case::new("body_that_never_comes")
            .limits(Limits { timeout_ms: Some(300), ..Limits::default() })
            .send(post("Content-Length: 5\r\n\r\nhe"))
            .hear(any(&[400, 408, 504]).optional())
            .closed()
            .sees(cut("POST / HTTP/1.1")),
        Case::new("answer_that_never_comes")
            .limits(Limits { timeout_ms: Some(300), ..Limits::default() })
            .reply(Reply::new(""))
            .send(get_path("/1"))
            .hear(any(&[504]))
            .kept()
            .sees(seen("GET /1 HTTP/1.1")),
    ]
}

/// Nobody reads the body: what is left of it must not become the next request.
fn unread() -> Vec<Case> {
    let hidden = SMUGGLED.repeat(3);
    let unknown = |headers: &str, body: &str| {
        format!("POST /function/none HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n{body}")
    };
    let length = format!("Content-Length: {}", hidden.len());
    let chunk = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    let early = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno\n";
    let large = format!("Content-Length: {LARGE}\r\n\r\n{}", "x".repeat(LARGE));
    vec![
        Case::new("body_to_an_unknown_function")
            .send(unknown(&length, &hidden))
            .hear(any(&[404]))
            .kept_or_closed(),
        Case::new("chunks_to_an_unknown_function")
            .send(unknown("Transfer-Encoding: chunked", &chunk))
            .hear(any(&[404]))
            .kept_or_closed(),
        Case::new("part_of_a_body_to_an_unknown_function")
            .send(unknown(&length, "GET "))
            .hear(any(&[404]))
            .send(&SMUGGLED[4..])
            .send(&*SMUGGLED.repeat(2))
            .kept_or_closed(),
        Case::new("large_body_to_an_unknown_function")
            .send(unknown(&format!("Content-Length: {LARGE}"), &"x".repeat(LARGE)))
            .hear(any(&[404]))
            .kept_or_closed(),
        Case::new("large_body_that_the_function_does_not_read")
            .reply(Reply::on_head(early).close_on_head())
            .send(post(&large))
            .hear(any(&[413]).body("no\n"))
            .kept_or_closed()
            .sees(request("POST / HTTP/1.1")),
        Case::new("body_that_the_function_does_not_wait_for")
            .reply(Reply::on_head(early))
            .send(post("Content-Length: 5\r\n\r\nhe"))
            .hear(any(&[413]).body("no\n"))
            .send("llo")
            .kept_or_closed()
            .sees(cut("POST / HTTP/1.1").or_whole()),
    ]
}

fn expectations() -> Vec<Case> {
    let expect = post("Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let hi = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let wanted = || request("POST / HTTP/1.1").with("expect", "100-continue").body("hello");
    vec![
        Case::new("continue_comes_from_the_function")
            .reply(Reply::on_head("HTTP/1.1 100 Continue\r\n\r\n").then(hi))
            .send(expect.clone())
            .hear(any(&[100]))
            .send("hello")
            .hear(ok("hi"))
            .kept()
            .sees(wanted()),
        Case::new("expectation_that_the_function_refuses")
            .reply(
                Reply::on_head("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
                    .close_on_head(),
            )
            .send(expect.clone())
            // No `100 Continue` before it, which would ask for the body.
            .hear(any(&[417]).strictly())
            .kept_or_closed()
            .sees(request("POST / HTTP/1.1")),
        Case::new("expectation_that_the_function_does_not_know")
            .send(expect.clone())
            .hear(any(&[100]))
            .send("hello")
            .hear(ok("/"))
            .kept()
            .sees(wanted()),
        Case::new("body_that_does_not_wait")
            .reply(Reply::on_head("HTTP/1.1 100 Continue\r\n\r\n").then(hi))
            .send(expect.clone() + "hello")
            .hear(ok("hi"))
            .kept()
            .sees(wanted()),
        Case::new("expectation_without_a_body")
            .send(get("Expect: 100-continue\r\n\r\n"))
            .hear(ok("/"))
            .kept()
            .sees(request("GET / HTTP/1.1")),
        Case::new("expectation_in_upper_case")
            .reply(Reply::on_head("HTTP/1.1 100 Continue\r\n\r\n").then(hi))
            .send(post("Expect: 100-CONTINUE\r\nContent-Length: 5\r\n\r\n"))
            .hear(any(&[100]))
            .send("hello")
            .hear(ok("hi"))
            .kept()
            .sees(request("POST / HTTP/1.1").body("hello")),
    ]
}
