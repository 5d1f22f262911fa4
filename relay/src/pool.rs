//! Upstream connections of one thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error as _;
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use http::Response;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::body::Body;
use crate::call::{self, Call};
use crate::error::{BodyError, SendError};
use crate::grpc;
use crate::http2::Upstreams;
use crate::target::Target;

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
    http2: Upstreams,
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

impl Pool {
    /// An empty pool.
    pub fn new(options: PoolOptions) -> Self {
        let http2 = Upstreams::new(options);
        Self(Rc::new(Inner { options, targets: RefCell::default(), http2 }))
    }

    /// Sends the call and returns the answer as soon as its head is there; bodies stream both
    /// ways. Dropping the future, or the answer's body, closes the upstream connection.
    ///
    /// # Errors
    /// See [`SendError`]; it tells whether the call may be sent elsewhere.
    pub async fn send(
        &self,
        target: &Target,
        call: &mut Call,
    ) -> Result<Response<Body>, SendError> {
        let Some(deadline) = call.deadline else {
            return self.exchange(target, call).await;
        };
        match timeout_at(deadline, self.exchange(target, call)).await {
            Ok(answer) => Ok(answer?.map(|body| body.with_deadline(deadline))),
            Err(_) => Err(SendError::Deadline),
        }
    }

    async fn exchange(
        &self,
        target: &Target,
        call: &mut Call,
    ) -> Result<Response<Body>, SendError> {
        if grpc::is_call(call.headers()) {
            return self.0.http2.exchange(target, call).await;
        }
        let slot = self.slot(target);
        let mut broken = None;
        let mut reused = slot.checkout(self.0.options.idle_timeout);
        loop {
            let fresh = reused.is_none();
            let mut sender = match reused.take() {
                Some(sender) => sender,
                // Once something may have been sent, the call must not go elsewhere: it may be
                // what brought the upstream down.
                None => match self.connect(target).await {
                    Ok(sender) => sender,
                    Err(source) => {
                        return Err(broken.map_or(SendError::NotSent(source), cause));
                    }
                },
            };
            let Some(request) = call.request() else {
                return Err(broken.map_or(SendError::RequestBody(BodyError::Superseded), cause));
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let lease = Lease { sender, slot };
                    let answer = call::answer(response, &mut call.upgrade)?;
                    return Ok(answer.map(|body| body.with_lease(lease)));
                }
                // The peer of a used connection may have been closing it this instant: then
                // nothing is answered, and the call goes out once more, on a new one.
                Err(failed) => {
                    let error = failed.into_error();
                    let repeat = !fresh && !error.is_parse() && !error.is_user();
                    if !repeat || !call.can_repeat() {
                        return Err(cause(error));
                    }
                    broken = Some(error);
                }
            }
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
    fn checkout(&self, max_idle: Duration) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.borrow_mut();
        // One whose request is still being sent although its answer is complete is not free yet,
        // and stays.
        idle.retain(|idle| idle.is_fresh(max_idle));
        let at = idle.iter().rposition(|idle| idle.sender.is_ready())?;
        Some(idle.remove(at).sender)
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
