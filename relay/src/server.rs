//! Accepting connections and answering calls.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::{Notify, watch};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::body::Body;
use crate::conn::{ConnState, PhaseLimits, Socket};
use crate::http2::{self, Opening, Rewind};
use crate::listener::Listener;
use crate::shutdown::Shutdown;
use crate::stream::{Arrival, Peer, Stream};

/// Pause after a failed `accept`, so that running out of file descriptors does not become a
/// loop that eats the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a client that has sent nothing yet may still send its request after the signal to end.
const NEWCOMER: Duration = Duration::from_millis(500);

/// How a server treats its clients.
#[derive(Clone, Copy, Debug)]
pub struct ServeOptions {
    /// How long a request's head may take from its first byte on.
    pub header_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub idle_timeout: Duration,
    /// Most bytes of a request's head; more is answered with 431.
    pub max_head_bytes: usize,
    /// Most bytes of a request's target; more is answered with 414.
    pub max_uri_bytes: usize,
    /// Most connections at a time; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// How long calls in flight may go on after the signal to end.
    pub drain_timeout: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            max_head_bytes: 1 << 20,
            max_uri_bytes: 32 << 10,
            max_connections: usize::MAX,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// What connections are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Serve,
    Drain,
    Abort,
}

/// What all connections of one listener share.
struct Server<H> {
    handler: H,
    options: ServeOptions,
    http: http1::Builder,
    live: Cell<usize>,
    ended: Notify,
    stage: watch::Sender<Stage>,
}

/// Answers calls until the signal to end, then finishes those in flight, within
/// `options.drain_timeout`; what is left then is reset. Runs within a `LocalRuntime` or `LocalSet`.
///
/// The handler's answer goes out as it is. A body that fails resets the connection.
pub async fn serve<H, F>(
    listener: Listener,
    options: ServeOptions,
    mut shutdown: Shutdown,
    handler: H,
) where
    H: Fn(Request<Body>, Peer) -> F + 'static,
    F: Future<Output = Response<Body>> + 'static,
{
    let mut http = http1::Builder::new();
    let head = options.max_head_bytes.max(8 << 10);
    http.max_buf_size(head).max_header_size(head).header_read_timeout(None);
    let server = Rc::new(Server {
        handler,
        options,
        http,
        live: Cell::new(0),
        ended: Notify::new(),
        stage: watch::Sender::new(Stage::Serve),
    });
    tokio::select! {
        biased;
        () = shutdown.wait() => (),
        never = accept_all(&server, &listener) => match never {},
    }
    drop(listener);
    server.drain().await;
}

