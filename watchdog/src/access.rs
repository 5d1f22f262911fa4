//! What is kept of each call: a line in the log and its metrics (contract 5.8).

use http::header::{CONTENT_LENGTH, USER_AGENT};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body as _;
use relay::Body;

use crate::log;
use crate::metrics::{Measured, Metrics};

/// What the log line of a call looks like.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Whether the status is written out: `200 OK`.
    pub reason: bool,
    /// Whether the call id stands at the end.
    pub call_id: bool,
}

/// A call in flight. It is logged and counted when this is dropped.
#[derive(Debug)]
pub struct Access {
    measured: Measured,
    reason: bool,
    /// The line's beginning; `None` for calls that are not logged.
    head: Option<String>,
    /// The line's end.
    tail: String,
    length: Option<u64>,
}

impl Access {
    /// A call begins.
    pub fn begin<B>(request: &Request<B>, metrics: &Metrics, style: Style) -> Self {
        let headers = request.headers();
        let head = format!("{} {}", request.method(), request.uri());
        Self {
            measured: metrics.begin(request.method()),
            reason: style.reason,
            head: (!is_probe(headers)).then_some(head),
            tail: if style.call_id { call_id(headers) } else { String::new() },
            length: None,
        }
    }

    /// Its answer is about to go out; the call is over when the body is.
    pub fn answered(mut self, response: Response<Body>) -> Response<Body> {
        self.measured.answered(response.status());
        let told = response.headers().get(CONTENT_LENGTH);
        let told = told.and_then(|length| length.to_str().ok()?.parse().ok());
        self.length = told.or_else(|| response.body().size_hint().exact());
        response.map(|body| body.with_guard(self))
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        let Some(head) = &self.head else { return };
        let status = self.measured.status();
        let words = match StatusCode::from_u16(status) {
            Ok(code) if self.reason => code.canonical_reason().map(|words| format!(" {words}")),
            _ => None,
        };
        let words = words.unwrap_or_default();
        let size = log::human_size(self.length);
        let seconds = self.measured.start().elapsed().as_secs_f64();
        let tail = &self.tail;
        log::line(format_args!(
            "{head} - {status}{words} - ContentLength: {size} ({seconds:.4}s){tail}"
        ));
    }
}

/// Kubernetes asks all the time.
fn is_probe(headers: &HeaderMap) -> bool {
    headers.get(USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"kube-probe"))
}

fn call_id(headers: &HeaderMap) -> String {
    let id = headers.get("x-call-id").and_then(|id| id.to_str().ok());
    format!(" [{}]", id.unwrap_or("none"))
}
