//! The only caller of [`Provider::scale`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use provider::{Error, Function, Measure, Name, Provider, Result, Scale, Target};
use tokio::runtime::Handle;
use tokio::sync::{OwnedRwLockReadGuard, watch};
use tokio::time::{sleep, timeout};

use super::journal::{Cause, Decision};
use super::room::{Bounds, Places, Room, Start};
use crate::directory::{Directory, Entry};
use crate::handover::Leaving;
use crate::peers::Lead;

/// Longest that a wake which the provider has done may take to be in the directory.
const SEEN: Duration = Duration::from_secs(5);
/// Longest that a function which gets ready slowly keeps its permit from others.
const STARTING: Duration = Duration::from_secs(5);
/// How long a wake that failed stands for those that come: whoever waits behind the call that
/// asked for it is told the same, and does not have an image pulled once more.
const FAILED: Duration = Duration::from_secs(1);

/// How a wake ended, once it has.
type Outcome = Option<Result<()>>;

/// Changes how many replicas run.
pub struct Scaler {
    provider: Arc<dyn Provider>,
    directory: Arc<Directory>,
    runtime: Handle,
    leaving: Leaving,
    lead: Lead,
    room: Room,
    waking: Mutex<HashMap<Name, watch::Receiver<Outcome>>>,
}

impl Scaler {
    /// Calls the provider on `runtime`.
    pub fn new(provider: Arc<dyn Provider>, directory: Arc<Directory>, runtime: Handle) -> Self {
        let room = Room::new(directory.clone(), Bounds::default());
        let (leaving, lead, waking) = Default::default();
        Self { provider, directory, runtime, leaving, lead, room, waking }
    }

    /// Starts nothing any more when the gateway leaves.
    #[must_use]
    pub fn until(self, leaving: Leaving) -> Self {
        Self { leaving, ..self }
    }

    /// Does what nobody has asked for only while this gateway leads.
    #[must_use]
    pub fn led_by(self, lead: Lead) -> Self {
        Self { lead, ..self }
    }

    /// Starts not more than this.
    #[must_use]
    pub fn within(self, bounds: Bounds) -> Self {
        Self { room: Room::new(self.directory.clone(), bounds), ..self }
    }

    /// Whether the backend can freeze replicas.
    pub(super) fn freezes(&self) -> bool {
        self.provider.info().freezes
    }

    /// What runs now.
    pub(super) fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Sets the number of replicas, kept within the function's bounds; 0 puts it to sleep.
    ///
    /// More of them wait for their turn. What nobody asked for by hand is done as far as there is
    /// room.
    ///
    /// # Errors
    /// [`Error::Conflict`] says why there are not to be more.
    pub async fn scale(&self, name: &Name, replicas: u32, cause: Cause) -> Result<()> {
        let entry = self.directory.find(name).ok_or_else(|| Error::NotFound(name.to_string()))?;
        let replicas = entry.scale.clamp(replicas);
        let reason = match cause {
            Cause::Manual => "asked for by hand",
            Cause::Alert => "asked for by an alert",
            // Who decides that writes it down, with the numbers.
            _ => return self.change(&entry, replicas, cause).await,
        };
        let decision = Decision::new(cause, entry.status.desired, replicas, reason);
        // First, so that it is known when the change is seen.
        entry.live.journal.write(Timestamp::now(), decision.clone());
        let done = self.change(&entry, replicas, cause).await;
        note_refusal(&entry, decision, &done);
        done
    }

    async fn change(&self, entry: &Entry, replicas: u32, cause: Cause) -> Result<()> {
        let name = &entry.name;
        let _work = self.work(cause).await?;
        if replicas <= entry.status.desired {
            return self.provider.scale(name, Target::Replicas(replicas)).await;
        }
        let start = self.turn(name).await?;
        let least = if cause == Cause::Manual { replicas } else { 1 };
        let places = self.room.places(name, replicas, least)?;
        self.may(cause)?;
        tracing::info!(function = %name, replicas = places.count, ?cause, "scaling up");
        self.measured(name, places.count, cause).await?;
        // A step up may be followed by the next one before it is ready. What was promised counts
        // until the directory shows it.
        drop(start);
        self.wait(name, SEEN, |entry| entry.status.desired >= places.count).await;
        Ok(())
    }

