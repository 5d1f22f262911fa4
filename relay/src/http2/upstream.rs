//! Connections to upstreams that speak HTTP/2 with prior knowledge, for gRPC.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::{fmt, io};

use http::header::{HOST, HeaderValue, TE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::Mutex;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use super::MAX_HEAD_BYTES;
use super::cut::{Cut, Cuttable};
use super::exec::Exec;
use crate::body::Body;
use crate::call::Call;
use crate::error::{BodyError, SendError};
use crate::headers::strip_hop_by_hop;
use crate::pool::PoolOptions;
use crate::stream::Stream;
use crate::target::Target;

/// Calls on a connection whose peer has not told its limit yet; a number that peers do not choose,
/// so that it also tells whether they have said anything.
const FIRST_STREAMS: usize = 97;
/// Bytes of one answer that may wait here to be passed on.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// Bytes of all answers of a connection that may wait here to be passed on.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Bytes of one request's body that may wait here for the upstream to read.
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// Connections of one thread. A call shares its connection with others; there are several to one
/// target only when the target allows no more calls on one.
#[derive(Debug)]
pub(crate) struct Upstreams {
    options: PoolOptions,
    targets: RefCell<HashMap<Target, Rc<Slot>>>,
}

/// The connections to one target.
#[derive(Debug, Default)]
struct Slot {
    connections: RefCell<Vec<Rc<Conn>>>,
    /// Held by who connects; others wait for the outcome.
    connecting: Mutex<()>,
    failed: Cell<Option<(Instant, io::ErrorKind)>>,
}

type Driver = Connection<TokioIo<Stream>, Cuttable, Exec>;

struct Conn {
    sender: SendRequest<Cuttable>,
    driver: RefCell<Driver>,
    in_flight: Cell<usize>,
    idle_since: Cell<Instant>,
    /// The peer takes no more calls on it.
    retired: Cell<bool>,
}

/// One call's place on a connection.
struct Lease(Rc<Conn>);

impl Upstreams {
    pub(crate) fn new(options: PoolOptions) -> Self {
        Self { options, targets: RefCell::default() }
    }

    /// Sends the call; see [`Pool::send`](crate::Pool::send).
    pub(crate) async fn exchange(
        &self,
        target: &Target,
        call: &mut Call,
    ) -> Result<Response<Body>, SendError> {
        let slot = self.slot(target);
        loop {
            let (lease, fresh) = self.lease(target, &slot).await.map_err(SendError::NotSent)?;
            let Some(request) = call.request() else {
                return Err(SendError::RequestBody(BodyError::Superseded));
            };
            let (request, cut) = prepare(request);
            let failed = match lease.0.sender.clone().try_send_request(request).await {
                Ok(response) => return Ok(answer(response, lease, cut)),
                Err(failed) => failed,
            };
            let mut failed = failed;
            let unsent = failed.take_message().is_some();
            let error = failed.into_error();
            let gone = unsent || is_goodbye(&error);
            if gone {
                lease.0.retired.set(true);
            }
            if gone && !fresh && call.can_repeat() {
                // The connection was being closed; there will be another.
                continue;
            }
            return Err(match gone || is_refused(&error) {
                true => SendError::NotSent(io::Error::other(error)),
                false => cause(error, &lease.0, &cut),
            });
        }
    }

    fn slot(&self, target: &Target) -> Rc<Slot> {
        let mut targets = self.targets.borrow_mut();
        if let Some(slot) = targets.get(target) {
            return Rc::clone(slot);
        }
        // Now and then, those that are of no more use.
        targets.retain(|_, slot| Rc::strong_count(slot) > 1 || !slot.is_empty());
        Rc::clone(targets.entry(target.clone()).or_default())
    }

    /// A place on a connection, and whether it was opened for it.
    async fn lease(&self, target: &Target, slot: &Rc<Slot>) -> io::Result<(Lease, bool)> {
        if let Some(lease) = slot.free() {
            return Ok((lease, false));
        }
        let since = Instant::now();
        let _turn = slot.connecting.lock().await;
        if let Some(lease) = slot.free() {
            return Ok((lease, false));
        }
        // What the one before has just tried need not be tried again.
        if let Some((_, kind)) = slot.failed.get().filter(|(at, _)| *at > since) {
            return Err(kind.into());
        }
        let connected = self.connect(target, slot).await;
        if let Err(error) = &connected {
            slot.failed.set(Some((Instant::now(), error.kind())));
        }
        Ok((connected?, true))
    }

    async fn connect(&self, target: &Target, slot: &Rc<Slot>) -> io::Result<Lease> {
        let stream = timeout(self.options.connect_timeout, target.connect())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let handshake = Builder::new(Exec::default())
            .initial_max_send_streams(FIRST_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_header_list_size(MAX_HEAD_BYTES)
            .handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(io::Error::other)?;
        let conn = Rc::new(Conn {
            sender,
            driver: RefCell::new(connection),
            in_flight: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            retired: Cell::new(false),
        });
        let lease = Lease::new(&conn);
        slot.connections.borrow_mut().push(Rc::clone(&conn));
        spawn_local(drive(conn, Rc::downgrade(slot), self.options));
        Ok(lease)
    }
}

/// Runs a connection until it ends or was of no use for long enough.
async fn drive(conn: Rc<Conn>, slot: Weak<Slot>, options: PoolOptions) {
    loop {
        let ended = poll_fn(|cx| Pin::new(&mut *conn.driver.borrow_mut()).poll(cx));
        tokio::select! {
            // Whoever waits for an answer is told of errors; between answers nobody minds.
            _ = ended => break,
            () = sleep(options.idle_timeout) => {
                let idle = conn.in_flight.get() == 0;
                if idle && conn.idle_since.get().elapsed() >= options.idle_timeout {
                    break;
                }
            }
        }
    }
    if let Some(slot) = slot.upgrade() {
        slot.connections.borrow_mut().retain(|other| !Rc::ptr_eq(other, &conn));
    }
}

impl Slot {
    /// A place on a connection that is there, if any.
    fn free(&self) -> Option<Lease> {
        let connections = self.connections.borrow();
        let mut usable = connections.iter().filter(|conn| conn.is_usable());
        usable.find(|conn| conn.in_flight.get() < conn.limit()).map(Lease::new)
    }

    fn is_empty(&self) -> bool {
        self.connections.borrow().is_empty()
    }
}

impl Conn {
    /// How many calls the peer allows at a time.
    fn limit(&self) -> usize {
        self.driver.borrow().current_max_send_streams()
    }

    /// Whether the peer has said anything in HTTP/2: its settings come first.
    fn is_understood(&self) -> bool {
        self.limit() != FIRST_STREAMS
    }

    fn is_usable(&self) -> bool {
        !self.retired.get() && !self.sender.is_closed()
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

impl Lease {
    fn new(conn: &Rc<Conn>) -> Self {
        conn.in_flight.set(conn.in_flight.get() + 1);
        Self(Rc::clone(conn))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
        self.0.idle_since.set(Instant::now());
    }
}

/// A request as HTTP/2 wants it.
fn prepare(request: Request<Body>) -> (Request<Cuttable>, Cut) {
    let (mut parts, body) = request.into_parts();
    let host = parts.headers.remove(HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(authority.unwrap_or(Authority::from_static("localhost")));
    let path = parts.uri.path_and_query().cloned();
    uri.path_and_query = Some(path.unwrap_or(PathAndQuery::from_static("/")));
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
    // Servers refuse gRPC calls without it.
    parts.headers.insert(TE, HeaderValue::from_static("trailers"));
    parts.version = Version::HTTP_2;
    let (body, cut) = Cuttable::new(body);
    (Request::from_parts(parts, body), cut)
}

fn answer(response: Response<Incoming>, lease: Lease, cut: Cut) -> Response<Body> {
    let mut response = response.map(Body::from);
    *response.version_mut() = Version::HTTP_11;
    strip_hop_by_hop(response.headers_mut());
    response.map(|body| body.with_guard(cut).with_guard(lease))
}

/// Whether the peer said goodbye before it began the call: a stream that it did begin is not
/// failed by its goodbye.
fn is_goodbye(error: &hyper::Error) -> bool {
    http2_error(error).is_some_and(|error| error.is_go_away() && error.is_remote())
}

/// Whether the peer did not begin the call, and says so.
fn is_refused(error: &hyper::Error) -> bool {
    let refused =
        |error: &h2::Error| error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    http2_error(error).is_some_and(refused)
}

fn cause(error: hyper::Error, conn: &Conn, cut: &Cut) -> SendError {
    if let Some(failure) = cut.failure() {
        return SendError::RequestBody(failure);
    }
    let garbled = |error: &h2::Error| error.is_library() && error.is_go_away();
    match !conn.is_understood() || http2_error(&error).is_some_and(garbled) {
        true => SendError::NoHttp2,
        false => SendError::Broken(error.into()),
    }
}

fn http2_error(error: &hyper::Error) -> Option<&h2::Error> {
    std::error::Error::source(error)?.downcast_ref()
}