async fn accept_all<H, F>(server: &Rc<Server<H>>, listener: &Listener) -> Infallible
where
    H: Fn(Request<Body>, Peer) -> F + 'static,
    F: Future<Output = Response<Body>> + 'static,
{
    loop {
        while server.live.get() >= server.options.max_connections {
            server.ended.notified().await;
        }
        match listener.accept().await {
            Ok((arrival, peer)) => {
                let live = Live::new(server);
                spawn_local(async move { live.0.client(arrival, peer).await });
            }
            Err(e) if is_of_one_connection(&e) => (),
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether `accept` failed because of the client that it was about to return.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Counts a connection or a tunnel as long as it lives.
struct Live<H>(Rc<Server<H>>);

impl<H> Live<H> {
    fn new(server: &Rc<Server<H>>) -> Self {
        server.live.set(server.live.get() + 1);
        Self(Rc::clone(server))
    }
}

impl<H> Drop for Live<H> {
    fn drop(&mut self) {
        self.0.live.set(self.0.live.get() - 1);
        self.0.ended.notify_one();
    }
}

impl<H> Server<H> {
    async fn drain(&self) {
        self.stage.send_replace(Stage::Drain);
        if timeout(self.options.drain_timeout, self.all_ended()).await.is_err() {
            self.stage.send_replace(Stage::Abort);
            self.all_ended().await;
        }
    }

    async fn all_ended(&self) {
        while self.live.get() > 0 {
            self.ended.notified().await;
        }
    }

    /// Returns when connections are to be cut.
    async fn aborted(&self) {
        let mut stage = self.stage.subscribe();
        let _ = stage.wait_for(|stage| *stage == Stage::Abort).await;
    }
}

impl<H, F> Server<H>
where
    H: Fn(Request<Body>, Peer) -> F + 'static,
    F: Future<Output = Response<Body>> + 'static,
{
    /// One client, whatever it speaks.
    async fn client(self: &Rc<Self>, arrival: Arrival, peer: Peer) {
        let greeting = arrival.greet(self.options.header_timeout);
        let stream = tokio::select! {
            stream = greeting => stream,
            () = self.aborted() => None,
        };
        let Some(stream) = stream else { return };
        let Some((opening, stream)) = self.opening(stream).await else { return };
        if opening == Opening::Http2 {
            let server = Rc::clone(self);
            let handler = move |request| (server.handler)(request, peer);
            let stage = self.stage.subscribe();
            return http2::serve(stream, self.options, stage, handler).await;
        }
        self.connection(stream, peer).await;
    }

    /// Waits for the first bytes, not too long.
    async fn opening(&self, stream: Stream) -> Option<(Opening, Rewind<Stream>)> {
        let begun = Notify::new();
        let mut stage = self.stage.subscribe();
        tokio::select! {
            opened = http2::open(stream, || begun.notify_one()) => opened,
            () = async {
                let _ = stage.wait_for(|stage| *stage != Stage::Serve).await;
                // Who has just connected is about to ask, and nobody else would answer.
                sleep(NEWCOMER).await;
            } => None,
            () = async {
                if timeout(self.options.idle_timeout, begun.notified()).await.is_ok() {
                    sleep(self.options.header_timeout).await;
                }
            } => None,
        }
    }

    async fn connection(self: &Rc<Self>, stream: Rewind<Stream>, peer: Peer) {
        let state = ConnState::new();
        let socket = TokioIo::new(Socket::new(stream, Arc::clone(&state)));
        let service = service_fn(|request| self.call(request, peer, &state));
        let mut connection = pin!(self.http.serve_connection(socket, service).with_upgrades());
        let mut stage = self.stage.subscribe();
        let mut told = false;
        let mut timer = pin!(sleep_until(self.next_check(&state)));
        loop {
            tokio::select! {
                biased;
                // Errors here are the client's: it went away, or sent no HTTP.
                _ = connection.as_mut() => return,
                _ = stage.wait_for(|s| *s == Stage::Abort || (*s == Stage::Drain && !told)) => {
                    if *self.stage.borrow() == Stage::Abort {
                        return state.reset();
                    }
                    told = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = timer.as_mut() => {
                    let limits = self.phase_limits();
                    if state.expires(limits).is_some_and(|at| at <= Instant::now()) {
                        if !state.is_idle() {
                            state.reset();
                        }
                        return;
                    }
                    timer.as_mut().reset(self.next_check(&state));
                }
            }
        }
    }

    async fn call(
        self: &Rc<Self>,
        request: Request<Incoming>,
        peer: Peer,
        state: &Arc<ConnState>,
    ) -> Result<Response<Body>, Infallible> {
        let ambiguous = state.busy(request.headers().contains_key(TRANSFER_ENCODING));
        let request = request.map(Body::from);
        let mut response = match self.refuse(&request, ambiguous) {
            None => (self.handler)(request, peer).await,
            Some(refusal) => refusal,
        };
        if let Some((tunnel, guards)) = response.body_mut().take_tunnel() {
            let live = Live::new(self);
            spawn_local(async move {
                tokio::select! {
                    () = tunnel.run(guards) => (),
                    () = live.0.aborted() => (),
                }
            });
        } else {
            response.body_mut().attach(state);
        }
        Ok(response)
    }

    /// Answers requests that no handler should see.
    fn refuse(&self, request: &Request<Body>, ambiguous: bool) -> Option<Response<Body>> {
        let refusal = |status, text| Some(refusal(status, text));
        if ambiguous {
            // Another hop may believe the other one (RFC 9112 6.1).
            let text = "a request has Content-Length or Transfer-Encoding, not both";
            return refusal(StatusCode::BAD_REQUEST, text);
        }
        let uri = request.uri();
        if request.method() == Method::CONNECT {
            return refusal(StatusCode::NOT_IMPLEMENTED, "CONNECT is not supported");
        }
        if uri.path_and_query().is_some_and(|p| p.as_str().len() > self.options.max_uri_bytes) {
            return refusal(StatusCode::URI_TOO_LONG, "the request target is too long");
        }
        // Any other coding would have to be undone here, or be passed on and be misread there.
        let codings = request.headers().get_all(TRANSFER_ENCODING);
        let chunked = |v: &HeaderValue| v.as_bytes().eq_ignore_ascii_case(b"chunked");
        let mut codings = codings.iter();
        if codings.next().is_some_and(|v| !chunked(v)) || codings.next().is_some() {
            return refusal(
                StatusCode::NOT_IMPLEMENTED,
                "only chunked transfer coding is supported",
            );
        }
        let hosts = request.headers().get_all(HOST).iter().count();
        let needs_host = request.version() == Version::HTTP_11 && uri.authority().is_none();
        if hosts > 1 || (hosts == 0 && needs_host) {
            return refusal(StatusCode::BAD_REQUEST, "a request needs one Host header");
        }
        None
    }

    fn phase_limits(&self) -> PhaseLimits {
        PhaseLimits { header: self.options.header_timeout, idle: self.options.idle_timeout }
    }

    /// When to look again whether the connection has used up its time. Phases change without
    /// notice, so that is often enough for the shortest of them.
    fn next_check(&self, state: &ConnState) -> Instant {
        let soon = Instant::now() + self.options.header_timeout.min(self.options.idle_timeout);
        state.expires(self.phase_limits()).map_or(soon, |at| at.min(soon))
    }
}

/// An answer of this hop to a request that is not taken. The connection is closed after it, as
/// what follows on it cannot be trusted.
pub(crate) fn refusal(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert("x-faas-error", HeaderValue::from_static("bad_request"));
    response
}
