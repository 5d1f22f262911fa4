//! Heads and framing as bytes.

use std::cell::RefCell;
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderMap, TRANSFER_ENCODING};
use http::{Method, StatusCode, Uri};

use super::out::Out;
use crate::lines::Lines;

/// How a message's length is told to its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// Not at all: there is no body, or its end is the connection's.
    Untold,
    /// By `Content-Length`.
    Known(u64),
    /// By chunks.
    Chunked,
}

/// What an answer says about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Afterwards {
    /// What the version says anyway.
    Untold,
    KeepAlive,
    Close,
    /// The headers say it.
    Switch,
}

/// Writes the head of a request.
pub(crate) fn request_head(
    out: &mut Vec<u8>,
    (method, uri): (&Method, &Uri),
    (headers, lines): (&HeaderMap, &Lines),
    length: Length,
) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    let target = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in headers {
        if name != CONTENT_LENGTH && name != TRANSFER_ENCODING {
            line(out, name.as_str(), value.as_bytes());
        }
    }
    out.extend_from_slice(lines.as_bytes());
    length_line(out, length);
    out.extend_from_slice(b"\r\n");
}

/// Writes the head of an answer.
pub(crate) fn response_head(
    out: &mut Vec<u8>,
    status: StatusCode,
    (headers, lines): (&HeaderMap, &Lines),
    (length, afterwards): (Length, Afterwards),
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    let mut dated = false;
    for (name, value) in headers {
        let ours = name == CONTENT_LENGTH || name == TRANSFER_ENCODING || name == CONNECTION;
        if !ours || (name == CONNECTION && afterwards == Afterwards::Switch) {
            line(out, name.as_str(), value.as_bytes());
        }
        dated |= name == DATE;
    }
    out.extend_from_slice(lines.as_bytes());
    if !dated {
        date_line(out);
    }
    match afterwards {
        Afterwards::KeepAlive => out.extend_from_slice(b"connection: keep-alive\r\n"),
        Afterwards::Close => out.extend_from_slice(b"connection: close\r\n"),
        Afterwards::Untold | Afterwards::Switch => (),
    }
    length_line(out, length);
    out.extend_from_slice(b"\r\n");
}

fn length_line(out: &mut Vec<u8>, length: Length) {
    match length {
        Length::Untold => (),
        Length::Known(length) => {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Length::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Adds a chunk.
pub(crate) fn chunk(out: &mut Out, data: Bytes) {
    if !data.is_empty() {
        out.text(|text| {
            let _ = write!(text, "{:x}\r\n", data.len());
        });
        out.data(data);
        out.text(|text| text.extend_from_slice(b"\r\n"));
    }
}

/// Adds the end of a chunked body.
pub(crate) fn last_chunk(out: &mut Out, trailers: Option<&HeaderMap>) {
    out.text(|text| {
        text.extend_from_slice(b"0\r\n");
        for (name, value) in trailers.into_iter().flatten() {
            line(text, name.as_str(), value.as_bytes());
        }
        text.extend_from_slice(b"\r\n");
    });
}

/// The date line of a second.
struct DateLine {
    second: u64,
    line: Vec<u8>,
}

thread_local! {
    static DATE_LINE: RefCell<DateLine> = const {
        RefCell::new(DateLine { second: u64::MAX, line: Vec::new() })
    };
}

fn date_line(out: &mut Vec<u8>) {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    DATE_LINE.with_borrow_mut(|date| {
        if date.second != since_1970 {
            date.second = since_1970;
            date.line.clear();
            let now = httpdate::HttpDate::from(UNIX_EPOCH + Duration::from_secs(since_1970));
            let _ = write!(date.line, "date: {now}\r\n");
        }
        out.extend_from_slice(&date.line);
    });
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "a"),
            ("x-b", "1"),
            ("content-length", "7"),
            ("transfer-encoding", "chunked"),
            ("date", "today"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers.append("x-b", HeaderValue::from_bytes(b"\xe4").expect("a value"));
        headers
    }

    #[test]
    fn requests_tell_their_length_once() {
        let uri = Uri::from_static("/a//b;c?d=%2F");
        let mut out = Vec::new();
        let mut lines = Lines::take();
        lines.add_number(&http::header::AGE, 3);
        let headers = headers();
        request_head(&mut out, (&Method::POST, &uri), (&headers, &lines), Length::Known(5));
        let expected = b"POST /a//b;c?d=%2F HTTP/1.1\r\nhost: a\r\nx-b: 1\r\nx-b: \xe4\r\ndate: \
                         today\r\nage: 3\r\ncontent-length: 5\r\n\r\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn answers_tell_what_comes_of_the_connection() {
        let cases = [
            (
                Length::Chunked,
                Afterwards::Close,
                "connection: close\r\ntransfer-encoding: chunked\r\n",
            ),
            (Length::Untold, Afterwards::KeepAlive, "connection: keep-alive\r\n"),
            (Length::Known(0), Afterwards::Untold, "content-length: 0\r\n"),
        ];
        for (length, afterwards, told) in cases {
            let mut out = Vec::new();
            let headers = (&headers(), &Lines::default());
            response_head(&mut out, StatusCode::OK, headers, (length, afterwards));
            let text = String::from_utf8_lossy(&out);
            let end = format!("date: today\r\n{told}\r\n");
            assert!(text.starts_with("HTTP/1.1 200 OK\r\nhost: a\r\n"), "{text}");
            assert!(text.ends_with(&end), "{text}");
        }
    }

    #[test]
    fn a_date_is_added() {
        let mut out = Vec::new();
        let untold = (Length::Untold, Afterwards::Untold);
        let status = StatusCode::from_u16(599).expect("a status");
        let mut lines = Lines::default();
        lines.add_number(&http::header::AGE, 3);
        response_head(&mut out, status, (&HeaderMap::new(), &lines), untold);
        let text = String::from_utf8(out).expect("text");
        let date = text.strip_prefix("HTTP/1.1 599 \r\nage: 3\r\ndate: ").expect("a date");
        assert!(httpdate::parse_http_date(date.trim_end()).is_ok(), "{date}");
    }
}
