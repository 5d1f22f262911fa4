//! What belongs to one connection stays there; what says who called is added (RFC 9110 7.6).

use crate::case::{Case, any, get, ok, request};
use crate::upstream::Reply;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = stays_here();
    cases.extend(goes_on());
    cases.extend(forwarded());
    cases.extend(upgrades());
    cases.extend(answers());
    cases
}

fn without(name: &'static str, headers: &str, gone: &'static str) -> Case {
    let wanted = request("GET / HTTP/1.1").without(gone);
    Case::new(name).send(get(&format!("{headers}\r\n\r\n"))).hear(ok("/")).kept().sees(wanted)
}

fn with(name: &'static str, headers: &str, (header, value): (&'static str, &str)) -> Case {
    let wanted = request("GET / HTTP/1.1").with(header, value);
    Case::new(name).send(get(&format!("{headers}\r\n\r\n"))).hear(ok("/")).kept().sees(wanted)
}

fn stays_here() -> Vec<Case> {
    vec![
        without("keep_alive", "Keep-Alive: timeout=5", "keep-alive"),
        without("connection_keep_alive", "Connection: keep-alive", "connection"),
        without("proxy_connection", "Proxy-Connection: keep-alive", "proxy-connection"),
        without("proxy_authorization", "Proxy-Authorization: Basic eDp5", "proxy-authorization"),
        without("te_of_other_codings", "TE: gzip\r\nConnection: TE", "te"),
        without("named_by_connection", "X-A: 1\r\nConnection: X-A", "x-a"),
        without("named_by_connection_in_another_case", "X-A: 1\r\nConnection: x-a", "x-a"),
        without("named_in_a_list", "X-A: 1\r\nConnection: keep-alive,  ,X-A", "x-a"),
        without("named_in_the_second_line", "X-A: 1\r\nConnection: b\r\nConnection: X-A", "x-a"),
        without("named_before_it_comes", "Connection: X-A\r\nX-A: 1\r\nX-A: 2", "x-a"),
        without("upgrade_that_connection_does_not_name", "Upgrade: websocket", "upgrade"),
        without("connection_upgrade_without_upgrade", "Connection: Upgrade", "connection"),
    ]
}

fn goes_on() -> Vec<Case> {
    vec![
        with("te_trailers", "TE: trailers\r\nConnection: TE", ("te", "trailers")),
        with("host_cannot_be_named_away", "Connection: Host", ("host", "x")),
        with("names_that_are_none_are_skipped", "A: b\r\nConnection: (, \"A\", b c", ("a", "b")),
        with("authorization", "Authorization: Bearer t", ("authorization", "Bearer t")),
        with("trace", "Traceparent: 00-a-b-01\r\nTracestate: a=1", ("traceparent", "00-a-b-01")),
        with("accept_encoding", "Accept-Encoding: gzip", ("accept-encoding", "gzip")),
        with("via", "Via: 1.1 a", ("via", "1.1 a")),
        with("expectation_unknown", "Expect: coffee", ("expect", "coffee")),
        with("call_id", "X-Call-Id: mine", ("x-call-id", "mine")),
        with("range", "Range: bytes=0-1", ("range", "bytes=0-1")),
    ]
}

fn forwarded() -> Vec<Case> {
    let chain = "X-Forwarded-For: 1.1.1.1";
    vec![
        with("address_of_the_client", "A: b", ("x-forwarded-for", "127.0.0.1")),
        with("address_is_appended", chain, ("x-forwarded-for", "1.1.1.1, 127.0.0.1")),
        with(
            "addresses_in_two_lines",
            "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2",
            ("x-forwarded-for", "1.1.1.1, 2.2.2.2, 127.0.0.1"),
        ),
        with(
            "address_cannot_be_named_away",
            "Connection: X-Forwarded-For",
            ("x-forwarded-for", "127.0.0.1"),
        ),
        with("host_of_the_client", "A: b", ("x-forwarded-host", "x")),
        with("scheme_of_the_client", "A: b", ("x-forwarded-proto", "http")),
        with("host_of_an_earlier_hop", "X-Forwarded-Host: y", ("x-forwarded-host", "y")),
        with(
            "scheme_of_an_earlier_hop",
            "X-Forwarded-Proto: https",
            ("x-forwarded-proto", "https"),
        ),
    ]
}

fn upgrades() -> Vec<Case> {
    let ask = "Connection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    let switched =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    let wanted = || request("GET / HTTP/1.1").with("connection", "Upgrade").with("upgrade", "echo");
    vec![
        Case::new("upgrade")
            .reply(Reply::new(switched).echo())
            .send(get(ask))
            .hear(any(&[101]).with("upgrade", "echo").with("connection", "Upgrade"))
            .send(b"\x00\xffGET / HTTP/1.1\r\n\r\n")
            .raw(b"\x00\xffGET / HTTP/1.1\r\n\r\n")
            .finish()
            .closed()
            .sees(wanted()),
        Case::new("upgrade_with_the_first_bytes_behind_it")
            .reply(Reply::new(format!("{switched}early")).echo())
            .send(get(ask) + "bytes")
            .hear(any(&[101]))
            .raw("earlybytes")
            .sees(wanted()),
        Case::new("upgrade_in_a_list")
            .reply(Reply::new(switched).echo())
            .send(get("Connection: keep-alive, upgrade\r\nUpgrade: echo\r\n\r\n"))
            .hear(any(&[101]))
            .send("x")
            .raw("x")
            .sees(wanted()),
        Case::new("upgrade_that_is_declined")
            .send(get(ask))
            .hear(ok("/").without("upgrade"))
            .kept_or_closed()
            .sees(wanted()),
        // RFC 9110 7.8: a server ignores it in a request of HTTP/1.0.
        Case::new("upgrade_on_http_1_0")
            .send(format!("GET /function/f HTTP/1.0\r\nHost: x\r\n{ask}"))
            .hear(ok("/").old())
            .closed()
            .sees(request("GET / HTTP/1.1").without("upgrade")),
    ]
}

fn answers() -> Vec<Case> {
    let gone = |name, header: &str, gone: &'static str| {
        let reply =
            Reply::new(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{header}\r\n\r\nhi"));
        let case = Case::new(name).reply(reply).send(get("\r\n"));
        case.hear(ok("hi").without(gone)).kept().sees(request("GET / HTTP/1.1"))
    };
    vec![
        gone("answers_keep_alive", "Keep-Alive: timeout=5", "keep-alive"),
        gone("answers_proxy_connection", "Proxy-Connection: close", "proxy-connection"),
        gone("answers_proxy_authenticate", "Proxy-Authenticate: Basic", "proxy-authenticate"),
        gone("answers_header_named_by_connection", "X-A: 1\r\nConnection: X-A", "x-a"),
        gone("answers_upgrade", "Upgrade: h2c\r\nConnection: Upgrade", "upgrade"),
        gone("answers_connection_close_is_of_that_hop", "Connection: close", "connection"),
    ]
}
