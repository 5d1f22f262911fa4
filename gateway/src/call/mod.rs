//! The life of a call: name, replica, send, count.

mod admit;
mod find;
mod grpc;
mod stamps;
mod tries;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use provider::Name;
use relay::{Body, Call, Forwarded, Peer, Pool, Rules, SendError};
use tokio::time::Instant;
use uuid::Uuid;

use self::find::Picked;
pub use self::grpc::route;
use self::stamps::{Stamps, set_deadline};
pub use self::stamps::{name_of, upstream_path};
use self::tries::{Answered, Tries};
use crate::directory::{Directory, Entry};
use crate::error::{Error, Result};
use crate::handover::Leaving;
use crate::limits::Clients;
use crate::record::Record;
use crate::scaling::Scaler;

/// What every call's path starts with.
pub const PREFIX: &str = "/function/";
/// How much longer the gateway waits than a call may take: the replica's watchdog, which ends what it
/// runs, is to be the first to say so. The gateway is for those that do not.
const LAST_WORD: Duration = Duration::from_millis(250);
/// How long a request of the API waits for the next gateway to serve.
const SUCCESSION: Duration = Duration::from_secs(60);

/// What the threads that relay calls share.
pub struct Shared {
    /// What runs now.
    pub directory: Arc<Directory>,
    /// Who wakes the sleeping.
    pub scaler: Arc<Scaler>,
    /// Whether a call wakes a sleeping function.
    pub scale_from_zero: bool,
    /// Whether each call is logged.
    pub access_log: bool,
    /// What each client may call, when there is a limit.
    pub clients: Option<Clients>,
    /// Whether another gateway takes the place of this one.
    pub leaving: Leaving,
}

/// Relays calls on one thread.
pub struct Caller {
    shared: Arc<Shared>,
    pool: Pool,
    dice: Cell<usize>,
}

/// A call to a function that is there.
pub(crate) struct Arrival {
    pub(crate) entry: Arc<Entry>,
    peer: Peer,
    pub(crate) start: Instant,
}

/// A call as its replica is to get it.
struct Prepared {
    call: Call,
    /// When it must be over.
    deadline: Instant,
    /// How long its lines are without that of the deadline.
    lines: usize,
}

