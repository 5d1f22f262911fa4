//! What is special about gRPC calls: they need HTTP/2 all the way, and they tell status and
//! deadline in their own way.
//!
//! Protocol: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt as _, Collected};

use crate::body::Body;
use crate::error::BodyError;

const GRPC: &[u8] = b"application/grpc";
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Marks the platform's own errors.
const ERROR: HeaderName = HeaderName::from_static("x-faas-error");

/// Most bytes of an error's text that are passed on.
const MAX_MESSAGE_BYTES: u64 = 4 << 10;
/// Most digits of a timeout.
const MAX_DIGITS: usize = 8;
/// How long after its deadline a call is cut for which the client does not even read the status.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Status codes, as far as they are made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    Cancelled = 1,
    Unknown = 2,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// Whether this is the head of a gRPC call. gRPC-Web is not: it was made for HTTP/1.1.
pub fn is_call(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) else { return false };
    let Some((start, rest)) = kind.split_at_checked(GRPC.len()) else { return false };
    start.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// How long the client waits, by `grpc-timeout`.
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > MAX_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Says how much time is left.
pub fn set_timeout(headers: &mut HeaderMap, left: Duration) {
    let (number, unit) = match left.as_millis() {
        ms if ms < 10u128.pow(MAX_DIGITS as u32) => (ms, "m"),
        ms => ((ms / 1000).min(99_999_999), "S"),
    };
    if let Ok(value) = HeaderValue::from_str(&format!("{number}{unit}")) {
        headers.insert(TIMEOUT, value);
    }
}

/// Makes an answer to a gRPC call, made by a client that speaks `version`, one that a gRPC client
/// understands: an error of the platform becomes a status, and so does a failure in mid-answer.
pub async fn answer(response: Response<Body>, version: Version) -> Response<Body> {
    let is_error = response.status() != StatusCode::OK && response.headers().contains_key(ERROR);
    if is_error {
        return refusal(response).await;
    }
    if version != Version::HTTP_2 || response.body().is_end_stream() {
        return response;
    }
    response.map(|body| {
        let deadline = body.deadline();
        let body = Body::boxed(Ending { body, told: false });
        match deadline {
            Some(deadline) => body.with_deadline(deadline + LAST_WORD),
            None => body,
        }
    })
}

/// An answer that is nothing but a status ("Trailers-Only").
async fn refusal(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let text = body.with_limit(MAX_MESSAGE_BYTES).collect().await;
    let text = text.map(Collected::to_bytes).unwrap_or_default();
    let reason = parts.status.canonical_reason().unwrap_or_default().as_bytes();
    let text = if text.trim_ascii().is_empty() { reason } else { text.trim_ascii() };
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    parts.headers.extend(status(code_of(parts.status), text));
    parts.status = StatusCode::OK;
    Response::from_parts(parts, Body::empty())
}

/// As gRPC clients read a status of HTTP
/// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>), but for 504: who
/// reads it cannot know whose deadline it was. This platform answers 504 at the call's own.
fn code_of(status: StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 => Code::Unavailable,
        504 => Code::DeadlineExceeded,
        _ => Code::Unknown,
    }
}

fn status(code: Code, message: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(STATUS, HeaderValue::from(code as u16));
    let mut text = String::with_capacity(message.len());
    for byte in message {
        match byte {
            b'%' | 0..b' ' | 0x7f.. => {
                // Writing to memory does not fail.
                let _ = write!(text, "%{byte:02X}");
            }
            byte => text.push(char::from(*byte)),
        }
    }
    if let Ok(text) = HeaderValue::from_str(&text) {
        headers.insert(MESSAGE, text);
    }
    headers
}

/// An answer's body that ends with a status even when it fails.
struct Ending {
    body: Body,
    told: bool,
}

