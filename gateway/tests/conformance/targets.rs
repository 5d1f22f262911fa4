//! The request line: method, form of the target, version, and the host (RFC 9112 3).

use crate::case::{BAD, Case, SMUGGLED, VERSION, all_refused, any, ok, refusal, refused, request};
use crate::house::{MAX_HEAD, MAX_TARGET};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = all_refused(BAD, lines());
    cases.extend(all_refused(VERSION, versions()));
    cases.extend(methods());
    cases.extend(forms());
    cases.extend(hosts());
    cases.extend(too_long());
    cases
}

fn with_line(line: &str) -> String {
    format!("{line}\r\nHost: x\r\n\r\n")
}

fn lines() -> Vec<(&'static str, String)> {
    [
        ("no_target", "GET HTTP/1.1"),
        ("empty_target", "GET  HTTP/1.1"),
        ("method_alone", "GET"),
        ("two_spaces_before_the_target", "GET  /function/f HTTP/1.1"),
        ("two_spaces_before_the_version", "GET /function/f  HTTP/1.1"),
        ("space_after_the_version", "GET /function/f HTTP/1.1 "),
        ("space_before_the_method", " GET /function/f HTTP/1.1"),
        ("tab_after_the_method", "GET\t/function/f HTTP/1.1"),
        ("tab_before_the_version", "GET /function/f\tHTTP/1.1"),
        ("space_in_the_target", "GET /function/f/a b HTTP/1.1"),
        ("more_after_the_version", "GET /function/f HTTP/1.1 HTTP/1.1"),
        ("nul_in_the_target", "GET /function/f/\0 HTTP/1.1"),
        ("control_in_the_target", "GET /function/f/\u{1} HTTP/1.1"),
        ("del_in_the_target", "GET /function/f/\u{7f} HTTP/1.1"),
        ("cr_in_the_target", "GET /function/f/\rx HTTP/1.1"),
        ("fragment_in_the_target", "GET /function/f/a#b HTTP/1.1"),
        ("target_without_slash", "GET function/f HTTP/1.1"),
        ("host_and_port_as_target", "GET x:80 HTTP/1.1"),
        ("scheme_without_host", "GET http:///function/f HTTP/1.1"),
        ("user_in_the_target", "GET http://user:secret@x/function/f HTTP/1.1"),
        ("parenthesis_in_the_method", "GE(T /function/f HTTP/1.1"),
        ("slash_in_the_method", "GET/ /function/f HTTP/1.1"),
        ("nul_in_the_method", "GET\0 /function/f HTTP/1.1"),
        ("other_letters_in_the_method", "G\u{c4}T /function/f HTTP/1.1"),
        ("no_method", "/function/f HTTP/1.1"),
    ]
    .into_iter()
    .map(|(name, line)| (name, with_line(line)))
    .collect()
}

fn versions() -> Vec<(&'static str, String)> {
    [
        ("http_0_9_in_words", "GET /function/f HTTP/0.9"),
        ("http_1_2", "GET /function/f HTTP/1.2"),
        ("http_2_0", "GET /function/f HTTP/2.0"),
        ("http_2", "GET /function/f HTTP/2"),
        ("http_1", "GET /function/f HTTP/1"),
        ("http_1_10", "GET /function/f HTTP/1.10"),
        ("http_01_1", "GET /function/f HTTP/01.1"),
        ("http_1_comma_1", "GET /function/f HTTP/1,1"),
        ("http_in_lower_case", "GET /function/f http/1.1"),
        ("another_protocol", "GET /function/f ICY/1.1"),
        ("https", "GET /function/f HTTPS/1.1"),
        ("version_with_plus", "GET /function/f HTTP/+1.1"),
    ]
    .into_iter()
    .map(|(name, line)| (name, with_line(line)))
    .collect()
}

fn methods() -> Vec<Case> {
    let passes = |name, method: &str| {
        let send = with_line(&format!("{method} /function/f/a HTTP/1.1"));
        Case::new(name)
            .send(send)
            .hear(ok("/a"))
            .kept()
            .sees(request(&format!("{method} /a HTTP/1.1")))
    };
    vec![
        passes("method_in_lower_case_is_another", "get"),
        passes("method_unknown", "BREW"),
        passes("method_with_dash", "M-SEARCH"),
        passes("method_of_marks", "!#$%&'*+-.^_`|~"),
        passes("method_of_webdav", "PROPFIND"),
        passes("method_patch", "PATCH"),
        passes("method_options", "OPTIONS"),
        passes("method_that_begins_like_another", "GETT"),
        passes("method_of_http_2", "PRI"),
        passes("method_of_hundred_letters", &"A".repeat(100)),
        refused(
            "connect_to_a_host",
            "CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n",
            &[400, 405, 501],
        ),
        refused("connect_to_a_path", with_line("CONNECT /function/f HTTP/1.1"), &[400, 405, 501]),
        refused(
            "connect_to_a_url",
            with_line("CONNECT http://x/function/f HTTP/1.1"),
            &[400, 405, 501],
        ),
        Case::new("http_0_9")
            .send("GET /function/f\r\n")
            .send(SMUGGLED)
            .hear(refusal(VERSION).optional())
            .closed(),
    ]
}

