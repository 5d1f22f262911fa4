//! Upstream connections of one thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error as _;
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use http::header::EXPECT;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::body::Body;
use crate::call::{self, Call};
use crate::error::{BodyError, SendError};
use crate::target::Target;

/// Largest request body that is kept so that it can be sent again, in bytes.
const REPLAY_BYTES: u64 = 64 << 10;

/// How a pool treats its connections.
#[derive(Clone, Copy, Debug)]
pub struct PoolOptions {
    /// How long a connection may lie unused. Keep it below the peer's keep-alive time.
    pub idle_timeout: Duration,
    /// How many unused connections are kept for one target.
    pub max_idle: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(4),
            max_idle: 512,
            connect_timeout: Duration::from_secs(5),
        }
    }
}

/// Connections to upstreams, for one thread. Cheap to clone; clones share the connections.
///
/// A connection goes back to the pool at the end of the response's body, and the one that was
/// used last is used first, so that few are kept warm and the rest expire.
#[derive(Clone, Debug)]
pub struct Pool(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    options: PoolOptions,
    targets: RefCell<HashMap<Target, Rc<Slot>>>,
}

/// The unused connections to one target.
#[derive(Debug)]
struct Slot {
    idle: RefCell<Vec<Idle>>,
    pool: Weak<Inner>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Body>,
    since: Instant,
}

/// A connection in use, and where it goes afterwards.
#[derive(Debug)]
pub(crate) struct Lease {
    sender: SendRequest<Body>,
    slot: Rc<Slot>,
}

/// A connection for the next request.
struct Checkout {
    sender: SendRequest<Body>,
    /// Whether it carried a request before, so that its peer may be closing it this instant.
    reused: bool,
}

impl Pool {
    /// An empty pool.
    pub fn new(options: PoolOptions) -> Self {
        Self(Rc::new(Inner { options, targets: RefCell::default() }))
    }

    /// Sends the call and returns the answer as soon as its head is there; bodies stream both
    /// ways. Dropping the future, or the answer's body, closes the upstream connection.
    ///
    /// # Errors
    /// See [`SendError`]; it tells whether the call may be sent elsewhere.
    pub async fn send(&self, target: &Target, call: Call) -> Result<Response<Body>, SendError> {
        let Some(deadline) = call.deadline else {
            return self.exchange(target, call).await;
        };
        match timeout_at(deadline, self.exchange(target, call)).await {
            Ok(answer) => Ok(answer?.map(|body| body.with_deadline(deadline))),
            Err(_) => Err(SendError::Deadline),
        }
    }

    async fn exchange(&self, target: &Target, call: Call) -> Result<Response<Body>, SendError> {
        let Call { mut request, upgrade, deadline } = call;
        let slot = self.slot(target);
        let mut reused = slot.checkout(self.0.options.idle_timeout);
        let mut broken = None;
        loop {
            let checkout = match reused.take() {
                Some(checkout) => checkout,
                None => match self.connect(target).await {
                    Ok(sender) => Checkout { sender, reused: false },
                    Err(source) => {
                        // Once something may have been sent, the call must not go elsewhere: it
                        // may be what brought the upstream down.
                        let call = Box::new(Call { request, upgrade, deadline });
                        return Err(broken.map_or(SendError::NotSent { call, source }, cause));
                    }
                },
            };
            match self.attempt(checkout, request, &slot).await {
                Attempt::Answer(response, lease) => {
                    let answer = call::answer(response, upgrade)?;
                    return Ok(answer.map(|body| body.with_lease(lease)));
                }
                // Only a connection from the pool leaves the request over, so this ends.
                Attempt::Again(unsent, error) => (request, broken) = (*unsent, error),
                Attempt::Failed(error) => return Err(error),
            }
        }
    }

    async fn attempt(
        &self,
        mut checkout: Checkout,
        mut request: Request<Body>,
        slot: &Rc<Slot>,
    ) -> Attempt {
        let spare = match keep_copy(&mut request, checkout.reused).await {
            Ok(spare) => spare,
            Err(error) => return Attempt::Failed(SendError::RequestBody(error)),
        };
        match checkout.sender.try_send_request(request).await {
            Ok(response) => {
                let lease = Lease { sender: checkout.sender, slot: Rc::clone(slot) };
                Attempt::Answer(response, lease)
            }
            Err(mut failed) => match (failed.take_message(), failed.into_error()) {
                (Some(unsent), _) if checkout.reused => Attempt::Again(Box::new(unsent), None),
                (_, error) => match spare.filter(|_| !error.is_parse() && !error.is_user()) {
                    Some(copy) => Attempt::Again(Box::new(copy), Some(error)),
                    None => Attempt::Failed(cause(error)),
                },
            },
        }
    }

