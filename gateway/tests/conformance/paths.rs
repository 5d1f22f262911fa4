//! Paths and queries: what follows the name goes on byte for byte.

use crate::case::{BAD, Case, any, refused, request};
use crate::wire::latin1;

/// What follows the name, and what the function gets.
const ROWS: [(&str, &[u8], &[u8]); 42] = [
    ("nothing", b"", b"/"),
    ("slash", b"/", b"/"),
    ("path", b"/a/b", b"/a/b"),
    ("slash_at_the_end", b"/a/", b"/a/"),
    ("escaped_slash", b"/a%2Fb", b"/a%2Fb"),
    ("escaped_slash_in_lower_case", b"/a%2fb", b"/a%2fb"),
    ("escaped_letter", b"/%61", b"/%61"),
    ("escaped_percent", b"/%25", b"/%25"),
    ("escaped_nul", b"/%00", b"/%00"),
    ("escaped_line_end", b"/%0d%0aA:%20b", b"/%0d%0aA:%20b"),
    ("escaped_space", b"/a%20b", b"/a%20b"),
    ("escaped_dots", b"/%2e%2e/a", b"/%2e%2e/a"),
    ("escaped_question_mark", b"/a%3Fb", b"/a%3Fb"),
    ("escape_of_no_number", b"/%zz", b"/%zz"),
    ("escape_cut_short", b"/%2", b"/%2"),
    ("percent_alone", b"/%", b"/%"),
    ("parameters", b"/a;b=c;d", b"/a;b=c;d"),
    ("two_slashes", b"//a", b"//a"),
    ("two_slashes_inside", b"/a//b", b"/a//b"),
    ("slashes_only", b"////", b"////"),
    ("dots", b"/../a", b"/../a"),
    ("dots_inside", b"/a/../b", b"/a/../b"),
    ("dots_at_the_end", b"/a/..", b"/a/.."),
    ("dot", b"/./a/.", b"/./a/."),
    ("colon", b"/a:b", b"/a:b"),
    ("at", b"/@a", b"/@a"),
    ("url_in_path", b"/http://a/b?c", b"/http://a/b?c"),
    ("marks", b"/!$&'()*+,=-._~", b"/!$&'()*+,=-._~"),
    ("brackets", b"/a[0]", b"/a[0]"),
    ("braces", b"/{a}", b"/{a}"),
    ("bar", b"/a|b", b"/a|b"),
    ("backslash", b"/a\\b", b"/a\\b"),
    ("caret", b"/a^b", b"/a^b"),
    ("quote", b"/\"a\"", b"/\"a\""),
    ("utf_8", b"/\xc3\xa4", b"/\xc3\xa4"),
    ("escaped_no_utf_8", b"/%ff%FE", b"/%ff%FE"),
    ("question_mark_alone", b"?", b"/?"),
    ("query_without_slash", b"?a=b&c", b"/?a=b&c"),
    ("query", b"/a?b=c&b=d", b"/a?b=c&b=d"),
    ("question_marks_in_query", b"/a?b?c/d", b"/a?b?c/d"),
    ("query_of_odd_bytes", b"/?a=%zz&b=[]{}\\^|'", b"/?a=%zz&b=[]{}\\^|'"),
    ("query_of_escaped_no_utf_8", b"/?%ff=\xc3\xa4", b"/?%ff=\xc3\xa4"),
];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = ROWS
        .into_iter()
        .map(|(name, rest, seen)| passes(name, &[b"/function/f", rest].concat(), seen))
        .collect();
    cases.push(passes("name_with_its_namespace", b"/function/f.openfaas-fn/a?b", b"/a?b"));
    // RFC 3986 has no place for such bytes; they can be sent escaped.
    let raw = |path: &[u8]| [b"GET /function/f", path, b" HTTP/1.1\r\nHost: x\r\n\r\n"].concat();
    cases.push(refused("raw_bytes_that_are_no_text", raw(b"/\xff\xfe"), BAD));
    cases.push(refused("raw_bytes_that_are_no_text_in_a_query", raw(b"/?\xff"), BAD));
    cases
}

fn passes(name: &'static str, target: &[u8], seen: &[u8]) -> Case {
    let send = [b"GET ", target, b" HTTP/1.1\r\nHost: x\r\n\r\n"].concat();
    let line = format!("GET {} HTTP/1.1", latin1(seen));
    Case::new(name).send(send).hear(any(&[200]).body(seen.to_vec())).kept().sees(request(&line))
}
