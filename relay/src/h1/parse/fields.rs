//! Header lines, and what they say about the message.

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, MAX_FORWARDS,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use super::{Fault, MAX_HEADERS};
use crate::spare;

/// What must not come in a trailer: framing, routing, credentials, and what says how the content
/// is to be read (RFC 9110 6.5.1). It is left out.
const NOT_IN_TRAILERS: [HeaderName; 18] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    COOKIE,
    EXPECT,
    HOST,
    MAX_FORWARDS,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The headers of a message, and what they say about it.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) headers: HeaderMap,
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    /// A transfer coding that is not exactly `chunked`.
    pub(super) other_coding: bool,
    pub(super) hosts: usize,
    pub(super) expects_continue: bool,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
}

impl Fields {
    /// Of the header lines in `head`.
    pub(super) fn read(lines: &[httparse::Header<'_>], head: &Bytes) -> Result<Self, Fault> {
        let mut fields = Self {
            headers: spare::take(),
            length: None,
            chunked: false,
            other_coding: false,
            hosts: 0,
            expects_continue: false,
            close: false,
            keep_alive: false,
        };
        for line in lines {
            let (name, value) = field(line, head)?;
            fields.note(&name, &value)?;
            fields.headers.append(name, value);
        }
        Ok(fields)
    }

    fn note(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), Fault> {
        if name == CONTENT_LENGTH {
            if self.length.is_some() {
                return Err(Fault::bad("there is more than one Content-Length"));
            }
            self.length = Some(length(value.as_bytes())?);
        } else if name == TRANSFER_ENCODING {
            let is_chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
            self.other_coding |= self.chunked || !is_chunked;
            self.chunked = true;
        } else if name == HOST {
            self.hosts += 1;
            if !is_host(value.as_bytes()) {
                return Err(Fault::bad("Host is not a host with an optional port"));
            }
        } else if name == CONNECTION {
            for token in value.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                self.close |= token.eq_ignore_ascii_case(b"close");
                self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if name == EXPECT {
            self.expects_continue |= value.as_bytes().eq_ignore_ascii_case(b"100-continue");
        }
        Ok(())
    }

    /// Whether the connection goes on after the message.
    pub(super) fn stays_open(&self, is_1_1: bool) -> bool {
        !self.close && (is_1_1 || self.keep_alive)
    }
}

/// Name and value of a line; the value stays where it lies.
fn field(line: &httparse::Header<'_>, head: &Bytes) -> Result<(HeaderName, HeaderValue), Fault> {
    let name = HeaderName::from_bytes(line.name.as_bytes())
        .map_err(|_| Fault::bad("a header's name has a byte that is not allowed"))?;
    // An empty value does not lie anywhere.
    let value = match line.value {
        [] => Bytes::new(),
        value => head.slice_ref(value),
    };
    let value = HeaderValue::from_maybe_shared(value)
        .map_err(|_| Fault::bad("a header's value has a byte that is not allowed"))?;
    Ok((name, value))
}

/// A `Content-Length`: digits and nothing else.
fn length(digits: &[u8]) -> Result<u64, Fault> {
    let bad = || Fault::bad("Content-Length is not a number");
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(bad());
    }
    let step = |sum: u64, digit: &u8| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    digits.iter().try_fold(0, step).ok_or_else(bad)
}

/// Whether this is `uri-host [":" port]`; it may be empty (RFC 9112 3.2).
fn is_host(host: &[u8]) -> bool {
    let (name, rest) = match host {
        [b'[', inner @ ..] => match inner.iter().position(|b| *b == b']') {
            Some(end) => (&inner[..end], &inner[end + 1..]),
            None => return false,
        },
        _ => host.split_at(host.iter().position(|b| *b == b':').unwrap_or(host.len())),
    };
    let is_literal = host.first() == Some(&b'[');
    let in_name = |b: &u8| {
        b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(b) || (is_literal && *b == b':')
    };
    let port = match rest {
        [] => rest,
        [b':', port @ ..] => port,
        _ => return false,
    };
    name.iter().all(in_name) && port.len() <= 5 && port.iter().all(u8::is_ascii_digit)
}

/// The trailers in `block`, which ends with an empty line; without those that must not come there.
pub(crate) fn trailers(block: &Bytes) -> Result<HeaderMap, Fault> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let httparse::Status::Complete((_, lines)) = httparse::parse_headers(block, &mut lines)? else {
        return Err(Fault::bad("the trailers do not end"));
    };
    let mut trailers = HeaderMap::with_capacity(lines.len());
    for line in lines {
        let (name, value) = field(line, block)?;
        if !NOT_IN_TRAILERS.contains(&name) {
            trailers.append(name, value);
        }
    }
    Ok(trailers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_digits() {
        assert_eq!(length(b"0"), Ok(0));
        assert_eq!(length(b"0042"), Ok(42));
        assert_eq!(length(u64::MAX.to_string().as_bytes()), Ok(u64::MAX));
        for bad in ["", "+5", "-1", "5,5", "5 5", "0x5", "5.0", "18446744073709551616", "\u{b2}"] {
            assert!(length(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_are_hosts() {
        for good in ["", "a", "a.b:80", "a_b", "[::1]", "[::1]:80", "1.2.3.4:", "a%20b", "x:65535"]
        {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "a b", "a/b", "a@b", "a:b", "a:1:2", "[::1", "[::1]x", "::1", "a:123456", "\u{e4}",
            "a?b", "a#b", "a\\b", "[a]b]", "a, b", "\"a\"",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn trailers_say_nothing_about_the_message() {
        let block = Bytes::from_static(
            b"X-Sum: 1\r\nContent-Length: 5\r\nhost: b\r\nTransfer-Encoding: chunked\r\n\
              Trailer: x\r\nX-Sum: 2\r\n\r\n",
        );
        let all: Vec<_> = trailers(&block)
            .expect("proper")
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect();
        assert_eq!(all, ["x-sum: 1", "x-sum: 2"]);
        for bad in ["no colon\r\n\r\n", " folded: a\r\n\r\n", "a : b\r\n\r\n", "a: \0\r\n\r\n"] {
            assert!(trailers(&Bytes::from(bad)).is_err(), "{bad:?}");
        }
        let many = "a: b\r\n".repeat(MAX_HEADERS + 1) + "\r\n";
        assert!(trailers(&Bytes::from(many)).is_err());
    }
}
