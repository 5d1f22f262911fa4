//! What every part of the backend works on: the groups of replicas, and what follows from a
//! change of one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{RwLock, watch};
use tokio::task::AbortHandle;

use super::engine::Engine;
use super::files::{Files, disk};
use super::group::{Group, Member, Stage};
use super::namespaces::{NamespaceSet, NamespaceStore};
use super::secrets::SecretFiles;
use super::sockets::Sockets;
use super::{Settings, report};
use crate::feed::Feed;
use crate::locks::Locks;
use crate::{Calls, Error, Function, Name, Result};

/// The groups, by function.
pub(super) type World = BTreeMap<Name, Group>;

/// The parts of the backend.
pub(crate) struct Core {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) files: Files,
    pub(super) sockets: Sockets,
    pub(super) namespaces: Arc<NamespaceSet>,
    pub(super) secrets: Arc<SecretFiles>,
    pub(super) feed: Arc<Feed>,
    pub(super) calls: Calls,
    /// Timeout of functions that name none.
    pub(super) default_timeout: Duration,
    /// After so long without an answer a replica's status says so.
    pub(super) listen_timeout: Duration,
    /// Taken to read while replicas are made, to write while a namespace or what they share goes.
    pub(super) gate: Arc<RwLock<()>>,
    /// One operation a function at a time.
    pub(super) turns: Locks<Name>,
    /// One freezing or thawing of a function at a time; a thaw waits for nothing else.
    pub(super) ice: Locks<Name>,
    /// One look at a replica at a time, so that the last look is what counts.
    pub(super) looks: Locks<String>,
    world: Mutex<World>,
    /// Told after every change of the world.
    changes: watch::Sender<()>,
    stopped: watch::Sender<bool>,
    last_generation: AtomicU64,
}

impl Core {
    /// Puts the parts together; nothing is listed yet.
    pub(super) fn open(
        engine: Arc<dyn Engine>,
        namespaces: Box<dyn NamespaceStore>,
        settings: Settings,
    ) -> Result<Arc<Self>> {
        let (sockets, reader) = Sockets::open().map_err(|e| disk(format!("inotify: {e}")))?;
        let feed = Feed::new();
        let namespaces = Arc::new(NamespaceSet::new(namespaces, feed.clone()));
        let core = Arc::new(Self {
            engine,
            files: Files::open(&settings.state_dir)?,
            sockets,
            secrets: Arc::new(SecretFiles::open(&settings.state_dir, namespaces.clone())?),
            namespaces,
            feed,
            calls: settings.calls,
            default_timeout: settings.default_timeout,
            listen_timeout: settings.listen_timeout,
            gate: Arc::default(),
            turns: Locks::default(),
            ice: Locks::default(),
            looks: Locks::default(),
            world: Mutex::default(),
            changes: watch::Sender::new(()),
            stopped: watch::Sender::new(false),
            last_generation: AtomicU64::new(0),
        });
        core.spawn(reader);
        Ok(core)
    }