    /// Takes the processor from all replicas.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a call is in flight.
    pub async fn freeze(&self, name: &Name) -> Result<()> {
        let _work = self.work(Cause::Idle).await?;
        self.provider.scale(name, Target::Frozen).await
    }

    /// Puts a function to sleep: nothing of it runs.
    pub async fn stop(&self, name: &Name) -> Result<()> {
        self.scale(name, 0, Cause::Idle).await
    }

    /// Places for the replicas that a deploy makes; to be kept until it is done.
    ///
    /// # Errors
    /// [`Error::Conflict`] says why there are none.
    pub fn admit(&self, name: &Name, function: &Function) -> Result<Places> {
        let scale = function.scale()?;
        let have = self.directory.find(name).map_or(0, |entry| entry.status.desired);
        let wanted = scale.clamp(have).max(scale.initial());
        self.room.places(name, wanted, wanted)
    }

    /// Starts a sleeping function, or thaws it. Calls that come meanwhile wait for the same start.
    pub async fn wake(self: &Arc<Self>, entry: &Entry) -> Result<()> {
        let mut outcome = self.join(entry);
        match outcome.wait_for(Option::is_some).await {
            Ok(done) => done.clone().unwrap_or(Ok(())),
            Err(_) => Err(Error::Conflict(format!("the start of {} was given up", entry.name))),
        }
    }

    fn join(self: &Arc<Self>, entry: &Entry) -> watch::Receiver<Outcome> {
        let mut waking = self.waking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = waking.get(&entry.name) {
            return outcome.clone();
        }
        let (sender, receiver) = watch::channel(None);
        // Whoever asks may have looked before the last wake was seen.
        if self.directory.find(&entry.name).is_none_or(|now| !now.is_asleep()) {
            sender.send_replace(Some(Ok(())));
            return receiver;
        }
        waking.insert(entry.name.clone(), receiver.clone());
        let (scaler, name) = (self.clone(), entry.name.clone());
        self.runtime.spawn(async move {
            let raised = scaler.raise(&name).await;
            scaler.note_call(&name, &raised);
            let failed = raised.is_err();
            if !failed {
                scaler.until_seen(&name).await;
                scaler.woken(&name);
            }
            let (outcome, started) = match raised {
                Ok(started) => (Ok(()), started),
                Err(error) => (Err(error), None),
            };
            sender.send_replace(Some(outcome));
            if let Some(started) = started {
                scaler.until_started(&name, started).await;
            }
            if failed {
                sleep(FAILED).await;
                scaler.woken(&name);
            }
        });
        receiver
    }

    /// Writes down that a call started the function, or why it did not.
    fn note_call(&self, name: &Name, raised: &Result<Option<(Start, Places)>>) {
        let Some(entry) = self.directory.find(name) else { return };
        let (to, reason) = match raised {
            Ok(Some((_, places))) => (places.count, "a call came, and nothing ran"),
            Ok(None) => (entry.status.desired, "a call came, and the replicas were frozen"),
            Err(_) => (entry.scale.initial(), "a call came, and nothing ran"),
        };
        let decision = Decision::new(Cause::Call, 0, to, reason);
        match raised {
            Ok(_) => entry.live.journal.write(Timestamp::now(), decision),
            Err(error) => note_refusal(&entry, decision, &Err(error.clone())),
        }
    }

