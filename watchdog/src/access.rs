//! What is kept of each call: a line in the log and its metrics (contract 5.8).

use http::header::{CONTENT_LENGTH, USER_AGENT};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body as _;
use relay::Body;

use crate::limit::Slot;
use crate::log::{self, HumanSize, Seconds};
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
    /// Its place among the calls in flight.
    slot: Option<Slot>,
}

impl Access {
    /// A call begins.
    pub fn begin<B>(request: &Request<B>, metrics: &Metrics, style: Style) -> Self {
        let headers = request.headers();
        Self {
            measured: metrics.begin(request.method()),
            reason: style.reason,
            head: (!is_probe(headers)).then(|| head(request)),
            tail: if style.call_id { call_id(headers) } else { String::new() },
            length: None,
            slot: None,
        }
    }

    /// It has a place among the calls in flight, and keeps it until it is over.
    pub fn occupies(&mut self, slot: Slot) {
        self.slot = Some(slot);
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
            Ok(code) if self.reason => code.canonical_reason().unwrap_or_default(),
            _ => "",
        };
        let took = Seconds::<4>(self.measured.start().elapsed());
        log::call_line(|out| {
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(b" - ");
            log::number(out, status.into());
            if !words.is_empty() {
                out.push(b' ');
                out.extend_from_slice(words.as_bytes());
            }
            out.extend_from_slice(b" - ContentLength: ");
            HumanSize(self.length).write(out);
            out.extend_from_slice(b" (");
            took.write(out);
            out.extend_from_slice(b"s)");
            out.extend_from_slice(self.tail.as_bytes());
        });
    }
}

/// Method and target. Nearly all targets are a path, which needs no formatting.
fn head<B>(request: &Request<B>) -> String {
    let (method, uri) = (request.method().as_str(), request.uri());
    match uri.path_and_query() {
        Some(path) if uri.authority().is_none() => [method, " ", path.as_str()].concat(),
        _ => format!("{method} {uri}"),
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
