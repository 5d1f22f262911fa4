//! Answers that the watchdog makes itself, marked so that nobody takes them for the function's.

use std::fmt::Display;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use relay::Body;

use crate::log::Seconds;

const ERROR: HeaderName = HeaderName::from_static("x-faas-error");
const INTERNAL: HeaderName = HeaderName::from_static("x-openfaas-internal");
static DURATION: HeaderName = HeaderName::from_static("x-duration-seconds");
/// Says that the function saw nothing of the call, so that it may go to another replica.
pub const NOT_TAKEN: HeaderName = HeaderName::from_static("x-faas-not-taken");

/// An answer in plain text.
pub fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(Body::from(text.into()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// An answer that says what went wrong, with a stable code for programs.
pub fn error(status: StatusCode, code: &'static str, reason: impl Display) -> Response<Body> {
    let mut response = text(status, format!("{reason}\n"));
    response.headers_mut().insert(ERROR, HeaderValue::from_static(code));
    response
}

/// Marks an answer as the platform's (contract 3.3). Who retries calls looks for it.
pub fn internal(mut response: Response<Body>, who: &'static str) -> Response<Body> {
    response.headers_mut().insert(INTERNAL, HeaderValue::from_static(who));
    response
}

/// The answer to a call that took too long.
pub fn too_slow(limit: Duration) -> Response<Body> {
    let limit = provider::format_duration(limit);
    let reason = format!(
        "fwatchdog: the function did not answer within {limit} (limit of the watchdog hop)"
    );
    internal(error(StatusCode::GATEWAY_TIMEOUT, "deadline", reason), "of-watchdog")
}

/// The answer while the function is not there.
pub fn not_ready(reason: &str) -> Response<Body> {
    let reason = format!("fwatchdog: {reason}");
    let response = error(StatusCode::SERVICE_UNAVAILABLE, "not_ready", reason);
    not_taken(internal(response, "of-watchdog"))
}

/// Marks an answer to a call of which the function saw nothing: another replica may take it at
/// once, and this one soon.
pub fn not_taken(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(NOT_TAKEN, HeaderValue::from_static("1"));
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Says how long the call took.
pub fn with_duration(mut response: Response<Body>, took: Duration) -> Response<Body> {
    response.headers_mut().remove(&DURATION);
    response.body_mut().lines_mut().add_with(&DURATION, |text| Seconds::<6>(took).write(text));
    response
}
