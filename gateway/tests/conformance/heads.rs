//! Header lines and what they are made of (RFC 9112 2.2 and 5, RFC 9110 5).

use crate::case::{BAD, Case, SMUGGLED, all_refused, any, get, ok, refusal, refused, request};
use crate::house::MAX_HEAD;

/// More headers than a client needs, and than the gateway takes.
const MANY: usize = 1000;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = all_refused(BAD, line_ends());
    cases.extend(all_refused(BAD, names()));
    cases.extend(values());
    cases.extend(sizes());
    cases.extend(accepted());
    cases.extend(no_http());
    cases
}

fn line_ends() -> Vec<(&'static str, String)> {
    let whole = |text: &str| text.to_owned();
    vec![
        ("lf_after_the_request_line", whole("GET /function/f HTTP/1.1\nHost: x\r\n\r\n")),
        ("lf_after_a_header", whole("GET /function/f HTTP/1.1\r\nHost: x\nA: b\r\n\r\n")),
        ("lf_everywhere", whole("GET /function/f HTTP/1.1\nHost: x\n\n")),
        ("lf_as_the_last_line", get("A: b\r\n\n")),
        ("lf_hides_a_coding", get("A: b\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
        ("cr_after_the_request_line", whole("GET /function/f HTTP/1.1\rHost: x\r\n\r\n")),
        ("cr_after_a_header", get("A: b\rC: d\r\n\r\n")),
        ("cr_in_a_value", get("A: b\rc\r\n\r\n")),
        ("cr_before_the_line_end", get("A: b\r\r\n\r\n")),
        ("cr_before_the_last_line", get("A: b\r\n\r\r\n")),
        ("cr_hides_a_coding", get("A: b\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
        ("fold_with_space", get("A: b\r\n c\r\n\r\n")),
        ("fold_with_tab", get("A: b\r\n\tc\r\n\r\n")),
        ("fold_of_an_empty_line", get("A: b\r\n \r\n\r\n")),
        ("fold_of_the_coding", get("Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n")),
        (
            "fold_before_the_first_header",
            whole("GET /function/f HTTP/1.1\r\n A: b\r\nHost: x\r\n\r\n"),
        ),
    ]
}

fn names() -> Vec<(&'static str, String)> {
    [
        ("space_before_colon", "A : b"),
        ("tab_before_colon", "A\t: b"),
        ("space_before_colon_of_the_coding", "Transfer-Encoding : chunked"),
        ("space_before_colon_of_the_length", "Content-Length : 5"),
        ("name_that_is_empty", ": b"),
        ("no_colon", "A"),
        ("no_colon_but_space", "A b"),
        ("space_in_name", "A b: c"),
        ("parenthesis_in_name", "A(b): c"),
        ("slash_in_name", "A/b: c"),
        ("quote_in_name", "\"A\": b"),
        ("comma_in_name", "A,b: c"),
        ("at_in_name", "A@b: c"),
        ("nul_in_name", "A\0: b"),
        ("del_in_name", "A\u{7f}: b"),
        ("other_letters_in_name", "\u{c4}: b"),
        ("no_break_space_before_colon", "Content-Length\u{a0}: 5"),
    ]
    .into_iter()
    .map(|(name, line)| (name, get(&format!("{line}\r\n\r\n"))))
    .collect()
}

fn values() -> Vec<Case> {
    let bad = [
        ("nul_in_value", "A: b\0c"),
        ("nul_alone_in_value", "A: \0"),
        ("bell_in_value", "A: \u{7}"),
        ("escape_in_value", "A: \u{1b}[31m"),
        ("del_in_value", "A: b\u{7f}"),
        ("vertical_tab_in_value", "A: b\u{b}c"),
        ("form_feed_in_value", "A: b\u{c}c"),
    ];
    let bad = bad.map(|(name, line)| refused(name, get(&format!("{line}\r\n\r\n")), BAD));
    let good = |name, line: &'static [u8], value: &[u8]| {
        let send = [get("").as_bytes(), line, b"\r\n\r\n"].concat();
        let wanted = request("GET / HTTP/1.1").with_bytes("a", value);
        Case::new(name).send(send).hear(ok("/")).kept().sees(wanted)
    };
    let mut cases = Vec::from(bad);
    cases.extend([
        good("empty_value", b"A:", b""),
        good("value_of_spaces", b"A:  \t ", b""),
        good("spaces_around_a_value", b"A: \t b c \t", b"b c"),
        good("tab_in_value", b"A: b\tc", b"b\tc"),
        good("colons_in_value", b"A: b:c: d", b"b:c: d"),
        good("latin_1_in_value", b"A: caf\xe9", b"caf\xe9"),
        good("utf_8_in_value", b"A: \xc3\xa4", b"\xc3\xa4"),
        good("any_high_bytes_in_value", b"A: \x80\xfe\xff", b"\x80\xfe\xff"),
        good("quotes_in_value", b"A: \"b\\\"c\"", b"\"b\\\"c\""),
        good(
            "every_mark_in_name_and_value",
            b"a: !#$%&'*+-.^_`|~()<>@,;:\\/[]?={}",
            b"!#$%&'*+-.^_`|~()<>@,;:\\/[]?={}",
        ),
    ]);
    cases
}

fn sizes() -> Vec<Case> {
    let many = |count: usize| (0..count).map(|i| format!("H{i}: v\r\n")).collect::<String>();
    let large = "v".repeat(MAX_HEAD / 2);
    vec![
        refused("too_many_headers", get(&format!("{}\r\n", many(MANY))), &[431]),
        refused(
            "one_header_is_too_long",
            get(&format!("A: {}\r\n\r\n", "v".repeat(MAX_HEAD))),
            &[431],
        ),
        refused(
            "headers_are_too_long_together",
            get(&format!(
                "{}\r\n",
                format!("A: {}\r\n", "v".repeat(1000)).repeat(MAX_HEAD / 1000 + 1)
            )),
            &[431],
        ),
        refused("name_is_too_long", get(&format!("{}: v\r\n\r\n", "n".repeat(MAX_HEAD))), &[431]),
        refused("head_without_end", get(&"A: b\r\n".repeat(MAX_HEAD)), &[431]),
        refused("line_without_end", get(&"A".repeat(4 * MAX_HEAD)), &[400, 431]),
        Case::new("as_many_headers_as_clients_send")
            .send(get(&format!("{}\r\n", many(80))))
            .hear(ok("/"))
            .kept()
            .sees(request("GET / HTTP/1.1").with("h79", "v")),
        Case::new("long_header_within_the_limit")
            .send(get(&format!("A: {large}\r\n\r\n")))
            .hear(ok("/"))
            .kept()
            .sees(request("GET / HTTP/1.1").with("a", &large)),
    ]
}

fn accepted() -> Vec<Case> {
    let plain = || request("GET / HTTP/1.1");
    vec![
        Case::new("names_in_any_case")
            .send("GET /function/f HTTP/1.1\r\nhOST: x\r\nACCEPT: a\r\n\r\n")
            .hear(ok("/"))
            .kept()
            .sees(plain().with("host", "x").with("accept", "a")),
        Case::new("values_of_one_name_keep_their_order")
            .send(get("A: 3\r\nB: x\r\nA: 1\r\na: 2\r\n\r\n"))
            .hear(ok("/"))
            .kept()
            .sees(plain().with("a", "3, 1, 2").with("b", "x")),
        Case::new("cookies_in_several_lines")
            .send(get("Cookie: a=1\r\nCookie: b=2\r\n\r\n"))
            .hear(ok("/"))
            .kept()
            .sees(plain().with("cookie", "a=1, b=2")),
        // Old clients send one after a body (RFC 9112 2.2).
        Case::new("empty_line_before_a_request")
            .send(format!("\r\n{}", get("\r\n")))
            .hear(ok("/"))
            .kept()
            .sees(plain()),
        Case::new("underscore_and_dash_are_two_names")
            .send(get("X-A: 1\r\nX_A: 2\r\n\r\n"))
            .hear(ok("/"))
            .kept()
            .sees(plain().with("x-a", "1").with("x_a", "2")),
        Case::new("head_in_single_bytes")
            .drip(get("A: b\r\n\r\n"))
            .hear(ok("/"))
            .kept()
            .sees(plain()),
        Case::new("head_and_next_head_in_two_pieces")
            .send(get("\r\n") + "GET /function/f/2 HTTP/1.1\r\nHo")
            .hear(ok("/"))
            .send("st: x\r\n\r\n")
            .hear(ok("/2"))
            .kept()
            .sees(plain())
            .sees(request("GET /2 HTTP/1.1")),
    ]
}

/// Whoever speaks something else is told, or just not listened to.
fn no_http() -> Vec<Case> {
    let other = |name, bytes: &[u8]| {
        let case = Case::new(name).send(bytes.to_vec()).send("\r\n\r\n").send(SMUGGLED);
        case.hear(refusal(BAD).optional()).closed()
    };
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x01\x02\x03\x04\x05\x06\x07";
    vec![
        other("tls_on_a_plain_port", hello),
        other("zeros", &[0; 100]),
        other("ssh", b"SSH-2.0-OpenSSH_9.9\r\n"),
        other("an_answer", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        other("json", b"{\"a\": 1}\r\n\r\n"),
        other("redis", b"*1\r\n$4\r\nPING\r\n"),
        Case::new("nothing_at_all").finish().closed(),
        Case::new("empty_lines_only").send("\r\n").finish().hear(any(BAD).optional()).closed(),
    ]
}
