//! What the gateway writes on a call and on its answer, and what it reads from its path.

use std::time::{Duration, SystemTime};

use http::header::{HeaderName, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response};
use relay::{Body, Call, grpc};
use uuid::Uuid;

use super::PREFIX;
use crate::error::{Error, Result};

/// Tells calls apart (contract 1.7).
static CALL_ID: HeaderName = HeaderName::from_static("x-call-id");
/// When the gateway took the call, in nanoseconds since 1970 (contract 1.7).
static START_TIME: HeaderName = HeaderName::from_static("x-start-time");
/// Who served the call (contract 1.7).
static SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
/// Milliseconds that are left for the call when it leaves the gateway.
static DEADLINE: HeaderName = HeaderName::from_static("x-faas-deadline");

/// This gateway's name on the wire.
const PRODUCT: &str = concat!("flint/", env!("CARGO_PKG_VERSION"));

/// What the gateway writes on a call and on its answer.
pub(super) struct Stamps {
    pub(super) call_id: HeaderValue,
    start_time: HeaderValue,
}

impl Stamps {
    pub(super) fn new(headers: &HeaderMap) -> Self {
        let call_id = headers.get(&CALL_ID).filter(|id| !id.is_empty()).cloned();
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanos = since_1970.map_or(0, |since| since.as_nanos() as u64);
        let start_time = HeaderValue::from_str(itoa::Buffer::new().format(nanos));
        Self {
            call_id: call_id.unwrap_or_else(new_id),
            start_time: start_time.unwrap_or(HeaderValue::from_static("0")),
        }
    }

    /// Writes them on a call.
    pub(super) fn apply(&self, call: &mut Call) {
        match call.headers().contains_key(&CALL_ID) {
            // One of them, if there are several, and none that is empty.
            true => drop(call.headers_mut().insert(CALL_ID.clone(), self.call_id.clone())),
            false => call.lines_mut().add(&CALL_ID, &self.call_id),
        }
        call.headers_mut().remove(&START_TIME);
        call.lines_mut().add(&START_TIME, &self.start_time);
        if !call.headers().contains_key(USER_AGENT) {
            call.lines_mut().add(&USER_AGENT, &HeaderValue::from_static(PRODUCT));
        }
        // It is told anew each time that the call is sent.
        call.headers_mut().remove(&DEADLINE);
    }

    /// What the function itself has set stays.
    pub(super) fn answer(&self, response: &mut Response<Body>) {
        let own = HeaderValue::from_static(PRODUCT);
        let all = [(&CALL_ID, &self.call_id), (&START_TIME, &self.start_time), (&SERVED_BY, &own)];
        let is_set = all.map(|(name, _)| response.headers().keys().any(|set| set == name));
        let lines = response.body_mut().lines_mut();
        for ((name, value), _) in all.into_iter().zip(is_set).filter(|(_, is_set)| !is_set) {
            lines.add(name, value);
        }
    }
}

fn new_id() -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    let text = Uuid::new_v4().hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("none"))
}

/// The function's name in a path that starts with [`PREFIX`], as it stands there.
pub fn name_of(path: &str) -> &str {
    let rest = path.strip_prefix(PREFIX).unwrap_or_default();
    rest.split('/').next().unwrap_or_default()
}

/// What follows the name, byte for byte, with its query; `/` when nothing does.
pub fn upstream_path(request: &Request<Body>) -> Result<PathAndQuery> {
    let whole = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let rest = whole.strip_prefix(PREFIX).unwrap_or_default();
    let rest = rest.find(['/', '?']).map_or("", |at| &rest[at..]);
    let bad = |e: http::uri::InvalidUri| Error::BadRequest(e.to_string());
    match rest.as_bytes().first() {
        None => Ok(PathAndQuery::from_static("/")),
        Some(b'/') => rest.parse().map_err(bad),
        Some(_) => format!("/{rest}").parse().map_err(bad),
    }
}

/// Tells how long the call may take from now on. The lines up to `len` were there before.
pub(super) fn set_deadline(call: &mut Call, left: Duration, len: usize) {
    call.lines_mut().truncate(len);
    call.lines_mut().add_number(&DEADLINE, left.as_millis() as u64);
    if call.is_grpc() {
        grpc::set_timeout(call.headers_mut(), left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_stands_between_prefix_and_slash() {
        for (path, name) in [
            ("/function/echo", "echo"),
            ("/function/echo.dev/a/b", "echo.dev"),
            ("/function/", ""),
            ("/function/../x", ".."),
        ] {
            assert_eq!(name_of(path), name, "{path}");
        }
    }
}