impl HttpBody for Ending {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.told {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(cx).map(|frame| match frame {
            Some(Err(error)) => {
                self.told = true;
                let message = error.to_string();
                Some(Ok(Frame::trailers(status(code_of_failure(&error), message.as_bytes()))))
            }
            other => other,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.told || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// As the protocol maps codes of HTTP/2.
fn code_of_failure(error: &BodyError) -> Code {
    if matches!(error, BodyError::Deadline) {
        return Code::DeadlineExceeded;
    }
    match http2_error(error).and_then(h2::Error::reason) {
        None | Some(h2::Reason::REFUSED_STREAM) => Code::Unavailable,
        Some(h2::Reason::CANCEL) => Code::Cancelled,
        Some(h2::Reason::ENHANCE_YOUR_CALM) => Code::ResourceExhausted,
        Some(h2::Reason::INADEQUATE_SECURITY) => Code::PermissionDenied,
        Some(_) => Code::Internal,
    }
}

fn http2_error(error: &BodyError) -> Option<&h2::Error> {
    let mut source = match error {
        BodyError::Source(made_by) => Some(&**made_by as &dyn StdError),
        other => other.source(),
    };
    while let Some(error) = source {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        source = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).expect("a value"))])
    }

    #[test]
    fn grpc_is_told_from_its_neighbours() {
        for kind in ["application/grpc", "application/grpc+proto", "Application/GRPC; a=b"] {
            assert!(is_call(&headers(CONTENT_TYPE, kind)), "{kind}");
        }
        for kind in
            ["application/grpc-web", "application/grpc-web-text", "application/grp", "", "é"]
        {
            assert!(!is_call(&headers(CONTENT_TYPE, kind)), "{kind}");
        }
        assert!(!is_call(&HeaderMap::new()));
    }

    #[test]
    fn timeouts_have_a_unit_each() {
        for (text, ms) in [
            ("2H", Some(7_200_000)),
            ("3M", Some(180_000)),
            ("99999999S", Some(99_999_999_000)),
            ("250m", Some(250)),
            ("5000u", Some(5)),
            ("7000000n", Some(7)),
            ("", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("+1S", None),
            ("999999999S", None),
        ] {
            let expected = ms.map(Duration::from_millis);
            assert_eq!(timeout(&headers(TIMEOUT, text)), expected, "{text}");
        }
        for (ms, text) in [(1500, "1500m"), (99_999_999, "99999999m"), (100_000_000, "100000S")] {
            let mut headers = HeaderMap::new();
            set_timeout(&mut headers, Duration::from_millis(ms));
            assert_eq!(headers[TIMEOUT], text);
        }
    }

    #[tokio::test]
    async fn errors_of_the_platform_become_a_status() {
        for (http, grpc) in [
            (400, "13"),
            (401, "16"),
            (404, "12"),
            (429, "14"),
            (503, "14"),
            (504, "4"),
            (413, "2"),
        ] {
            let response = Response::builder().status(http).header(ERROR, "code");
            let response = response.body(Body::from("100 %\nü\n")).expect("a response");
            let response = answer(response, Version::HTTP_2).await;
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()[STATUS], grpc, "{http}");
            assert_eq!(response.headers()[MESSAGE], "100 %25%0A%C3%BC");
            assert_eq!(response.headers()[CONTENT_TYPE], "application/grpc");
            assert_eq!(response.headers()[ERROR], "code");
            assert!(response.body().is_end_stream());
        }
        let response = Response::builder().status(404).body(Body::empty()).expect("a response");
        assert_eq!(answer(response, Version::HTTP_2).await.status(), 404, "the function's own");
    }

    #[tokio::test]
    async fn a_failure_in_mid_answer_becomes_a_status() {
        let frames = [Ok(Frame::data(Bytes::from_static(b"part"))), Err("lost")];
        let stream = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
        let response = answer(Response::new(Body::boxed(stream)), Version::HTTP_2).await;
        let all = response.into_body().collect().await.expect("a proper end");
        let trailers = all.trailers().cloned().expect("trailers");
        assert_eq!(
            (&trailers[STATUS], &trailers[MESSAGE]),
            (&HeaderValue::from(14), &HeaderValue::from_static("lost"))
        );
        let code = |reason: h2::Reason| {
            code_of_failure(&BodyError::Source(Box::new(h2::Error::from(reason))))
        };
        assert_eq!(code(h2::Reason::CANCEL), Code::Cancelled);
        assert_eq!(code(h2::Reason::PROTOCOL_ERROR), Code::Internal);
        assert_eq!(code_of_failure(&BodyError::Deadline), Code::DeadlineExceeded);
    }
}
