//! The head of a request.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};

use super::fields::Fields;
use super::{Fault, Framing, MAX_HEADERS};

/// Longest target that can be told apart into its parts.
const MAX_TARGET: usize = u16::MAX as usize - 1;

/// A request without its body.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) is_1_1: bool,
    pub(crate) framing: Framing,
    /// Whether the client would send another request on the connection.
    pub(crate) keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub(crate) expects_continue: bool,
}

/// Reads a whole head, including the empty line at its end.
pub(crate) fn request(head: &Bytes, max_target: usize) -> Result<RequestHead, Fault> {
    let mut lines = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    let status =
        parsed.parse_with_uninit_headers(head, &mut lines).map_err(|e| unreadable(e, head))?;
    let (httparse::Status::Complete(_), Some(method), Some(target), Some(version)) =
        (status, parsed.method, parsed.path, parsed.version)
    else {
        return Err(Fault::bad("the head does not end"));
    };
    let is_1_1 = version == 1;
    let method = method_of(method)?;
    let uri = target_of(&head.slice_ref(target.as_bytes()), &method, max_target)?;
    let fields = Fields::read(parsed.headers, head)?;
    let framing = framing(&fields, is_1_1)?;
    if fields.hosts > 1 || (fields.hosts == 0 && is_1_1) {
        return Err(Fault::bad("a request needs one Host header"));
    }
    Ok(RequestHead {
        method,
        uri,
        is_1_1,
        framing,
        keep_alive: fields.stays_open(is_1_1),
        expects_continue: fields.expects_continue && is_1_1 && framing != Framing::Empty,
        headers: fields.headers,
    })
}

/// Names the byte when it is the target that cannot be read.
fn unreadable(error: httparse::Error, head: &[u8]) -> Fault {
    let target = head.split(|b| *b == b' ').nth(1).unwrap_or_default();
    match std::str::from_utf8(target) {
        Err(_) if error == httparse::Error::Token => not_allowed(target),
        _ => error.into(),
    }
}

fn method_of(name: &str) -> Result<Method, Fault> {
    match Method::from_bytes(name.as_bytes()) {
        Ok(Method::CONNECT) => {
            Err(Fault::new(StatusCode::NOT_IMPLEMENTED, "CONNECT is not supported"))
        }
        Ok(method) => Ok(method),
        Err(_) => Err(Fault::bad("the method has a byte that is not allowed")),
    }
}

/// The body's length, when there is only one way to read it (RFC 9112 6.3).
fn framing(fields: &Fields, is_1_1: bool) -> Result<Framing, Fault> {
    if fields.chunked && fields.length.is_some() {
        // Another hop may believe the other one (RFC 9112 6.1).
        let text = "a request has Content-Length or Transfer-Encoding, not both";
        return Err(Fault::bad(text));
    }
    if fields.chunked && !is_1_1 {
        return Err(Fault::bad("HTTP/1.0 has no Transfer-Encoding"));
    }
    if fields.other_coding {
        // Any other coding would have to be undone here, or be passed on and be misread there.
        let text = "only chunked transfer coding is supported";
        return Err(Fault::new(StatusCode::NOT_IMPLEMENTED, text));
    }
    Ok(match fields.length {
        _ if fields.chunked => Framing::Chunked,
        None | Some(0) => Framing::Empty,
        Some(length) => Framing::Length(length),
    })
}

/// The target, byte for byte: a path, a whole URL, or `*` for `OPTIONS`.
fn target_of(target: &Bytes, method: &Method, max: usize) -> Result<Uri, Fault> {
    if target.len() > max.min(MAX_TARGET) {
        return Err(too_long());
    }
    if target.contains(&b'#') {
        return Err(Fault::bad("the request target has a byte that is not allowed: #"));
    }
    let is_path = target.starts_with(b"/");
    let is_star = &target[..] == b"*" && *method == Method::OPTIONS;
    let uri = Uri::from_maybe_shared(target.clone()).map_err(|_| not_allowed(target))?;
    let scheme = uri.scheme_str().unwrap_or_default();
    let is_url = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
        && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    if !is_path && !is_star && !is_url {
        return Err(Fault::bad("the request target is neither a path nor a URL"));
    }
    Ok(uri)
}

/// The answer to a target that is longer than allowed.
pub(super) fn too_long() -> Fault {
    Fault::new(StatusCode::URI_TOO_LONG, "the request target is too long")
}

