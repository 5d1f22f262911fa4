//! One connection of a client that speaks HTTP/2.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Instant, sleep_until};

use super::MAX_HEAD_BYTES;
use super::exec::Exec;
use super::request::translate;
use super::streams::{Sent, Streams};
use crate::body::Body;
use crate::h1::Io;
use crate::server::{Live, ServeOptions, Stage, refusal};

/// Calls of one connection at a time.
const MAX_STREAMS: u32 = 128;
/// Streams that the client reset before they were even looked at, at a time; more end the
/// connection.
const MAX_RESET_STREAMS: usize = 32;
/// Bytes of one request's body that may wait here to be passed on.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// Bytes of all request bodies of a connection that may wait here to be passed on.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Bytes of one answer that may wait here for the client to read.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// After this silence the client is asked whether it is there.
const PING_AFTER: Duration = Duration::from_secs(30);
/// How long it may take to say so.
const PONG_WITHIN: Duration = Duration::from_secs(20);
/// Longest wait for a client without calls to understand a goodbye.
const GOODBYE: Duration = Duration::from_secs(10);

/// Serves the connection until it ends, by itself or because `live` says so. Every stream goes to
/// `handler`. Draining lets the streams finish.
pub(crate) async fn serve<S, H, F>(io: Io, live: &Live<S>, handler: H)
where
    H: Fn(Request<Body>) -> F + 'static,
    F: Future<Output = Response<Body>> + 'static,
{
    let options = live.options().clone();
    let (max_uri, start) = (options.max_uri_bytes, options.header_timeout);
    let (streams, exec) = (Streams::new(), Exec::default());
    let service = {
        let (streams, exec, handler) = (Rc::clone(&streams), exec.clone(), Rc::new(handler));
        service_fn(move |request: Request<Incoming>| {
            let (stream, progress) = streams.begin(start);
            exec.announce(stream);
            let handler = Rc::clone(&handler);
            async move {
                let response = answer(request.map(Body::from), max_uri, &*handler).await;
                Ok::<_, Infallible>(response.map(|body| Sent::new(body, progress)))
            }
        })
    };
    let mut connection = pin!(builder(&options, exec).serve_connection(TokioIo::new(io), service));
    let mut check = Check { options, told: None };
    let mut timer = pin!(sleep_until(check.next(&streams)));
    let mut drains = false;
    loop {
        tokio::select! {
            biased;
            // Errors here are the client's: it went away, or broke the protocol.
            _ = connection.as_mut() => return,
            now = live.reached(if drains { Stage::Abort } else { Stage::Leave }) => {
                if now == Stage::Abort {
                    return;
                }
                drains = true;
                connection.as_mut().graceful_shutdown();
                check.told.get_or_insert_with(Instant::now);
                timer.as_mut().reset(check.next(&streams));
            }
            () = streams.abused.notified() => {
                return tracing::debug!("a client takes its requests back as fast as it sends them");
            }
            () = timer.as_mut() => {
                match check.idle(&streams) {
                    Idle::No => (),
                    Idle::Tell => connection.as_mut().graceful_shutdown(),
                    Idle::Close => return,
                }
                timer.as_mut().reset(check.next(&streams));
            }
        }
    }
}

fn builder(options: &ServeOptions, exec: Exec) -> Builder<Exec> {
    let mut builder = Builder::new(exec);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
        .max_local_error_reset_streams(MAX_RESET_STREAMS)
        .max_header_list_size(
            u32::try_from(options.max_head_bytes).unwrap_or(u32::MAX).min(MAX_HEAD_BYTES),
        )
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PONG_WITHIN);
    builder
}

/// Watches for idle time.
struct Check {
    options: ServeOptions,
    /// When goodbye was said.
    told: Option<Instant>,
}

enum Idle {
    No,
    Tell,
    Close,
}

impl Check {
    fn idle(&mut self, streams: &Streams) -> Idle {
        let now = Instant::now();
        match (streams.idle_since(), self.told) {
            (Some(_), _) if self.next(streams) > now => Idle::No,
            (Some(_), Some(_)) => Idle::Close,
            (Some(_), None) => {
                self.told = Some(now);
                Idle::Tell
            }
            (None, _) => Idle::No,
        }
    }

    /// When to look again. A client that was told, and does not close, has no calls to wait for.
    fn next(&self, streams: &Streams) -> Instant {
        let goodbye = GOODBYE.min(self.options.header_timeout);
        match (streams.idle_since(), self.told) {
            (Some(since), Some(told)) => since.max(told) + goodbye,
            (None, Some(_)) => Instant::now() + goodbye,
            (Some(since), None) => since + self.options.idle_timeout,
            (None, None) => Instant::now() + self.options.idle_timeout,
        }
    }
}

/// Answers one request.
async fn answer<H, F>(request: Request<Body>, max_uri: usize, handler: &H) -> Response<Body>
where
    H: Fn(Request<Body>) -> F,
    F: Future<Output = Response<Body>>,
{
    let is_head = request.method() == Method::HEAD;
    let path = request.uri().path_and_query();
    let mut response = if path.is_some_and(|path| path.as_str().len() > max_uri) {
        refusal(StatusCode::URI_TOO_LONG, "the request target is too long")
    } else {
        match translate(request) {
            Ok(request) => handler(request).await,
            Err((status, text)) => refusal(status, text),
        }
    };
    let lines = response.body_mut().take_lines();
    lines.copy_to(response.headers_mut());
    if is_head {
        leave_out_body(&mut response);
    }
    response
}

/// hyper sends whatever body there is.
fn leave_out_body(response: &mut Response<Body>) {
    let body = std::mem::take(response.body_mut());
    if let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert(HeaderValue::from(length));
    }
}