impl Caller {
    /// With connections of its own.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, pool: Pool::new(relay::PoolOptions::default()), dice: Cell::new(0) }
    }

    /// Whether another gateway takes the place of this one.
    pub fn leaving(&self) -> &Leaving {
        &self.shared.leaving
    }

    /// Answers a call; errors are answers too.
    pub async fn call(&self, request: Request<Body>, peer: Peer) -> Response<Body> {
        let start = Instant::now();
        let (is_grpc, version) = (relay::grpc::is_call(request.headers()), request.version());
        let stamps = Stamps::new(request.headers());
        let name = name_of(request.uri().path());
        let entry = self.shared.directory.get(name);
        let admitted = self.admit(entry.as_deref(), request.headers(), (peer, start));
        let mut response = match (admitted, entry) {
            (Err(error), _) => failed(&error),
            (Ok(()), Some(entry)) => {
                let arrival = Arrival { entry, peer, start };
                let logged = self.shared.access_log.then_some(&stamps.call_id);
                let record = Record::new(&arrival, &request, logged);
                match prepare(request, &arrival, &stamps) {
                    Ok(mut prepared) => self.known(&mut prepared, &arrival.entry, record).await,
                    Err(error) => gave_up(&error, record),
                }
            }
            (Ok(()), None) => failed(&self.unknown(name)),
        };
        if is_grpc {
            response = relay::grpc::answer(response, version).await;
        }
        stamps.answer(&mut response);
        response
    }

    fn unknown(&self, name: &str) -> Error {
        match Name::parse(name) {
            Err(error) => error.into(),
            Ok(_) if !self.shared.directory.is_synced() => Error::Starting,
            Ok(name) => Error::NoFunction(name.to_string()),
        }
    }

    async fn known(
        &self,
        prepared: &mut Prepared,
        entry: &Arc<Entry>,
        record: Record,
    ) -> Response<Body> {
        match self.relay(prepared, entry, &record).await {
            Ok(response) => answered(response, record),
            Err(error) => gave_up(&error, record),
        }
    }

    /// Sends the call to one replica after the other, as long as that is safe.
    async fn relay(
        &self,
        prepared: &mut Prepared,
        entry: &Arc<Entry>,
        record: &Record,
    ) -> Result<Response<Body>> {
        let Prepared { call, deadline, lines } = prepared;
        let deadline = *deadline;
        let mut tries = Tries::new(call.method());
        loop {
            let picked = match self.replica(entry, deadline, &mut tries).await {
                Err(Error::Leaving) => return self.pass_on(entry, call, deadline).await,
                picked => picked?,
            };
            let Picked { replica, target, health, slot } = picked;
            record.sent_to(&replica, slot);
            set_deadline(call, deadline.saturating_duration_since(Instant::now()), *lines);
            match self.pool.send(&target, call).await {
                Ok(answer) => match tries.answered(&replica, &answer, call) {
                    Answered::PassOn => {
                        health.worked();
                        return Ok(answer);
                    }
                    Answered::Again => (),
                    Answered::Refused => {
                        return Err(Error::NotTaken { name: entry.label.to_string() });
                    }
                },
                Err(error) => {
                    if matches!(error, SendError::NotSent(_)) {
                        health.failed(Instant::now());
                    }
                    if !tries.failed(&replica, &error, call) {
                        return Err(refused(entry, &replica, error));
                    }
                    tracing::debug!(%replica, %error, "sent to another replica");
                }
            }
            record.is_sent_again();
        }
    }

    /// Lets the next gateway answer a call that needs more than this one, which leaves, can do.
    async fn pass_on(
        &self,
        entry: &Entry,
        call: &mut Call,
        deadline: Instant,
    ) -> Result<Response<Body>> {
        let Some(successor) = self.shared.leaving.successor(deadline).await else {
            return Err(Error::Leaving);
        };
        let path = format!("{PREFIX}{}{}", entry.label, call.path());
        call.set_path(path.parse().map_err(|_| Error::Leaving)?);
        let answer = self.pool.send(&successor, call).await;
        answer.map_err(|error| refused(entry, "the next gateway", error))
    }

    /// A request of the API that came too late for this gateway, answered by the next one.
    pub async fn pass_on_system(&self, request: Request<Body>, peer: Peer) -> Response<Body> {
        let deadline = Instant::now() + SUCCESSION;
        let Some(successor) = self.shared.leaving.successor(deadline).await else {
            return failed(&Error::Leaving);
        };
        let forwarded = Some(Forwarded { peer, scheme: peer.scheme() });
        let mut call = Call::forward(request, &Rules { forwarded, ..Rules::default() });
        let answer = self.pool.send(&successor, &mut call).await;
        answer.unwrap_or_else(|_| failed(&Error::Leaving))
    }

    /// A number that is random enough to spread load: xorshift, seeded once.
    fn roll(&self) -> usize {
        let mut dice = match self.dice.get() {
            0 => Uuid::new_v4().as_u128() as usize | 1,
            dice => dice,
        };
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        self.dice.set(dice);
        dice >> 1
    }
}

fn refused(entry: &Entry, replica: &str, error: SendError) -> Error {
    let name = entry.label.to_string();
    match error {
        SendError::Deadline => Error::Deadline { name, limit_ms: entry.timeout.as_millis() },
        SendError::RequestBody(error) => Error::BodyBroken(error.to_string()),
        error => Error::Replica { name, replica: replica.to_owned(), reason: error.to_string() },
    }
}

fn prepare(request: Request<Body>, arrival: &Arrival, stamps: &Stamps) -> Result<Prepared> {
    let Arrival { entry, peer, start } = arrival;
    let deadline = *start + grpc::limit(request.headers(), entry.timeout);
    let rules = Rules {
        path: Some(upstream_path(&request)?),
        forwarded: Some(Forwarded { peer: *peer, scheme: peer.scheme() }),
        deadline: Some(deadline + LAST_WORD),
        ..Rules::default()
    };
    let mut call = Call::forward(request, &rules);
    stamps.apply(&mut call);
    let lines = call.lines_mut().len();
    Ok(Prepared { call, deadline, lines })
}

fn gave_up(error: &Error, record: Record) -> Response<Body> {
    tracing::debug!(%error, "call failed");
    record.gave_up();
    answered(failed(error), record)
}

fn answered(response: Response<Body>, record: Record) -> Response<Body> {
    record.answered(response.status());
    response.map(|body| body.with_guard(record))
}

fn failed(error: &Error) -> Response<Body> {
    error.response().map(Body::from)
}

/// The status that a client sees when it went away before the answer began.
pub const CLIENT_GONE: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};