    fn woken(&self, name: &Name) {
        self.waking.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Thaws a frozen function at once; starts a stopped one when its turn comes.
    async fn raise(&self, name: &Name) -> Result<Option<(Start, Places)>> {
        let _work = self.work(Cause::Call).await?;
        let frozen = self.directory.find(name).filter(|entry| entry.is_frozen());
        if let Some(entry) = frozen {
            // All that is there, and nothing else: whether that is enough is seen by its load.
            self.measured(name, entry.status.desired, Cause::Call).await?;
            return Ok(None);
        }
        let start = self.turn(name).await?;
        let places = self.room.places(name, self.needed(name)?, 1)?;
        self.measured(name, places.count, Cause::Call).await?;
        // More calls may have come since; for those that come later there is the load.
        let needed = self.needed(name)?;
        if needed <= places.count {
            return Ok(Some((start, places)));
        }
        let first = places.count;
        drop(places);
        let places = self.room.places(name, needed, first);
        // What was started has its places, whether there are more or not.
        let places = places.or_else(|_| self.room.places(name, first, first))?;
        self.provider.scale(name, Target::Replicas(places.count)).await?;
        Ok(Some((start, places)))
    }

    /// Has the provider start replicas, and sees how long it takes until they take calls.
    async fn measured(&self, name: &Name, replicas: u32, cause: Cause) -> Result<()> {
        let entry = self.directory.find(name).ok_or_else(|| Error::NotFound(name.to_string()))?;
        let starts = &entry.live.metrics.starts;
        if let Some(step) = entry.step_to(replicas) {
            starts.begin(cause.label(), step, replicas);
        }
        let done = self.provider.scale(name, Target::Replicas(replicas)).await;
        match &done {
            Ok(()) => starts.done(),
            Err(_) => starts.failed(),
        }
        done
    }

    /// How many replicas the calls need that wait.
    fn needed(&self, name: &Name) -> Result<u32> {
        let entry = self.directory.find(name).ok_or_else(|| Error::NotFound(name.to_string()))?;
        let waiting = u32::try_from(entry.live.queue.len()).unwrap_or(u32::MAX);
        let each = entry.status.function.max_inflight()?.unwrap_or_else(|| usual(&entry.scale));
        Ok(entry.scale.clamp(waiting.div_ceil(each.max(1)).max(entry.scale.initial())))
    }

    /// Leave to change something. Who asks by hand or by alert has it: it is a request of the API.
    async fn work(&self, cause: Cause) -> Result<Option<OwnedRwLockReadGuard<()>>> {
        self.may(cause)?;
        if matches!(cause, Cause::Manual | Cause::Alert) {
            return Ok(None);
        }
        self.leaving.work().await.map(Some).ok_or_else(left)
    }

    /// Whether this gateway may do that: what nobody asks for is done by one alone.
    fn may(&self, cause: Cause) -> Result<()> {
        let is_asked_for = matches!(cause, Cause::Manual | Cause::Alert | Cause::Call);
        match is_asked_for || self.lead.is_here() {
            true => Ok(()),
            false => Err(Error::Conflict("another gateway leads now".to_owned())),
        }
    }

    /// The function's turn to start something. A gateway that has begun to leave while it waited
    /// leaves that to the next one.
    async fn turn(&self, name: &Name) -> Result<Start> {
        let start = self.room.start(name).await;
        if self.leaving.is_serving() { Ok(start) } else { Err(left()) }
    }

    /// Until then, calls that come would ask for the same start again.
    async fn until_seen(&self, name: &Name) {
        if !self.wait(name, SEEN, |entry| !entry.is_asleep()).await {
            tracing::debug!(%name, "a wake is not seen yet");
        }
    }

    /// Keeps a function's permit until it is known how its start ends: what gets ready needs the
    /// processor, and with too much of that at once nothing gets ready soon.
    async fn until_started(&self, name: &Name, (start, places): (Start, Places)) {
        let count = places.count;
        let known = |entry: &Entry| {
            let status = &entry.status;
            entry.ready() >= count as usize || status.desired < count || !status.reason.is_empty()
        };
        if !self.wait(name, STARTING, known).await {
            tracing::debug!(%name, "it takes its time to start");
        }
        drop((start, places));
    }

    /// Waits until a function is so, or gone; `false` when the time is over.
    async fn wait(&self, name: &Name, limit: Duration, so: impl Fn(&Entry) -> bool) -> bool {
        let Some(entry) = self.directory.find(name) else { return true };
        let mut changed = entry.live.changed.subscribe();
        let wait = async {
            while self.directory.find(name).is_some_and(|now| !so(&now)) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        timeout(limit, wait).await.is_ok()
    }
}

fn note_refusal(entry: &Entry, decision: Decision, done: &Result<()>) {
    if let Err(error) = done {
        let refused = Decision { refused: error.to_string(), ..decision };
        entry.live.journal.write(Timestamp::now(), refused);
    }
}

fn left() -> Error {
    Error::Conflict("the gateway is leaving".to_owned())
}

/// How many calls at a time a replica is meant for that would take any number of them.
fn usual(scale: &Scale) -> u32 {
    // A cast from above the greatest number gives the greatest number.
    if scale.measure == Measure::Capacity { scale.per_replica() as u32 } else { u32::MAX }
}
