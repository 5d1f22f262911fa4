//! Finding a replica for a call: at once, or when one is free, ready, or awake.

use std::sync::Arc;
use std::time::Duration;

use provider::{Replica, Slot, State};
use relay::Target;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::Caller;
use super::tries::Tries;
use crate::balance::{Health, Look, Pick};
use crate::directory::Entry;
use crate::error::{Error, Result};
use crate::queue::Place;

/// Most calls of one function that wait for a replica to be ready.
const MAX_WAITING: usize = 1000;
/// How long a call waits for news of a function whose every replica refused it: a replica that
/// died is known to have died that soon.
const NEWS: Duration = Duration::from_secs(2);
/// Restarts after which a function that is not ready is taken to be crashing.
const CRASHING: u32 = 3;
/// A function that was ready so long ago is waited for, however often its replicas were restarted.
const RECENTLY: Duration = Duration::from_secs(60);

/// A replica that was picked for a call.
pub(super) struct Picked {
    pub(super) replica: Arc<str>,
    pub(super) target: Target,
    pub(super) health: Arc<Health>,
    pub(super) slot: Slot,
}

/// What a look at the replicas came to.
enum Found {
    Replica(Picked),
    Busy,
    None,
}

impl Caller {
    /// A replica with a slot: at once when there is one and nobody waits for it, else in turn.
    pub(super) async fn replica(
        &self,
        entry: &Arc<Entry>,
        deadline: Instant,
        tries: &mut Tries,
    ) -> Result<Picked> {
        if !tries.tried.is_empty() {
            return self.another(entry, deadline, tries).await;
        }
        if entry.live.queue.is_empty()
            && let Found::Replica(picked) = self.look(entry, tries)
        {
            return Ok(picked);
        }
        self.in_turn(entry, deadline, tries).await
    }

    /// A replica that has not refused the call; when all have, any, after some time.
    async fn another(
        &self,
        entry: &Arc<Entry>,
        deadline: Instant,
        tries: &mut Tries,
    ) -> Result<Picked> {
        let mut changed = entry.live.changed.subscribe();
        let now = self.now(entry)?;
        if let Found::Replica(picked) = self.look(&now, tries) {
            return Ok(picked);
        }
        let limit = deadline.saturating_duration_since(Instant::now());
        if !self.shared.leaving.is_serving() {
            return Err(Error::Leaving);
        }
        let news = timeout(tries.pause().unwrap_or(NEWS).min(limit), changed.changed()).await;
        if news.is_err() && tries.pause().is_none() {
            return Err(not_ready(&now));
        }
        tries.start_over();
        self.in_turn(entry, deadline, tries).await
    }

    /// Waits behind the calls that came earlier.
    async fn in_turn(
        &self,
        entry: &Arc<Entry>,
        deadline: Instant,
        tries: &Tries,
    ) -> Result<Picked> {
        let queue = &entry.live.queue;
        let limit = if self.now(entry)?.ready() > 0 { entry.max_queue } else { MAX_WAITING };
        let place = queue.enter(limit).ok_or_else(|| {
            let (name, wait) = (entry.label.to_string(), queue.retry_after());
            Error::Crowded { name, limit, wait }
        })?;
        let mut changed = entry.live.changed.subscribe();
        let Ok(_head) = timeout_at(deadline, place.head()).await else {
            return Err(too_late(&*self.now(entry)?));
        };
        loop {
            let now = self.now(entry)?;
            match self.look(&now, tries) {
                Found::Replica(picked) => {
                    place.served();
                    return Ok(picked);
                }
                Found::Busy => free_slot(&now, &place, &mut changed, deadline).await?,
                Found::None => self.ready(&now, &mut changed, deadline).await?,
            }
        }
    }

    /// The function as it is now.
    fn now(&self, entry: &Entry) -> Result<Arc<Entry>> {
        let gone = || Error::NoFunction(entry.label.to_string());
        self.shared.directory.get(&entry.label).ok_or_else(gone)
    }

    fn look(&self, entry: &Entry, tries: &Tries) -> Found {
        let look = Look { dice: self.roll(), tried: &tries.tried, now: Instant::now() };
        match entry.pick(look) {
            Pick::Taken(endpoint, slot) => Found::Replica(Picked {
                replica: endpoint.replica.clone(),
                target: endpoint.target.clone(),
                health: endpoint.health.clone(),
                slot,
            }),
            Pick::Busy => Found::Busy,
            Pick::None => Found::None,
        }
    }

    /// Waits for the next news of a function with no replica to call, and wakes it when it sleeps.
    async fn ready(
        &self,
        now: &Entry,
        changed: &mut watch::Receiver<()>,
        deadline: Instant,
    ) -> Result<()> {
        if is_hopeless(now) {
            return Err(not_ready(now));
        }
        if !self.shared.leaving.is_serving() {
            return Err(Error::Leaving);
        }
        let wake = async {
            match now.is_asleep() && self.shared.scale_from_zero {
                true => self.shared.scaler.wake(now).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = changed.changed() => Ok(()),
            () = self.shared.leaving.begun() => Err(Error::Leaving),
            woken = wake => match woken {
                // The replica's own event follows.
                Ok(()) => match timeout_at(deadline, changed.changed()).await {
                    Ok(_) => Ok(()),
                    Err(_) => Err(not_ready(now)),
                },
                Err(error) => Err(Error::NotReady {
                    name: now.label.to_string(),
                    reason: error.to_string(),
                }),
            },
            () = sleep_until(deadline) => Err(not_ready(now)),
        }
    }
}

/// Waits until a slot was freed, or anything else of the function has changed.
async fn free_slot(
    now: &Entry,
    place: &Place<'_>,
    changed: &mut watch::Receiver<()>,
    deadline: Instant,
) -> Result<()> {
    tokio::select! {
        () = place.freed() => Ok(()),
        _ = changed.changed() => Ok(()),
        () = sleep_until(deadline) => Err(too_late(now)),
    }
}

/// Whether it is known that nothing gets ready by waiting: all that is there to get ready has ended
/// again and again, or never listened. What sleeps is woken first.
fn is_hopeless(entry: &Entry) -> bool {
    let starting = || entry.status.replicas.iter().filter(|r| r.state == State::Starting);
    let fails = |r: &Replica| r.restarts >= CRASHING || !r.trouble.is_empty();
    starting().next().is_some()
        && starting().all(fails)
        && !entry.is_asleep()
        && !entry.live.was_ready_within(RECENTLY)
}

fn not_ready(entry: &Entry) -> Error {
    let reason = match entry.status.reason.as_str() {
        "" => "no replica took the call in time",
        reason => reason,
    };
    Error::NotReady { name: entry.label.to_string(), reason: reason.to_owned() }
}

/// Why a call's time was over before its turn came.
fn too_late(entry: &Entry) -> Error {
    let (name, limit_ms) = (entry.label.to_string(), entry.timeout.as_millis());
    match entry.ready() {
        0 => not_ready(entry),
        replicas => Error::Held { name, replicas, limit_ms },
    }
}
