//! One process per request (contract 5.5, 5.6, 5.11). All kinds share one path: they differ in
//! how much output is held back until it is known how the process ended.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use relay::Body;
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use super::Allowed;
use crate::answer;
use crate::config::{Classic, Config, Mode};
use crate::log::{self, LineStyle, Lines, Sink};
use crate::reap::Reaper;
use crate::run::{self, End, Event, Job};
use crate::{cgi, sniff};

/// Output that is held back in the kinds that answer when the process has ended. A larger output
/// is passed on as it comes, and a failure after that resets the connection.
const HELD: usize = 4 << 20;

/// What the classic watchdog takes (contract 5.11).
const CLASSIC_METHODS: [Method; 5] =
    [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::GET];

/// Starts a process for each call.
#[derive(Debug)]
pub struct Forker {
    words: Vec<String>,
    held: usize,
    classic: Option<Classic>,
    content_type: Option<HeaderValue>,
    limit: Option<Duration>,
    style: LineStyle,
    reaper: Rc<Reaper>,
}

/// What a call was about, for its answer.
struct Asked {
    allowed: Allowed,
    is_head: bool,
    content_type: Option<HeaderValue>,
}

impl Forker {
    /// A process per call, as `config` says.
    pub fn new(config: &Config, reaper: Rc<Reaper>) -> Self {
        let classic = match &config.mode {
            Mode::Classic(classic) => Some(classic.clone()),
            _ => None,
        };
        Self {
            words: config.process.clone(),
            held: if config.mode == Mode::Streaming { 0 } else { HELD },
            classic,
            content_type: config.content_type.clone(),
            limit: config.exec_timeout,
            style: LineStyle { prefix: config.prefix_logs, max_bytes: config.line_bytes },
            reaper,
        }
    }

    /// Runs a process for the call.
    pub async fn call(&self, request: Request<Body>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        if self.classic.is_some() && !CLASSIC_METHODS.contains(&parts.method) {
            let reason = format!("fwatchdog: {} is not taken in classic mode", parts.method);
            return answer::error(StatusCode::METHOD_NOT_ALLOWED, "method", reason);
        }
        let allowed = Allowed::new(self.limit, &parts.headers);
        allowed.tell(&mut parts.headers);
        let asked = Asked {
            allowed,
            is_head: parts.method == Method::HEAD,
            content_type: self.content_type_for(&parts),
        };
        if allowed.is_over() {
            return self.failure(&End::Deadline, &[], &asked);
        }
        let (sender, events) = mpsc::channel(4);
        match run::start(self.job(&parts), body, allowed.deadline()) {
            Ok(running) => spawn_local(running.drive(sender)),
            Err(error) => return cannot_start(&error),
        };
        self.answer(events, &asked).await
    }

