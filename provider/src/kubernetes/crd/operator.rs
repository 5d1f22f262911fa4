//! The gateway that leads makes the cluster be as the objects of functions say.
//!
//! Each object has a worker, which is woken when the object changes or when what runs does; nothing
//! is looked at in turns. A gateway that stops leading drops all of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use kube::core::DynamicObject;
use kube::runtime::watcher::{self, Event as Told, watcher};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::super::core::Core;
use super::super::jitter;
use super::super::state::Key;
use super::worker::Worker;
use super::{Group, is_not_served};
use crate::{Event, Leadership, Name};

/// A watch is begun anew after so long, as those of Deployments are.
const WATCH_SECONDS: u32 = 60;
/// How often it is looked whether there are such objects by now, where there were none: one
/// request, of the one gateway that leads.
const INSTALL_CHECK: Duration = Duration::from_secs(30);
/// Pause after another error; it doubles with each, up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between tries to reach the API server.
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// How many objects are worked on at a time.
const AT_A_TIME: usize = 4;

/// Whether this process may do what only one may.
#[derive(Clone)]
pub(super) struct Leader(Option<watch::Receiver<Leadership>>);

impl Leader {
    /// Whether it is in charge at this moment. Without an election it always is.
    pub(super) fn is_leader(&self) -> bool {
        self.0.as_ref().is_none_or(|leadership| leadership.borrow().is_leader())
    }

    /// Waits until it is, or is not. Returns whether there is still an election.
    async fn until(&mut self, wanted: bool) -> bool {
        let Some(leadership) = &mut self.0 else {
            return wanted || std::future::pending().await;
        };
        leadership.wait_for(|leadership| leadership.is_leader() == wanted).await.is_ok()
    }
}

/// Works as long as the backend lives, and whenever it leads.
pub(in super::super) async fn operate(
    core: Arc<Core>,
    leadership: Option<watch::Receiver<Leadership>>,
) {
    let mut leader = Leader(leadership);
    loop {
        match core.has_sound_objects().await {
            Ok(true) => break,
            Ok(false) => return,
            Err(_) => sleep(jitter(LAST_PAUSE)).await,
        }
    }
    while leader.until(true).await {
        tracing::debug!("looks after the objects of functions");
        let session = Session::new(core.clone(), leader.clone());
        tokio::select! {
            () = session.run() => {}
            _ = leader.until(false) => {}
        }
    }
}

/// The time in which it leads.
struct Session {
    core: Arc<Core>,
    leader: Leader,
    turns: Arc<Semaphore>,
    /// Who works on an object, by what wakes them.
    workers: HashMap<(Group, Key), watch::Sender<Arc<DynamicObject>>>,
    tasks: JoinSet<()>,
    /// Those that a list has had so far.
    listed: HashMap<Group, HashSet<Key>>,
}

impl Session {
    fn new(core: Arc<Core>, leader: Leader) -> Self {
        let turns = Arc::new(Semaphore::new(AT_A_TIME));
        let (workers, tasks, listed) = Default::default();
        Self { core, leader, turns, workers, tasks, listed }
    }

    async fn run(mut self) {
        let [ours, theirs] = Group::ALL.map(|group| objects(&self.core, group));
        let mut objects = stream::select(ours, theirs);
        let mut statuses = self.core.feed.watch();
        loop {
            tokio::select! {
                Some((group, told)) = objects.next() => self.told(group, told),
                Some(event) = statuses.next() => self.seen(&event),
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a worker of an object ended");
                    }
                }
                else => return,
            }
        }
    }

    /// Takes in what the API server tells of the objects.
    fn told(&mut self, group: Group, told: Told<DynamicObject>) {
        match told {
            Told::Init => {
                self.listed.insert(group, HashSet::new());
            }
            Told::InitApply(object) => {
                if let Some(key) = key(&object) {
                    self.listed.entry(group).or_default().insert(key);
                }
                self.changed(group, object);
            }
            Told::InitDone => {
                let listed = self.listed.remove(&group).unwrap_or_default();
                self.workers.retain(|(of, key), _| *of != group || listed.contains(key));
            }
            Told::Apply(object) => self.changed(group, object),
            Told::Delete(object) => {
                if let Some(key) = key(&object) {
                    self.workers.remove(&(group, key));
                }
            }
        }
    }

    /// Wakes the worker of an object, or makes it.
    fn changed(&mut self, group: Group, object: DynamicObject) {
        let Some(key) = key(&object) else { return };
        let object = Arc::new(object);
        let id = (group, key.clone());
        match self.workers.get(&id) {
            Some(worker) if !worker.is_closed() => {
                worker.send_replace(object);
            }
            _ => {
                let (sender, receiver) = watch::channel(object);
                let worker = Worker::new(self.core.clone(), (group, key), self.leader.clone());
                self.tasks.spawn(worker.run(receiver, self.turns.clone()));
                self.workers.insert(id, sender);
            }
        }
    }

    /// Wakes the workers of a function whose status has changed.
    fn seen(&self, event: &Event) {
        match event {
            Event::Reset(_) => self.workers.values().for_each(wake),
            Event::Changed(status) => status.name().iter().for_each(|name| self.wake(name)),
            Event::Gone(name) => self.wake(name),
        }
    }

    fn wake(&self, name: &Name) {
        let Ok(key) = self.core.key(name) else { return };
        let of = |group| self.workers.get(&(group, key.clone()));
        Group::ALL.into_iter().filter_map(of).for_each(wake);
    }
}

/// Lets a worker look again at the object that it has.
fn wake(worker: &watch::Sender<Arc<DynamicObject>>) {
    worker.send_modify(|_| ());
}

fn key(object: &DynamicObject) -> Option<Key> {
    let metadata = &object.metadata;
    Some(Key { namespace: metadata.namespace.clone()?, function: metadata.name.clone()? })
}

/// What the API server tells of a group's objects, for good.
fn objects(core: &Core, group: Group) -> BoxStream<'static, (Group, Told<DynamicObject>)> {
    let namespace = core.scope.function_namespace.as_str();
    let api = group.api(&core.client, (!core.scope.cluster_wide).then_some(namespace));
    let config = watcher::Config { timeout: Some(WATCH_SECONDS), ..watcher::Config::default() };
    let told = watcher(api, config);
    stream::unfold((told.boxed(), FIRST_PAUSE), move |(mut told, mut pause)| async move {
        loop {
            match told.next().await? {
                Ok(event) => return Some(((group, event), (told, FIRST_PAUSE))),
                Err(error) if not_served(&error) => sleep(jitter(INSTALL_CHECK)).await,
                Err(error) => {
                    let kind = group.what("");
                    tracing::warn!(%kind, %error, "the API server does not tell of changes");
                    sleep(jitter(pause)).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                }
            }
        }
    })
    .boxed()
}

fn not_served(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => is_not_served(error),
        _ => false,
    }
}
