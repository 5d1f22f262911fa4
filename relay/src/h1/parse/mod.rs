//! Heads, read strictly (RFC 9112): what another hop could read differently is refused.

mod fields;
mod request;
mod response;

use std::borrow::Cow;

use http::StatusCode;
use memchr::memchr;

pub(crate) use fields::trailers;
pub(crate) use request::{RequestHead, request};
pub(crate) use response::{ResponseHead, response};

/// Most header lines of a head.
pub(crate) const MAX_HEADERS: usize = 128;

/// Most bytes of a request's first line besides the target.
const MAX_AROUND_TARGET: usize = 64;

/// How the length of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    Empty,
    /// By `Content-Length`.
    Length(u64),
    /// By chunks.
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

/// Why a head is refused, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) status: StatusCode,
    pub(crate) text: Cow<'static, str>,
}

impl Fault {
    pub(crate) fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, text: text.into() }
    }

    fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }
}

impl From<httparse::Error> for Fault {
    fn from(error: httparse::Error) -> Self {
        use httparse::Error;
        let text = match error {
            Error::HeaderName => "a header's name has a byte that is not allowed",
            Error::HeaderValue => "a header's value has a byte that is not allowed",
            Error::NewLine => "a line does not end with CRLF",
            Error::Status => "there is no proper status",
            Error::Token => "the first line has a byte that is not allowed",
            Error::TooManyHeaders => {
                let text = format!("there are more than {MAX_HEADERS} headers");
                return Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text);
            }
            Error::Version => "the version is not HTTP/1.0 or HTTP/1.1",
        };
        Self::bad(text)
    }
}

/// Refuses a head that is too long.
pub(crate) fn check_size(size: usize, max: usize) -> Result<(), Fault> {
    if size <= max {
        return Ok(());
    }
    let text = format!("the head is longer than {max} bytes");
    Err(Fault::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text))
}

/// Refuses a head of which not all is there when it is too long already.
pub(crate) fn check_partial(bytes: &[u8], max: usize, max_target: usize) -> Result<(), Fault> {
    let is_long = bytes.len() > max.min(max_target.saturating_add(MAX_AROUND_TARGET));
    if is_long && memchr(b'\n', bytes).is_none() {
        return Err(request::too_long());
    }
    check_size(bytes.len(), max)
}

/// Where the head in `bytes` ends, just behind the empty line. `seen` is how much was looked at
/// before, and is kept up to date.
pub(crate) fn head_end(bytes: &[u8], seen: &mut usize) -> Result<Option<usize>, Fault> {
    while let Some(found) = memchr(b'\n', &bytes[*seen..]) {
        let at = *seen + found;
        if at == 0 || bytes[at - 1] != b'\r' {
            return Err(Fault::bad("a line does not end with CRLF"));
        }
        *seen = at + 1;
        if bytes[..at - 1].ends_with(b"\r\n") {
            return Ok(Some(*seen));
        }
    }
    *seen = bytes.len();
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_however_the_head_comes() {
        let head = b"GET / HTTP/1.1\r\nA: b\r\n\r\nbody\n";
        let end = head.len() - 5;
        for first in 0..head.len() {
            let mut seen = 0;
            let early = head_end(&head[..first], &mut seen).expect("proper");
            assert_eq!(early, (first >= end).then_some(end));
            if early.is_none() {
                let late = head_end(&head[..end + 2], &mut seen).expect("proper");
                assert_eq!(late, Some(end), "{first}");
            }
        }
    }

    #[test]
    fn bare_line_feeds_are_refused_at_once() {
        for head in ["\n", "GET / HTTP/1.1\n", "GET / HTTP/1.1\r\nA: b\n", "A\r\n\n"] {
            assert!(head_end(head.as_bytes(), &mut 0).is_err(), "{head:?}");
        }
    }
}