/// Names what is wrong with a target that is refused.
fn not_allowed(target: &[u8]) -> Fault {
    let alone = |byte: u8| Uri::from_maybe_shared(Bytes::from(vec![b'/', byte])).is_err();
    let wrong = match std::str::from_utf8(target) {
        Err(error) => target.get(error.valid_up_to()),
        Ok(text) => text.as_bytes().iter().find(|byte| byte.is_ascii() && alone(**byte)),
    };
    match wrong {
        Some(byte) => Fault::bad(format!(
            "the request target has a byte that is not allowed: 0x{byte:02x}; send it as %{byte:02X}"
        )),
        None => Fault::bad("the request target is neither a path nor a URL"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: impl AsRef<[u8]>) -> Result<RequestHead, Fault> {
        request(&Bytes::copy_from_slice(head.as_ref()), 1000)
    }

    fn status(head: impl AsRef<[u8]>) -> u16 {
        read(head).map_or_else(|fault| fault.status.as_u16(), |_| 200)
    }

    fn with(lines: &str) -> String {
        format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
    }

    #[test]
    fn a_proper_head_is_read() {
        let head =
            read(with("X-A: 1\r\nContent-Length: 5\r\nx-a:  2 \r\nExpect: 100-Continue\r\n"))
                .expect("proper");
        assert_eq!((head.method, head.uri.path()), (Method::POST, "/"));
        assert_eq!(head.framing, Framing::Length(5));
        assert!(head.is_1_1 && head.keep_alive && head.expects_continue);
        let values: Vec<_> = head.headers.get_all("x-a").iter().collect();
        assert_eq!(values, ["1", "2"]);
        let head = read("GET / HTTP/1.0\r\nConnection: foo, Keep-Alive\r\n\r\n").expect("proper");
        assert!(!head.is_1_1 && head.keep_alive);
        assert!(!read(with("Connection: keep-alive, CLOSE\r\n")).expect("proper").keep_alive);
        assert!(!read("GET / HTTP/1.0\r\n\r\n").expect("proper").keep_alive);
    }

    #[test]
    fn targets_stay_as_they_are() {
        for target in [
            "/a%2Fb;c//d/../e?x=%00&&y=?/",
            "//x",
            "/?",
            "/\u{e4}?\u{e4}",
            "/a|b^`\"{}[]<>\\",
            "/?\"|\\^`{}[]'<>",
        ] {
            let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            match read(&head) {
                Ok(head) => assert_eq!(head.uri.path_and_query().expect("one"), target),
                // What the type for targets does not take is named.
                Err(fault) => assert!(fault.text.contains("not allowed: 0x"), "{target} {fault:?}"),
            }
        }
    }

    #[test]
    fn odd_targets_are_refused() {
        for (target, expected) in [
            ("*", 400),
            ("a", 400),
            ("a:80", 400),
            ("/#a", 400),
            ("?", 400),
            ("ftp://a/", 400),
            ("http://a@b/", 400),
            ("http:///", 400),
            ("http://a/b?c", 200),
            ("HTTPS://a", 200),
            ("/\u{7f}", 400),
            (&"/x".repeat(501), 414),
        ] {
            let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(status(&head), expected, "{target}");
        }
        assert_eq!(status("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
        let fault = read(b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n").expect_err("not text");
        assert!(fault.text.contains("0xff"), "{fault:?}");
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for (lines, expected) in [
            ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
            ("Content-Length: 5, 5\r\n", 400),
            ("Content-Length:\r\n", 400),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", 400),
            ("Transfer-Encoding: chunked\r\n", 200),
            ("Transfer-Encoding: CHUNKED\r\n", 200),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 501),
            ("Transfer-Encoding: gzip, chunked\r\n", 501),
            ("Transfer-Encoding: identity\r\n", 501),
            ("Transfer-Encoding:\r\n", 501),
            ("Transfer-Encoding: \"chunked\"\r\n", 501),
            ("Transfer-Encoding: xchunked\r\n", 501),
            ("Transfer-Encoding : chunked\r\n", 400),
            (" Transfer-Encoding: chunked\r\n", 400),
            ("X: a\r\n b\r\n", 400),
            ("X: a\rb\r\n", 400),
            ("X: a\0b\r\n", 400),
            ("X: a\x0bb\r\n", 400),
            ("X: a\tb \u{e4}\r\n", 200),
            ("X\r\n", 400),
            (": a\r\n", 400),
            ("X(: a\r\n", 400),
            ("Host: a\r\n", 400),
            ("host: b\r\n", 400),
        ] {
            assert_eq!(status(with(lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn first_lines_are_exact() {
        for (line, expected) in [
            ("GET / HTTP/1.1", 200),
            ("GET  / HTTP/1.1", 400),
            ("GET /  HTTP/1.1", 400),
            ("GET / HTTP/1.1 ", 400),
            (" GET / HTTP/1.1", 400),
            ("GET /", 400),
            ("GET / HTTP/1.2", 400),
            ("GET / HTTP/2.0", 400),
            ("GET / http/1.1", 400),
            ("GET /\t HTTP/1.1", 400),
            ("G(T / HTTP/1.1", 400),
            ("FROB / HTTP/1.1", 200),
            ("CONNECT a:1 HTTP/1.1", 501),
        ] {
            assert_eq!(status(format!("{line}\r\nHost: a\r\n\r\n")), expected, "{line:?}");
        }
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), 400);
        assert_eq!(status("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
        assert_eq!(status(with(&"A: b\r\n".repeat(MAX_HEADERS))), 431);
        assert_eq!(status(with(&"A: b\r\n".repeat(MAX_HEADERS - 1))), 200);
    }
}
