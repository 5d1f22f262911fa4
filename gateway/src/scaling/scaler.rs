//! The only caller of [`Provider::scale`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use provider::{Error, Name, Provider, Result, Target};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::directory::{Directory, Entry};
use crate::handover::Leaving;
use super::Cause;

/// Longest that a wake which the provider has done may take to be in the directory.
const SEEN: Duration = Duration::from_secs(5);

/// How a wake ended, once it has.
type Outcome = Option<Result<()>>;

/// Changes how many replicas run: by hand, and from zero.
pub struct Scaler {
    provider: Arc<dyn Provider>,
    directory: Arc<Directory>,
    runtime: Handle,
    leaving: Leaving,
    waking: Mutex<HashMap<Name, watch::Receiver<Outcome>>>,
}

impl Scaler {
    /// Calls the provider on `runtime`.
    pub fn new(provider: Arc<dyn Provider>, directory: Arc<Directory>, runtime: Handle) -> Self {
        Self { provider, directory, runtime, leaving: Leaving::default(), waking: Mutex::default() }
    }

    /// Starts nothing any more when the gateway leaves.
    #[must_use]
    pub fn until(self, leaving: Leaving) -> Self {
        Self { leaving, ..self }
    }

    /// Sets the number of replicas, kept within the function's bounds; 0 puts it to sleep.
    pub async fn scale(&self, name: &Name, replicas: u32) -> Result<()> {
        let entry = self.directory.find(name).ok_or_else(|| Error::NotFound(name.to_string()))?;
        let replicas = entry.status.function.scale()?.clamp(replicas);
        self.measured(name, replicas, Cause::Manual).await
    }

    /// Starts a sleeping function. Calls that come while it is being started wait for the same
    /// start.
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
        let replicas = entry.scale.initial();
        self.runtime.spawn(async move {
            let result = match scaler.leaving.work().await {
                Some(_guard) => scaler.measured(&name, replicas, Cause::Call).await,
                None => Err(Error::Conflict("the gateway is leaving".to_owned())),
            };
            if result.is_ok() {
                scaler.until_seen(&name).await;
            }
            scaler.waking.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
            sender.send_replace(Some(result));
        });
        receiver
    }

    /// Has the provider do it, and the time taken that it takes.
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

    /// Until then, calls that come would ask for the same start again.
    async fn until_seen(&self, name: &Name) {
        let Some(entry) = self.directory.find(name) else { return };
        let mut changed = entry.live.changed.subscribe();
        let seen = async {
            while self.directory.find(name).is_some_and(|now| now.is_asleep()) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(SEEN, seen).await.is_err() {
            tracing::debug!(%name, "a wake is not seen yet");
        }
    }
}
