//! The life of a call: name, replica, send, count.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use http::header::{HeaderName, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response, StatusCode};
use provider::{Name, Slot};
use relay::{Body, Call, Forwarded, Peer, Pool, Rules, SendError, Target};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::directory::{Directory, Entry};
use crate::error::{Error, Result};
use crate::record::Record;
use crate::scaler::Scaler;

/// What every call's path starts with.
pub const PREFIX: &str = "/function/";
/// Tells calls apart (contract 1.7).
const CALL_ID: HeaderName = HeaderName::from_static("x-call-id");
/// When the gateway took the call, in nanoseconds since 1970 (contract 1.7).
const START_TIME: HeaderName = HeaderName::from_static("x-start-time");
/// Who served the call (contract 1.7).
const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
/// Milliseconds that are left for the call when it leaves the gateway.
const DEADLINE: HeaderName = HeaderName::from_static("x-faas-deadline");

/// This gateway's name on the wire.
const PRODUCT: &str = concat!("flint/", env!("CARGO_PKG_VERSION"));
/// Most calls of one function that wait for a replica to be ready.
const MAX_WAITING: usize = 1000;
/// Replicas that are tried for one call before it fails.
const MAX_TRIES: usize = 3;
/// How long a call waits for news of a function whose every replica refused it: a replica that
/// died is known to have died that soon.
const NEWS: Duration = Duration::from_secs(2);
/// Restarts after which a function that is not ready is taken to be crashing.
const CRASHING: u32 = 3;

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
}

/// Relays calls on one thread.
pub struct Caller {
    shared: Arc<Shared>,
    pool: Pool,
    dice: Cell<usize>,
}

/// A call to a function that is there.
struct Arrival {
    entry: Arc<Entry>,
    peer: Peer,
    start: Instant,
}

/// A replica that was picked for a call.
struct Picked {
    replica: Arc<str>,
    target: Target,
    slot: Slot,
}