    async fn connect(&self, target: &Target) -> io::Result<SendRequest<Body>> {
        let stream = timeout(self.0.options.connect_timeout, target.connect())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // Whoever waits for an answer is told of errors; between answers nobody minds.
        spawn_local(async move {
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }

    fn slot(&self, target: &Target) -> Rc<Slot> {
        if let Some(slot) = self.0.targets.borrow().get(target) {
            return Rc::clone(slot);
        }
        let slot = Rc::new(Slot { idle: RefCell::default(), pool: Rc::downgrade(&self.0) });
        let mut targets = self.0.targets.borrow_mut();
        if targets.is_empty() {
            spawn_local(sweep(Rc::downgrade(&self.0), self.0.options.idle_timeout));
        }
        targets.insert(target.clone(), Rc::clone(&slot));
        slot
    }
}

/// What became of one try.
enum Attempt {
    Answer(Response<Incoming>, Lease),
    /// To be sent again on a new connection, and what happened if it may have been sent.
    Again(Box<Request<Body>>, Option<hyper::Error>),
    Failed(SendError),
}

/// A second copy of a request that goes out on a used connection, whose peer may be closing it
/// this instant: then nothing is answered and it is sent again on a new one. `None` when its body
/// is long, of unknown length, or held back for `Expect: 100-continue`.
async fn keep_copy(
    request: &mut Request<Body>,
    reused: bool,
) -> Result<Option<Request<Body>>, BodyError> {
    let length = request.body().size_hint().exact();
    let small = length.is_some_and(|length| length <= REPLAY_BYTES);
    if !reused || !small || request.headers().contains_key(EXPECT) {
        return Ok(None);
    }
    let body = std::mem::take(request.body_mut()).collect().await?.to_bytes();
    *request.body_mut() = Body::full(body.clone());
    let mut copy = Request::new(Body::full(body));
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    Ok(Some(copy))
}

/// Tells a request body that failed from a connection that broke.
fn cause(error: hyper::Error) -> SendError {
    let body = error.source().and_then(|source| source.downcast_ref::<BodyError>());
    match body {
        Some(BodyError::TooLarge(max)) => SendError::RequestBody(BodyError::TooLarge(*max)),
        Some(_) => SendError::RequestBody(BodyError::Broken(error)),
        None => SendError::Broken(error),
    }
}

/// Closes connections that lay unused for too long; ends when there are none.
async fn sweep(pool: Weak<Inner>, every: Duration) {
    loop {
        sleep(every).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut targets = pool.targets.borrow_mut();
        targets.retain(|_, slot| {
            slot.idle.borrow_mut().retain(|idle| idle.is_fresh(every));
            !slot.idle.borrow().is_empty() || Rc::strong_count(slot) > 1
        });
        if targets.is_empty() {
            return;
        }
    }
}

impl Slot {
    /// The connection that was used last and is free, if any.
    fn checkout(&self, max_idle: Duration) -> Option<Checkout> {
        let mut idle = self.idle.borrow_mut();
        // One whose request is still being sent although its answer is complete is not free yet,
        // and stays.
        idle.retain(|idle| idle.is_fresh(max_idle));
        let at = idle.iter().rposition(|idle| idle.sender.is_ready())?;
        let Idle { sender, .. } = idle.remove(at);
        Some(Checkout { sender, reused: true })
    }
}

impl Idle {
    fn is_fresh(&self, max_idle: Duration) -> bool {
        !self.sender.is_closed() && self.since.elapsed() < max_idle
    }
}

impl Lease {
    /// Puts the connection back for the next request.
    pub(crate) fn give_back(self) {
        let Some(pool) = self.slot.pool.upgrade() else { return };
        let mut idle = self.slot.idle.borrow_mut();
        if !self.sender.is_closed() && idle.len() < pool.options.max_idle {
            idle.push(Idle { sender: self.sender, since: Instant::now() });
        }
    }
}