fn forms() -> Vec<Case> {
    let absolute = |name, target: &str, host: &str, line: &str, seen_host: &str| {
        let send = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let path = line.split(' ').nth(1).unwrap_or_default();
        let wanted = request(line).with("host", seen_host);
        Case::new(name).send(send).hear(ok(path)).kept().sees(wanted)
    };
    let elsewhere = |name, line: &str| {
        Case::new(name).send(with_line(line)).hear(any(&[400, 404])).kept_or_closed()
    };
    vec![
        absolute("absolute_form", "http://x/function/f/a?b", "x", "GET /a?b HTTP/1.1", "x"),
        absolute("absolute_form_of_https", "https://x/function/f", "x", "GET / HTTP/1.1", "x"),
        absolute(
            "absolute_form_with_port",
            "http://x:81/function/f",
            "x:81",
            "GET / HTTP/1.1",
            "x:81",
        ),
        absolute("absolute_form_in_upper_case", "HTTP://x/function/f", "x", "GET / HTTP/1.1", "x"),
        absolute(
            "absolute_form_overrides_host",
            "http://real/function/f",
            "other",
            "GET / HTTP/1.1",
            "real",
        ),
        absolute(
            "absolute_form_keeps_bytes",
            "http://x/function/f/%2F;a//b",
            "x",
            "GET /%2F;a//b HTTP/1.1",
            "x",
        ),
        elsewhere("absolute_form_without_path", "GET http://x HTTP/1.1"),
        elsewhere("options_of_the_server", "OPTIONS * HTTP/1.1"),
        elsewhere("asterisk_of_get", "GET * HTTP/1.1"),
        elsewhere("two_slashes_first", "GET //function/f HTTP/1.1"),
        elsewhere("prefix_in_upper_case", "GET /FUNCTION/f HTTP/1.1"),
        elsewhere("prefix_escaped", "GET /%66unction/f HTTP/1.1"),
        elsewhere("prefix_alone", "GET /function HTTP/1.1"),
        elsewhere("no_name", "GET /function/ HTTP/1.1"),
        elsewhere("no_name_but_path", "GET /function//f HTTP/1.1"),
        elsewhere("name_escaped", "GET /function/%66 HTTP/1.1"),
        elsewhere("slash_after_the_name_escaped", "GET /function/f%2Fa HTTP/1.1"),
        elsewhere("question_after_the_name_escaped", "GET /function/f%3Fa HTTP/1.1"),
        elsewhere("dots_in_the_place_of_a_name", "GET /function/../function/f HTTP/1.1"),
        elsewhere("dot_in_the_place_of_a_name", "GET /function/./f HTTP/1.1"),
        elsewhere("name_with_a_parameter", "GET /function/f;a=b HTTP/1.1"),
        elsewhere("name_of_another_namespace", "GET /function/f.other HTTP/1.1"),
        elsewhere("name_with_an_empty_namespace", "GET /function/f. HTTP/1.1"),
    ]
}

fn hosts() -> Vec<Case> {
    let with_host = |hosts: &str| format!("GET /function/f HTTP/1.1\r\n{hosts}A: b\r\n\r\n");
    let rows = [
        ("host_missing", ""),
        ("host_twice", "Host: x\r\nHost: y\r\n"),
        ("host_twice_the_same", "Host: x\r\nHost: x\r\n"),
        ("host_twice_apart", "Host: x\r\nB: c\r\nHOST: y\r\n"),
        ("host_with_space", "Host: a b\r\n"),
        ("host_with_comma", "Host: a, b\r\n"),
        ("host_with_slash", "Host: a/b\r\n"),
        ("host_with_user", "Host: a@b\r\n"),
        ("host_with_query", "Host: a?b\r\n"),
        ("host_with_fragment", "Host: a#b\r\n"),
        ("host_with_backslash", "Host: a\\b\r\n"),
        ("host_with_port_of_letters", "Host: x:port\r\n"),
        ("host_with_two_ports", "Host: x:1:2\r\n"),
        ("host_with_open_bracket", "Host: [::1\r\n"),
        ("host_with_scheme", "Host: http://x\r\n"),
    ];
    let rows = rows.map(|(name, hosts)| (name, with_host(hosts)));
    let mut cases = all_refused(BAD, rows.into());
    let passes = |name, value: &str| {
        let send = with_host(&format!("Host: {value}\r\n"));
        let wanted = request("GET / HTTP/1.1").with("host", value);
        Case::new(name).send(send).hear(ok("/")).kept().sees(wanted)
    };
    cases.extend([
        passes("host_with_port", "x:8080"),
        passes("host_that_is_an_address", "127.0.0.1:80"),
        passes("host_that_is_an_ipv6_address", "[::1]:8080"),
        passes("host_in_upper_case", "EXAMPLE.com"),
        passes("host_with_underscore", "a_b.c-d"),
        passes("host_that_is_empty", ""),
        Case::new("http_1_0_needs_no_host")
            .send("GET /function/f HTTP/1.0\r\n\r\n")
            .hear(ok("/").old())
            .closed()
            .sees(request("GET / HTTP/1.1")),
    ]);
    cases
}

fn too_long() -> Vec<Case> {
    let of = |length: usize| with_line(&format!("GET /function/f/{} HTTP/1.1", "a".repeat(length)));
    let fits = "a".repeat(MAX_TARGET / 2);
    vec![
        refused("target_too_long", of(MAX_TARGET + 1), &[414]),
        refused(
            "query_too_long",
            of(0).replace("/ ", &format!("/?{} ", "a".repeat(MAX_TARGET))),
            &[414],
        ),
        refused("target_longer_than_a_head", of(2 * MAX_HEAD), &[414, 431]),
        refused("target_without_end", format!("GET /{}", "a".repeat(4 * MAX_HEAD)), &[414, 431]),
        refused("method_without_end", "A".repeat(4 * MAX_HEAD), &[400, 414, 431, 501]),
        Case::new("long_target_within_the_limit")
            .send(with_line(&format!("GET /function/f/{fits} HTTP/1.1")))
            .hear(ok(&format!("/{fits}")))
            .kept()
            .sees(request(&format!("GET /{fits} HTTP/1.1"))),
    ]
}