impl Caller {
    /// With connections of its own.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, pool: Pool::new(relay::PoolOptions::default()), dice: Cell::new(0) }
    }

    /// Answers a call; errors are answers too.
    pub async fn call(&self, mut request: Request<Body>, peer: Peer) -> Response<Body> {
        let start = Instant::now();
        let stamps = Stamps::new(request.headers());
        stamps.apply(request.headers_mut());
        let name = name_of(request.uri().path()).to_owned();
        let mut response = match self.shared.directory.get(&name) {
            Some(entry) => self.known(request, Arrival { entry, peer, start }).await,
            None => failed(&self.unknown(&name)),
        };
        stamps.answer(response.headers_mut());
        response
    }

    fn unknown(&self, name: &str) -> Error {
        match Name::parse(name) {
            Err(error) => error.into(),
            Ok(_) if !self.shared.directory.is_synced() => Error::Starting,
            Ok(name) => Error::NoFunction(name.to_string()),
        }
    }

    async fn known(&self, request: Request<Body>, arrival: Arrival) -> Response<Body> {
        let log = self.shared.access_log;
        let record = Rc::new(Record::new(arrival.entry.live.clone(), &request, log));
        let response = match self.relay(request, arrival, &record).await {
            Ok(response) => response,
            Err(error) => {
                tracing::debug!(%error, "call failed");
                failed(&error)
            }
        };
        record.answered(response.status());
        response.map(|body| body.with_guard(record))
    }

    async fn relay(
        &self,
        request: Request<Body>,
        Arrival { entry, peer, start }: Arrival,
        record: &Record,
    ) -> Result<Response<Body>> {
        let deadline = start + entry.timeout;
        let rules = Rules {
            path: Some(upstream_path(&request)?),
            forwarded: Some(Forwarded { peer, scheme: "http" }),
            deadline: Some(deadline),
            ..Rules::default()
        };
        let mut call = Call::forward(request, &rules);
        let mut tried = Vec::new();
        loop {
            let picked = self.replica(&entry, deadline, &mut tried).await?;
            record.sent_to(&picked.replica);
            set_deadline(call.headers_mut(), deadline);
            match self.pool.send(&picked.target, call).await {
                Ok(response) => return Ok(response.map(|body| body.with_guard(picked.slot))),
                Err(SendError::NotSent { call: unsent, source }) if tried.len() + 1 < MAX_TRIES => {
                    tracing::debug!(replica = %picked.replica, error = %source, "not taken");
                    tried.push(picked.replica);
                    call = *unsent;
                }
                Err(error) => return Err(refused(&entry, &picked.replica, error)),
            }
        }
    }

    /// A replica with a slot: at once when one is ready, else when one gets ready.
    async fn replica(
        &self,
        entry: &Entry,
        deadline: Instant,
        tried: &mut Vec<Arc<str>>,
    ) -> Result<Picked> {
        if let Some(picked) = self.pick(entry, tried) {
            return Ok(picked);
        }
        let Some(_waiting) = Waiting::enter(entry) else {
            return Err(Error::Crowded { name: entry.label.to_string(), limit: MAX_WAITING });
        };
        let mut changed = entry.live.changed.subscribe();
        loop {
            let gone = || Error::NoFunction(entry.label.to_string());
            let now = self.shared.directory.get(&entry.label).ok_or_else(gone)?;
            if let Some(picked) = self.pick(&now, tried) {
                return Ok(picked);
            }
            self.wait(&now, &mut changed, (deadline, tried)).await?;
        }
    }

    /// Waits for the next news of a function with no replica to call.
    async fn wait(
        &self,
        now: &Entry,
        changed: &mut tokio::sync::watch::Receiver<()>,
        (deadline, tried): (Instant, &mut Vec<Arc<str>>),
    ) -> Result<()> {
        if is_crashing(now) {
            return Err(not_ready(now));
        }
        if !tried.is_empty() {
            let news = timeout(NEWS, changed.changed()).await;
            tried.clear();
            return news.map(|_| ()).map_err(|_| not_ready(now));
        }
        let wake = async {
            match now.is_asleep() && self.shared.scale_from_zero {
                true => self.shared.scaler.wake(now).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = changed.changed() => Ok(()),
            woken = wake => match woken {
                // The replica's own event follows.
                Ok(()) => match tokio::time::timeout_at(deadline, changed.changed()).await {
                    Ok(_) => Ok(()),
                    Err(_) => Err(not_ready(now)),
                },
                Err(error) => Err(Error::NotReady {
                    name: now.label.to_string(),
                    reason: error.to_string(),
                }),
            },
            () = tokio::time::sleep_until(deadline) => Err(not_ready(now)),
        }
    }

    fn pick(&self, entry: &Entry, tried: &[Arc<str>]) -> Option<Picked> {
        let (endpoint, slot) = entry.pick(self.roll(), tried)?;
        Some(Picked { replica: endpoint.replica.clone(), target: endpoint.target.clone(), slot })
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

/// One of the calls that wait for a function to be ready.
struct Waiting<'a>(&'a Entry);

impl<'a> Waiting<'a> {
    fn enter(entry: &'a Entry) -> Option<Self> {
        let before = entry.live.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Self(entry);
        (before < MAX_WAITING).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.live.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the gateway writes on a call and on its answer.
struct Stamps {
    call_id: HeaderValue,
    start_time: HeaderValue,
}

impl Stamps {
    fn new(headers: &HeaderMap) -> Self {
        let call_id = headers.get(CALL_ID).filter(|id| !id.is_empty()).cloned();
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanos = since_1970.map_or(0, |since| since.as_nanos() as u64);
        Self { call_id: call_id.unwrap_or_else(new_id), start_time: nanos.into() }
    }

    fn apply(&self, headers: &mut HeaderMap) {
        headers.insert(CALL_ID, self.call_id.clone());
        headers.insert(START_TIME, self.start_time.clone());
        let own = HeaderValue::from_static(PRODUCT);
        headers.entry(USER_AGENT).or_insert(own);
    }

    /// What the function itself has set stays.
    fn answer(self, headers: &mut HeaderMap) {
        headers.entry(CALL_ID).or_insert(self.call_id);
        headers.entry(START_TIME).or_insert(self.start_time);
        headers.entry(SERVED_BY).or_insert(HeaderValue::from_static(PRODUCT));
    }
}

fn new_id() -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    let text = Uuid::new_v4().hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("none"))
}

/// The function's name in a path that starts with [`PREFIX`], as it stands there.
pub fn name_of(path: &str) -> &str {
    let rest = path.strip_prefix(PREFIX).unwrap_or_default();
    rest.split('/').next().unwrap_or_default()
}

/// What follows the name, byte for byte, with its query; `/` when nothing does.
pub fn upstream_path(request: &Request<Body>) -> Result<PathAndQuery> {
    let whole = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let rest = whole.strip_prefix(PREFIX).unwrap_or_default();
    let rest = rest.find(['/', '?']).map_or("", |at| &rest[at..]);
    let bad = |e: http::uri::InvalidUri| Error::BadRequest(e.to_string());
    match rest.starts_with('/') {
        true => rest.parse().map_err(bad),
        false => format!("/{rest}").parse().map_err(bad),
    }
}

fn set_deadline(headers: &mut HeaderMap, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    headers.insert(DEADLINE, HeaderValue::from(left.as_millis() as u64));
}

fn is_crashing(entry: &Entry) -> bool {
    let replicas = &entry.status.replicas;
    !replicas.is_empty() && replicas.iter().all(|replica| replica.restarts >= CRASHING)
}

fn not_ready(entry: &Entry) -> Error {
    let reason = match entry.status.reason.as_str() {
        "" => "no replica took the call in time",
        reason => reason,
    };
    Error::NotReady { name: entry.label.to_string(), reason: reason.to_owned() }
}

fn refused(entry: &Entry, replica: &str, error: SendError) -> Error {
    let name = entry.label.to_string();
    match error {
        SendError::Deadline => Error::Deadline { name, limit_ms: entry.timeout.as_millis() },
        SendError::RequestBody(error) => Error::BodyBroken(error.to_string()),
        error => Error::Replica { name, replica: replica.to_owned(), reason: error.to_string() },
    }
}

fn failed(error: &Error) -> Response<Body> {
    error.response().map(Body::from)
}

/// The status that a client sees when it went away before the answer began.
pub const CLIENT_GONE: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_stands_between_prefix_and_slash() {
        for (path, name) in [
            ("/function/echo", "echo"),
            ("/function/echo.dev/a/b", "echo.dev"),
            ("/function/", ""),
            ("/function/../x", ".."),
        ] {
            assert_eq!(name_of(path), name, "{path}");
        }
    }
}