    fn job(&self, parts: &Parts) -> Job<'_> {
        let classic = self.classic.as_ref();
        if classic.is_some_and(|classic| classic.debug_headers) {
            log_headers(parts);
        }
        if classic.is_some() {
            log::line("Forking fprocess.");
        }
        let with_variables = classic.is_none_or(|classic| classic.cgi_headers);
        let marshal = classic.is_some_and(|classic| classic.marshal_request);
        Job {
            words: &self.words,
            variables: match with_variables {
                true => cgi::variables(parts, classic.is_some()),
                false => Vec::new(),
            },
            marshal: marshal.then(|| parts.headers.clone()),
            combine_output: classic.is_some_and(|classic| classic.combine_output),
            style: self.style,
            reaper: &self.reaper,
        }
    }

    /// Classic has no type of its own: it takes the request's.
    fn content_type_for(&self, parts: &Parts) -> Option<HeaderValue> {
        self.content_type.clone().or_else(|| parts.headers.get(CONTENT_TYPE).cloned())
    }

    async fn answer(&self, mut events: mpsc::Receiver<Event>, asked: &Asked) -> Response<Body> {
        let mut held = VecDeque::new();
        let mut size = 0;
        let end = loop {
            match events.recv().await {
                Some(Event::Data(bytes)) => {
                    size += bytes.len();
                    // A HEAD has no body, but its process runs to its end like any other.
                    if !asked.is_head {
                        held.push_back(bytes);
                    }
                    if size > self.held && !asked.is_head {
                        return self.success(Body::boxed(Output { held, events }), asked, None);
                    }
                }
                Some(Event::End(end)) => break end,
                None => break End::Failed(io::Error::other("the watchdog lost the process")),
            }
        };
        let output: Vec<u8> = held.into_iter().flatten().collect();
        self.debug_output(&output);
        match end {
            End::Exited(status) if status.success() => {
                if self.classic.is_some() {
                    let seconds = asked.allowed.start.elapsed().as_secs_f64();
                    log::line(format_args!("Wrote {size} Bytes - Duration: {seconds:.6}s"));
                }
                let kind = sniff::content_type(&output);
                self.success(Body::full(output), asked, Some(kind))
            }
            end => self.failure(&end, &output, asked),
        }
    }

    fn success(&self, body: Body, asked: &Asked, sniffed: Option<&'static str>) -> Response<Body> {
        let mut response = Response::new(body);
        let sniffed = HeaderValue::from_static(sniffed.unwrap_or("application/octet-stream"));
        let kind = asked.content_type.clone().unwrap_or(sniffed);
        response.headers_mut().insert(CONTENT_TYPE, kind);
        self.timed(response, asked)
    }

    /// The time is only told by kinds that know it when they answer.
    fn timed(&self, response: Response<Body>, asked: &Asked) -> Response<Body> {
        if self.held == 0 {
            return response;
        }
        answer::with_duration(response, asked.allowed.start.elapsed())
    }

    fn failure(&self, end: &End, output: &[u8], asked: &Asked) -> Response<Body> {
        log::line(format_args!("The function failed: {end}"));
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let response = match end {
            End::Exited(_) if self.classic.is_some() => {
                let output = String::from_utf8_lossy(output);
                answer::error(status, "function_failed", format_args!("{end}\n{output}"))
            }
            End::Exited(_) => answer::error(status, "function_failed", end),
            End::Deadline if self.classic.is_some() => {
                answer::error(StatusCode::REQUEST_TIMEOUT, "deadline", "Killed process.")
            }
            End::Deadline => answer::too_slow(asked.allowed.limit()),
            End::BadBody(_) => {
                let reason = format!("fwatchdog: {end}");
                answer::error(StatusCode::BAD_REQUEST, "body_broken", reason)
            }
            End::Failed(_) => {
                let reason = format!("fwatchdog: {end}");
                answer::internal(answer::error(status, "function_failed", reason), "of-watchdog")
            }
        };
        self.timed(response, asked)
    }

    fn debug_output(&self, output: &[u8]) {
        if self.classic.as_ref().is_some_and(|classic| classic.write_debug) {
            let mut lines = Lines::new(Sink::Stderr, self.style);
            lines.push(output);
            lines.finish();
        }
    }
}

/// Headers for `debug_headers`, without what would let a reader of the log act as the caller.
fn log_headers(parts: &Parts) {
    for (name, value) in &parts.headers {
        let secret = ["authorization", "cookie", "proxy-authorization"].contains(&name.as_str());
        let value = if secret { b"***" } else { value.as_bytes() };
        let (name, value) = (cgi::canonical(name.as_str()), String::from_utf8_lossy(value));
        log::line(format_args!("[{name}] {value}"));
    }
}

fn cannot_start(error: &io::Error) -> Response<Body> {
    log::line(format_args!("Cannot start the function's process: {error}"));
    let reason = format!("fwatchdog: cannot start the function's process: {error}");
    if error.kind() == io::ErrorKind::ArgumentListTooLong {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return answer::error(status, "headers_too_large", reason);
    }
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    answer::internal(answer::error(status, "cannot_start", reason), "of-watchdog")
}

/// A process's output as a body. It fails when the process does.
struct Output {
    held: VecDeque<Bytes>,
    events: mpsc::Receiver<Event>,
}

impl http_body::Body for Output {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        if let Some(bytes) = self.held.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let failed = |reason: String| {
            log::line(format_args!("The function failed after its answer began: {reason}"));
            Some(Err(reason))
        };
        Poll::Ready(match std::task::ready!(self.events.poll_recv(cx)) {
            Some(Event::Data(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Event::End(End::Exited(status))) if status.success() => None,
            Some(Event::End(end)) => failed(end.to_string()),
            None => failed("the watchdog lost the process".to_owned()),
        })
    }
}