    /// Ends every task.
    pub(super) fn stop(&self) {
        self.stopped.send_replace(true);
        self.engine.close();
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

    /// Changes a group; then does, and tells, what follows from it.
    ///
    /// Decision and telling are one step: nobody sees the new replicas ready and the old ones not
    /// yet draining, or the other way round.
    pub(super) fn update<R>(
        self: &Arc<Self>,
        name: &Name,
        change: impl FnOnce(&mut Group) -> R,
    ) -> R {
        let mut world = self.world();
        let group = world.entry(name.clone()).or_default();
        let result = change(group);
        self.settle(name, group);
        match report::status(group) {
            Some(status) => self.feed.set(name, status),
            None => self.feed.remove(name),
        }
        if group.members.is_empty() {
            world.remove(name);
        }
        drop(world);
        self.changes.send_replace(());
        result
    }

    /// Changes any groups, then tells everything anew.
    pub(super) fn update_all<R>(self: &Arc<Self>, change: impl FnOnce(&mut World) -> R) -> R {
        let mut world = self.world();
        let result = change(&mut world);
        for (name, group) in world.iter_mut() {
            self.settle(name, group);
        }
        world.retain(|_, group| !group.members.is_empty());
        let told = |(name, group): (&Name, &Group)| Some((name.clone(), report::status(group)?));
        self.feed.reset(world.iter().filter_map(told).collect());
        drop(world);
        self.changes.send_replace(());
        result
    }

    /// Reads a group; an empty one when there is none.
    pub(super) fn read<R>(&self, name: &Name, read: impl FnOnce(&Group) -> R) -> R {
        match self.world().get(name) {
            Some(group) => read(group),
            None => read(&Group::default()),
        }
    }

    /// Reads one container's part.
    pub(super) fn member<R>(
        &self,
        name: &Name,
        replica: &str,
        read: impl FnOnce(&Member) -> R,
    ) -> Option<R> {
        self.world().get(name)?.members.get(replica).map(read)
    }

    /// Waits until the world is so, or the time is over.
    pub(super) async fn until(&self, limit: Duration, so: impl Fn(&World) -> bool) -> Result<()> {
        let mut changes = self.changes.subscribe();
        let wait = async {
            while !so(&self.world()) {
                if changes.changed().await.is_err() {
                    break;
                }
            }
        };
        let late = |_| self.refused(format!("not done after {} s, it goes on", limit.as_secs()));
        tokio::time::timeout(limit, wait).await.map_err(late)
    }

    /// Asks the engine about a container and takes in the answer.
    pub(super) async fn look(self: &Arc<Self>, name: &Name, replica: &str) -> Result<()> {
        let _one = self.looks.lock(&replica.to_owned()).await;
        loop {
            let known = self.member(name, replica, |m| (m.seen.id.clone(), m.turns));
            let (id, turns) = known.map_or((None, 0), |(id, turns)| (Some(id), turns));
            let Some(seen) = self.engine.inspect(id.as_deref().unwrap_or(replica)).await? else {
                self.forget(name, replica);
                return Ok(());
            };
            let is_news = self.update(name, |group| {
                let is_news = group.members.get(replica).is_none_or(|m| m.turns == turns);
                if is_news && group.observe(seen) {
                    self.calls.open(replica);
                }
                is_news
            });
            if is_news {
                return Ok(());
            }
        }
    }

    /// A container is gone: so is all that belonged to it, before anybody hears of it.
    pub(super) fn forget(self: &Arc<Self>, name: &Name, replica: &str) {
        self.remove_files(replica);
        self.update(name, |group| group.members.remove(replica));
        self.calls.forget(replica);
    }

    /// Removes what a replica has outside of the engine.
    pub(super) fn remove_files(&self, replica: &str) {
        if let Err(error) = self.files.remove(replica) {
            tracing::warn!(replica, %error, "cannot remove a replica's directory");
        }
    }

    /// Removes what replicas share when there are none.
    pub(super) async fn tidy(&self) {
        if !self.world().is_empty() {
            return;
        }
        let _gate = self.gate.write().await;
        if !self.world().is_empty() {
            return;
        }
        if let Err(error) = self.engine.tidy().await {
            tracing::warn!(%error, "cannot remove what no replica needs any more");
        }
    }

    /// The longest that a function's call may take.
    pub(super) fn timeout_of(&self, function: &Function) -> Duration {
        function.timeout().ok().flatten().unwrap_or(self.default_timeout)
    }

    /// A number above every one given before: the time, unless that stands still.
    pub(super) fn next_generation(&self, above: u64) -> u64 {
        let now = Timestamp::now().as_millisecond().unsigned_abs();
        let next = |last: u64| Some(now.max(last + 1).max(above + 1));
        let update = Ordering::Relaxed;
        let last = self.last_generation.fetch_update(update, update, next).unwrap_or_default();
        now.max(last + 1).max(above + 1)
    }

    /// An [`Error::Backend`] in the engine's name.
    pub(super) fn refused(&self, reason: impl Into<String>) -> Error {
        Error::Backend { backend: self.engine.name(), reason: reason.into() }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What follows from a group's state: who leaves, who is looked after.
    fn settle(self: &Arc<Self>, name: &Name, group: &mut Group) {
        for replica in group.superseded() {
            if let Some(member) = group.members.get_mut(&replica) {
                member.stage = Stage::Leaving;
            }
        }
        for replica in group.unwanted_spares() {
            if let Some(member) = group.members.get_mut(&replica) {
                member.stage = Stage::Leaving;
            }
        }
        self.stock(name, group);
        for member in group.members.values_mut() {
            self.attend(name, member);
            self.see_off(name, member);
        }
    }
}

/// The error for a function that is not there.
pub(super) fn not_found(name: &Name) -> Error {
    Error::NotFound(format!("function {name}"))
}
