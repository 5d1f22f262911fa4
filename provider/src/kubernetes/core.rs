//! What every part of the backend works on: what is known, and what follows from a change of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client};
use tokio::sync::{OnceCell, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::dial::At;
use super::error::{away, error, is_passing};
use super::render::{Settings, readiness_path};
use super::scope::Scope;
use super::state::{Key, Known, Wanted, World};
use super::usage::Meter;
use super::{deployments, report};
use crate::feed::Feed;
use crate::locks::Locks;
use crate::{Calls, Error, Name, Result, Status};

/// Longest that one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// How often a write is sent that meets another one.
const WRITES: u32 = 4;
/// Pause before it is sent again; it doubles each time.
const WRITE_PAUSE: Duration = Duration::from_millis(50);

/// The parts of the backend.
pub(super) struct Core {
    pub(super) client: Client,
    pub(super) scope: Arc<Scope>,
    pub(super) settings: Settings,
    /// Where profiles are looked for.
    pub(super) profiles_namespace: String,
    pub(super) listen_timeout: Duration,
    pub(super) feed: Arc<Feed>,
    pub(super) calls: Calls,
    /// One operation a function at a time.
    pub(super) turns: Locks<Name>,
    world: Mutex<World>,
    /// Told after every change of the world.
    pub(super) changes: watch::Sender<()>,
    pub(super) meter: Meter,
    /// What a watch failed with the last time.
    pub(super) trouble: watch::Sender<Option<Error>>,
    stopped: watch::Sender<bool>,
    last_generation: AtomicU64,
    /// Whether functions can be objects of the cluster, once that was asked.
    pub(super) sound_objects: OnceCell<bool>,
}

/// What a core is made of.
pub(super) struct Parts {
    pub(super) client: Client,
    pub(super) scope: Arc<Scope>,
    pub(super) settings: Settings,
    pub(super) profiles_namespace: String,
    pub(super) listen_timeout: Duration,
    pub(super) calls: Calls,
}

impl Core {
    /// Puts the parts together; nothing is listed yet.
    pub(super) fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            client: parts.client,
            scope: parts.scope,
            settings: parts.settings,
            profiles_namespace: parts.profiles_namespace,
            listen_timeout: parts.listen_timeout,
            feed: Feed::new(),
            calls: parts.calls,
            turns: Locks::default(),
            world: Mutex::default(),
            changes: watch::Sender::new(()),
            meter: Meter::default(),
            trouble: watch::Sender::new(None),
            stopped: watch::Sender::new(false),
            last_generation: AtomicU64::new(0),
            sound_objects: OnceCell::new(),
        })
    }

    /// Ends every task.
    pub(super) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// Runs a task until it ends or the backend is dropped.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut stopped = self.stopped.subscribe();
        let task = tokio::spawn(async move {
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => {}
                () = work => {}
            }
        });
        task.abort_handle()
    }

    /// Changes what is known of a function; then does, and tells, what follows from it.
    ///
    /// Calls are let in or kept out before anybody hears of the change.
    pub(super) fn update<R>(
        self: &Arc<Self>,
        key: &Key,
        change: impl FnOnce(&mut Known) -> R,
    ) -> R {
        let mut world = self.world();
        let known = world.functions.entry(key.clone()).or_default();
        let result = change(known);
        self.settle(key, known);
        let is_empty = known.is_empty();
        let status = self.status(key, known);
        if is_empty {
            world.functions.remove(key);
        }
        if world.is_listed(&self.scope)
            && let Some(name) = self.scope.name(&key.namespace, &key.function)
        {
            match status {
                Some(status) => self.feed.set(&name, status),
                None => self.feed.remove(&name),
            }
        }
        drop(world);
        self.changes.send_replace(());
        result
    }

    /// Changes anything, then tells everything anew, once everything was listed.
    pub(super) fn update_all<R>(self: &Arc<Self>, change: impl FnOnce(&mut World) -> R) -> R {
        let mut world = self.world();
        let result = change(&mut world);
        for (key, known) in &mut world.functions {
            self.settle(key, known);
        }
        world.functions.retain(|_, known| !known.is_empty());
        if world.is_listed(&self.scope) {
            let told = |(key, known): (&Key, &Known)| {
                Some((self.scope.name(&key.namespace, &key.function)?, self.status(key, known)?))
            };
            self.feed.reset(world.functions.iter().filter_map(told).collect());
        }
        drop(world);
        self.changes.send_replace(());
        result
    }

    fn status(&self, key: &Key, known: &Known) -> Option<Status> {
        report::status(&self.scope.name(&key.namespace, &key.function)?, known)
    }

    /// Reads what is known of a function.
    pub(super) fn read<R>(&self, key: &Key, read: impl FnOnce(&Known) -> R) -> R {
        match self.world().functions.get(key) {
            Some(known) => read(known),
            None => read(&Known::default()),
        }
    }

    /// Waits until the world is so, or the time is over.
    pub(super) async fn until(&self, limit: Duration, so: impl Fn(&World) -> bool) -> bool {
        let mut changes = self.changes.subscribe();
        let wait = async {
            while !so(&self.world()) {
                if changes.changed().await.is_err() {
                    break;
                }
            }
        };
        timeout(limit, wait).await.is_ok()
    }

    /// What the cluster calls a function.
    pub(super) fn key(&self, name: &Name) -> Result<Key> {
        let namespace = self.scope.resolve(name)?;
        Ok(Key { namespace, function: name.function().to_owned() })
    }

    /// What the cluster calls a function that is there.
    pub(super) fn existing(&self, name: &Name) -> Result<Key> {
        let key = self.key(name).map_err(|_| not_found(name))?;
        match self.read(&key, |known| known.wanted().is_some()) {
            true => Ok(key),
            false => Err(not_found(name)),
        }
    }

    /// The Deployments of a namespace.
    pub(super) fn deployments(&self, key: &Key) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    /// Takes in a Deployment that the API server has just answered with.
    pub(super) fn wrote(self: &Arc<Self>, deployment: &Deployment) {
        if let Some((key, wanted)) = deployments::wanted(deployment) {
            let wanted = Wanted { is_fresh: true, ..wanted };
            self.update(&key, |known| known.observe_deployment(wanted));
        }
    }

    /// A number above every one given before: the time, unless that stands still.
    pub(super) fn next_generation(&self, above: u64) -> u64 {
        let now = Timestamp::now().as_millisecond().unsigned_abs();
        let next = |last: u64| Some(now.max(last + 1).max(above + 1));
        let update = Ordering::Relaxed;
        let last = self.last_generation.fetch_update(update, update, next).unwrap_or_default();
        now.max(last + 1).max(above + 1)
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What follows from what is known: who takes calls, and who is asked.
    fn settle(self: &Arc<Self>, key: &Key, known: &mut Known) {
        known.part();
        let path = known.wanted().map(|wanted| readiness_path(&wanted.found.function));
        let draining: Vec<_> =
            known.pods.values().map(|member| report::is_draining(member, known)).collect();
        for ((pod, member), draining) in known.pods.iter_mut().zip(draining) {
            match (draining, member.is_closed) {
                (true, false) => self.calls.close(pod),
                (false, true) => self.calls.open(pod),
                _ => {}
            }
            member.is_closed = draining;
            if let Some(path) = &path {
                self.attend(&At { key, pod, path }, member);
            }
        }
    }
}

/// The answer to a request, if it comes in time.
pub(super) async fn asked<T>(
    what: &str,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T> {
    match timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|e| error(what, e)),
        Err(_) => Err(silent()),
    }
}

/// The answer to a write, which is sent again when it met another one.
pub(super) async fn written<T, F>(what: &str, mut request: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = kube::Result<T>>,
{
    let mut pause = WRITE_PAUSE;
    for _try in 1..WRITES {
        match timeout(REQUEST_TIMEOUT, request()).await {
            Ok(Err(e)) if is_passing(&e) => {}
            Ok(answer) => return answer.map_err(|e| error(what, e)),
            Err(_) => return Err(silent()),
        }
        sleep(pause).await;
        pause *= 2;
    }
    asked(what, request()).await
}

fn silent() -> Error {
    away(format!("it has not answered for {} s", REQUEST_TIMEOUT.as_secs()))
}

/// The error for a function that is not there.
pub(super) fn not_found(name: &Name) -> Error {
    Error::NotFound(format!("function {name}"))
}
