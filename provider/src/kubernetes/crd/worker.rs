//! One object of a function, and the cluster made to be as it says.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::super::core::{Core, asked, written};
use super::super::error::is_not_found;
use super::super::render::{MANAGED_BY, MANAGER};
use super::super::state::Key;
use super::operator::Leader;
use super::{FINALIZER, Group, is_going, is_held, spec, status};
use crate::{Error, Function, Result, Status};

/// Pause before a failed try is made again; it doubles with each, up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between tries: what was refused may be possible by now, such as when a secret has
/// been made.
const LAST_PAUSE: Duration = Duration::from_secs(300);
/// Least time from one status to the next: a rollout is many small changes.
const STATUS_PAUSE: Duration = Duration::from_millis(200);

/// Who works on one object.
pub(super) struct Worker {
    core: Arc<Core>,
    group: Group,
    key: Key,
    leader: Leader,
    /// What the last try came to.
    tried: Option<Tried>,
}

/// A try that failed.
struct Tried {
    /// The generation of the object.
    generation: i64,
    error: Error,
    /// When the next one is made; `None` is when the object has changed.
    again: Option<Instant>,
    pause: Duration,
}

impl Worker {
    pub(super) fn new(core: Arc<Core>, (group, key): (Group, Key), leader: Leader) -> Self {
        Self { core, group, key, leader, tried: None }
    }

    /// Works until the object is gone.
    pub(super) async fn run(
        mut self,
        mut object: watch::Receiver<Arc<DynamicObject>>,
        turns: Arc<Semaphore>,
    ) {
        loop {
            let now = object.borrow_and_update().clone();
            let wrote = match turns.acquire().await {
                Ok(_turn) if self.leader.is_leader() => self.step(&now).await,
                Ok(_) => false,
                Err(_) => return,
            };
            if wrote {
                sleep(STATUS_PAUSE).await;
            }
            let again = self.tried.as_ref().and_then(|tried| tried.again);
            let waits = again.is_some();
            tokio::select! {
                changed = object.changed() => if changed.is_err() { return },
                () = sleep_until(again.unwrap_or_else(Instant::now)), if waits => {}
            }
        }
    }

    /// Does what is to be done now. Returns whether a status was written.
    async fn step(&mut self, object: &DynamicObject) -> bool {
        let Some(namespace) = self.core.scope.api_namespace(&self.key.namespace) else {
            return false;
        };
        let generation = object.metadata.generation.unwrap_or_default();
        if self.is_due(object, generation) {
            match self.bring_about(object, &namespace).await {
                Ok(()) => self.tried = None,
                Err(error) => self.failed(generation, error),
            }
        }
        if is_going(&object.metadata) || self.group != Group::Flint {
            return false;
        }
        self.tell(object, &namespace).await
    }

    /// Whether it is time to try. A failed try is made again after a pause, or for another object.
    fn is_due(&self, object: &DynamicObject, generation: i64) -> bool {
        match &self.tried {
            Some(tried) if tried.generation == generation && !is_going(&object.metadata) => {
                tried.again.is_some_and(|again| again <= Instant::now())
            }
            _ => true,
        }
    }

    fn failed(&mut self, generation: i64, error: Error) {
        tracing::warn!(object = %self.group.what(&self.key.function),
            namespace = %self.key.namespace, %error, "cannot be brought about");
        let before = self.tried.take().filter(|tried| tried.generation == generation);
        let pause = before.map_or(FIRST_PAUSE, |tried| (tried.pause * 2).min(LAST_PAUSE));
        let again = Some(Instant::now() + super::super::jitter(pause));
        // Its own text cannot get better by itself.
        let of_spec = matches!(&error, Error::Invalid { field, .. } if field.starts_with("spec"));
        self.tried = Some(Tried { generation, error, again: again.filter(|_| !of_spec), pause });
    }

    /// Makes the cluster be as the object says.
    async fn bring_about(&self, object: &DynamicObject, namespace: &str) -> Result<()> {
        if is_going(&object.metadata) {
            return self.see_off(object).await;
        }
        let function = spec::function(object, namespace)?;
        self.hold(object).await?;
        if self.core.is_as(&self.key, &function) {
            return Ok(());
        }
        self.core.clone().realize(self.group, &self.key).await
    }

    /// Removes what the object described, then lets go of it.
    async fn see_off(&self, object: &DynamicObject) -> Result<()> {
        if !is_held(&object.metadata) || self.group != Group::Flint {
            return Ok(());
        }
        self.core.clone().take_down_alone(&self.key).await?;
        self.core.release(&self.key).await
    }

    /// Sees to it that the object is not gone before what it describes is.
    async fn hold(&self, object: &DynamicObject) -> Result<()> {
        let labels = object.metadata.labels.as_ref();
        let is_ours =
            labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|m| m == MANAGER);
        if self.group != Group::Flint || is_ours || is_held(&object.metadata) {
            return Ok(());
        }
        let mut all = object.metadata.finalizers.clone().unwrap_or_default();
        all.push(FINALIZER.to_owned());
        let version = &object.metadata.resource_version;
        let patch =
            Patch::Merge(json!({"metadata": {"finalizers": all, "resourceVersion": version}}));
        let api = self.group.api(&self.core.client, Some(&self.key.namespace));
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
        let held = api.patch(&self.key.function, &params, &patch);
        asked(&self.group.what(&self.key.function), held).await.map(drop)
    }

    /// Writes the status, if it says anything new. Returns whether it did.
    async fn tell(&self, object: &DynamicObject, namespace: &str) -> bool {
        let name = crate::Name::new(&self.key.function, namespace).ok();
        let seen: Option<Status> = name.and_then(|name| self.core.feed.get(&name));
        let refusal = self.tried.as_ref().map(|tried| &tried.error);
        // What only says that the API server is away is not the object's.
        let refusal = refusal.filter(|error| !matches!(error, Error::Unavailable { .. }));
        let profiles = &self.core.profiles_namespace;
        let changed = status::changed(object, seen.as_ref(), refusal, profiles);
        let Some(status) = changed else { return false };
        let api = self.group.api(&self.core.client, Some(&self.key.namespace));
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
        let patch = Patch::Merge(json!({ "status": status }));
        let told = || async {
            match api.patch_status(&self.key.function, &params, &patch).await {
                Err(error) if is_not_found(&error) => Ok(()),
                other => other.map(drop),
            }
        };
        if let Err(error) = written(&self.group.what(&self.key.function), told).await {
            tracing::warn!(object = %self.group.what(&self.key.function), %error, "has an old status");
        }
        true
    }
}

impl Core {
    /// Whether a function runs that means the same.
    pub(in super::super) fn is_as(&self, key: &Key, function: &Function) -> bool {
        self.read(key, |known| {
            known.wanted().is_some_and(|wanted| spec::is_same(&wanted.found.function, function))
        })
    }
}
