//! Accepting connections and answering calls.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use slab::Slab;
use tokio::sync::Notify;
use tokio::task::{spawn_local, yield_now};
use tokio::time::{sleep, timeout};

use crate::body::Body;
use crate::h1::{self, BodyRate};
use crate::http2;
use crate::listener::{Listener, is_of_one_connection};
use crate::places::{Place, Places};
use crate::shutdown::{Parting, Shutdown};
use crate::stream::{Arrival, Peer};

/// Pause after a failed `accept`, so that running out of file descriptors does not become a
/// loop that eats the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long unused connections stay open when clients are let go gently. A client that uses
/// one at the moment when it is closed gets no answer, and cannot know whether its request was
/// taken; one that was not used for that long is not likely to be used right then.
const LINGER: Duration = Duration::from_secs(3);

/// How a server treats its clients.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// How long a request's head may take from its first byte on.
    pub header_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub idle_timeout: Duration,
    /// Most bytes of a request's head; more is answered with 431.
    pub max_head_bytes: usize,
    /// Most bytes of a request's target; more is answered with 414.
    pub max_uri_bytes: usize,
    /// How fast a request's body must come, while it is waited for; `None` for any speed.
    pub min_body_rate: Option<BodyRate>,
    /// How long a client may take nothing of its answer.
    pub write_stall_timeout: Duration,
    /// Where connections have their places; `None` for any number.
    pub places: Option<Places>,
    /// How long calls in flight may go on after the signal to end.
    pub drain_timeout: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            max_head_bytes: 64 << 10,
            max_uri_bytes: 32 << 10,
            min_body_rate: None,
            write_stall_timeout: Duration::from_secs(60),
            places: None,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// What connections are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Serve,
    /// One more request on each connection; new ones go elsewhere.
    Leave,
    /// No new requests.
    Drain,
    /// Nothing any more.
    Abort,
}

/// What all connections of one listener share.
struct Server<H> {
    handler: H,
    options: ServeOptions,
    stage: Cell<Stage>,
    /// The tasks of the connections.
    live: RefCell<Slab<Option<Waker>>>,
    ended: Notify,
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
    let server = Rc::new(Server {
        handler,
        options,
        stage: Cell::new(Stage::Serve),
        live: RefCell::default(),
        ended: Notify::new(),
    });
    let parting = tokio::select! {
        biased;
        parting = shutdown.given() => parting,
        never = accept_all(&server, &listener) => match never {},
    };
    if parting == Parting::Leave {
        drop(listener);
        return server.drain(parting).await;
    }
    // Whoever is in the queue was promised an answer. So was who has sent a request on a connection
    // that looks idle; in one turn of the runtime all that is known to the kernel is known here.
    listener.accept_rest(|arrival, peer| server.spawn(arrival, peer, None));
    yield_now().await;
    server.drain(parting).await;
}

async fn accept_all<H, F>(server: &Rc<Server<H>>, listener: &Listener) -> Infallible
where
    H: Fn(Request<Body>, Peer) -> F + 'static,
    F: Future<Output = Response<Body>> + 'static,
{
    loop {
        let place = match &server.options.places {
            Some(places) => places.take().await,
            None => None,
        };
        match listener.accept().await {
            Ok((arrival, peer)) => server.spawn(arrival, peer, place),
            Err(e) if is_of_one_connection(&e) => (),
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl<H> Server<H> {
    async fn drain(&self, parting: Parting) {
        let ended = async {
            if parting != Parting::Drain {
                self.enter(Stage::Leave);
                let _ = timeout(LINGER, self.all_ended()).await;
            }
            self.enter(Stage::Drain);
            self.all_ended().await;
        };
        if timeout(self.options.drain_timeout, ended).await.is_err() {
            self.enter(Stage::Abort);
            self.all_ended().await;
        }
    }

    fn enter(&self, stage: Stage) {
        self.stage.set(stage);
        for (_, task) in self.live.borrow().iter() {
            task.as_ref().map(Waker::wake_by_ref);
        }
    }

    async fn all_ended(&self) {
        while !self.live.borrow().is_empty() {
            self.ended.notified().await;
        }
    }
}

impl<H, F> Server<H>
where
    H: Fn(Request<Body>, Peer) -> F + 'static,
    F: Future<Output = Response<Body>> + 'static,
{
    /// Serves a connection in a task of its own.
    fn spawn(self: &Rc<Self>, arrival: Arrival, peer: Peer, place: Option<Place>) {
        let key = self.live.borrow_mut().insert(None);
        let live = Live { server: Rc::clone(self), key, _place: place };
        spawn_local(async move { live.client(arrival, peer).await });
    }
}

/// A connection's place in its server. Dropping it gives the place up.
pub(crate) struct Live<H> {
    server: Rc<Server<H>>,
    key: usize,
    _place: Option<Place>,
}

impl<H> Live<H> {
    pub(crate) fn options(&self) -> &ServeOptions {
        &self.server.options
    }

    /// What to do now; the task is woken when that changes.
    pub(crate) fn stage(&self, cx: &Context<'_>) -> Stage {
        if let Some(task) = self.server.live.borrow_mut().get_mut(self.key) {
            match task {
                Some(task) => task.clone_from(cx.waker()),
                None => *task = Some(cx.waker().clone()),
            }
        }
        self.server.stage.get()
    }

    /// Whether more requests are wanted.
    pub(crate) fn is_serving(&self) -> bool {
        self.server.stage.get() == Stage::Serve
    }

    /// Returns the stage as soon as it is `wanted` or later.
    pub(crate) async fn reached(&self, wanted: Stage) -> Stage {
        poll_fn(|cx| match self.stage(cx) {
            stage if stage >= wanted => Poll::Ready(stage),
            _ => Poll::Pending,
        })
        .await
    }

    /// What the handler makes of a request.
    pub(crate) fn call<F>(&self, request: Request<Body>, peer: Peer) -> F
    where
        H: Fn(Request<Body>, Peer) -> F,
    {
        (self.server.handler)(request, peer)
    }
}

impl<H, F> Live<H>
where
    H: Fn(Request<Body>, Peer) -> F + 'static,
    F: Future<Output = Response<Body>> + 'static,
{
    /// Serves one client, whatever it speaks.
    async fn client(&self, arrival: Arrival, peer: Peer) {
        let stream = match arrival {
            Arrival::Plain(stream) => Some(stream),
            #[cfg(feature = "tls")]
            shaking => Box::pin(self.greet(shaking)).await,
        };
        let Some(stream) = stream else { return };
        if let Some(io) = h1::serve_connection(h1::Io::new(stream), peer, self).await {
            let server = Rc::clone(&self.server);
            let handler = move |request| (server.handler)(request, peer);
            Box::pin(http2::serve(io, self, handler)).await;
        }
    }
}

#[cfg(feature = "tls")]
impl<H> Live<H> {
    async fn greet(&self, arrival: Arrival) -> Option<crate::stream::Stream> {
        tokio::select! {
            stream = arrival.greet(self.options().header_timeout) => stream,
            _ = self.reached(Stage::Abort) => None,
        }
    }
}

impl<H> Drop for Live<H> {
    fn drop(&mut self) {
        self.server.live.borrow_mut().try_remove(self.key);
        self.server.ended.notify_one();
    }
}

/// An answer of this hop to a request that is not taken. The connection is closed after it, as
/// what follows on it cannot be trusted.
pub(crate) fn refusal(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Response<Body> {
    let mut response = Response::new(Body::from(text.into().into_owned()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert("x-faas-error", HeaderValue::from_static("bad_request"));
    response
}
