//! Upstream connections of one thread.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::Poll;
use std::time::Duration;

use http::Response;
use http::header::HOST;
use rustc_hash::FxHashMap;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use crate::body::Body;
use crate::call::Call;
use crate::clock::Alarm;
use crate::error::{BodyError, SendError};
use crate::h1::{Sent, Upstream};
use crate::http2::Upstreams;
use crate::stream::Stream;
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
    targets: RefCell<FxHashMap<Target, Rc<Slot>>>,
    http2: Upstreams,
}

/// The unused connections to one target.
#[derive(Debug)]
pub(crate) struct Slot {
    idle: RefCell<Vec<Idle>>,
    pool: Weak<Inner>,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Upstream>,
    since: Instant,
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
        // Clients that speak HTTP/1.0 may leave it out, but we speak 1.1 (RFC 9112 3.2).
        if !call.headers().contains_key(HOST) {
            call.headers_mut().insert(HOST, target.host());
        }
        let Some(deadline) = call.deadline else {
            return self.exchange(target, call).await;
        };
        let mut exchange = pin!(self.exchange(target, call));
        let mut alarm = Alarm::default();
        let answer = poll_fn(|cx| match exchange.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(answer),
            Poll::Pending => alarm.poll(deadline, cx).map(|()| Err(SendError::Deadline)),
        });
        Ok(answer.await?.map(|body| body.with_deadline(deadline)))
    }

    async fn exchange(
        &self,
        target: &Target,
        call: &mut Call,
    ) -> Result<Response<Body>, SendError> {
        if call.is_grpc {
            return self.0.http2.exchange(target, call).await;
        }
        let slot = self.slot(target);
        let mut broken = None;
        if let Some(used) = slot.checkout(self.0.options.idle_timeout) {
            match used.send(call, body_of(call)?, Rc::clone(&slot)).await {
                Sent::Answer(response) => return Ok(response),
                Sent::Failed(error) => return Err(error),
                Sent::Unanswered { source, .. } if !call.can_repeat() => {
                    return Err(SendError::Broken(source));
                }
                // Its peer was closing it that instant: the call goes out once more.
                Sent::Unanswered { source, written } => broken = written.then_some(source),
            }
        }
        let connection = match self.connect(target).await {
            Ok(stream) => Upstream::new(stream),
            // Once something was sent, the call must not go elsewhere: it may be what brought the
            // upstream down.
            Err(source) => {
                return Err(broken.map_or(SendError::NotSent(source), SendError::Broken));
            }
        };
        match connection.send(call, body_of(call)?, slot).await {
            Sent::Answer(response) => Ok(response),
            Sent::Failed(error) => Err(error),
            Sent::Unanswered { source, written } if written || broken.is_some() => {
                Err(SendError::Broken(source))
            }
            Sent::Unanswered { source, .. } => {
                Err(SendError::NotSent(io::Error::new(io::ErrorKind::ConnectionReset, source)))
            }
        }
    }

    async fn connect(&self, target: &Target) -> io::Result<Stream> {
        timeout(self.0.options.connect_timeout, target.connect())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
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

/// The call's body from its start.
fn body_of(call: &Call) -> Result<Body, SendError> {
    call.body().ok_or(SendError::RequestBody(BodyError::Superseded))
}

/// Closes connections that lay unused for too long; ends when there are none.
async fn sweep(pool: Weak<Inner>, every: Duration) {
    loop {
        sleep(every).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut targets = pool.targets.borrow_mut();
        targets.retain(|_, slot| {
            slot.idle.borrow_mut().retain(|idle| idle.is_good(every));
            !slot.idle.borrow().is_empty() || Rc::strong_count(slot) > 1
        });
        if targets.is_empty() {
            return;
        }
    }
}

impl Slot {
    /// The connection that was used last and is still good, if any.
    fn checkout(&self, max_idle: Duration) -> Option<Box<Upstream>> {
        loop {
            let idle = self.idle.borrow_mut().pop()?;
            if idle.is_good(max_idle) {
                return Some(idle.connection);
            }
        }
    }

    /// Keeps a connection for the next call.
    pub(crate) fn put(&self, connection: Box<Upstream>) {
        let Some(pool) = self.pool.upgrade() else { return };
        let mut idle = self.idle.borrow_mut();
        if idle.len() < pool.options.max_idle {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }
}

impl Idle {
    fn is_good(&self, max_idle: Duration) -> bool {
        self.since.elapsed() < max_idle && self.connection.is_quiet()
    }
}
