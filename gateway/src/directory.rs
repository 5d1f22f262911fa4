//! What runs now: kept whole from the provider's events by one writer, read without locks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use provider::{
    Address, Calls, DEFAULT_NAMESPACE, Event, Function, Name, Rate, Replica, Scale, State, Status,
};
use relay::Target;
use rustc_hash::FxHashMap;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::balance::{self, Endpoint, Look, Pick, Slots};
use crate::limits::Bucket;
use crate::metrics::{FunctionMetrics, Metrics, Step};
use crate::queue::Queue;
use crate::scaling::Journal;

/// Most calls of one function that wait for a slot, when its annotation does not say.
const MAX_QUEUE: usize = 1000;

/// All functions, by `fn.ns` and, in the default namespace, by `fn` too.
pub struct Directory {
    functions: ArcSwap<FxHashMap<Box<str>, Arc<Entry>>>,
    /// Held by whoever writes; also what keeps removed functions from coming back.
    writer: Mutex<HashMap<Name, u64>>,
    synced: watch::Sender<bool>,
    calls: Calls,
    metrics: Metrics,
    default_timeout: Duration,
}

/// One function as it is now. Entries never change; a newer one takes the place.
pub struct Entry {
    /// Its name.
    pub name: Name,
    /// `fn.ns`, as metrics and logs show it.
    pub label: Arc<str>,
    /// What the provider said.
    pub status: Status,
    /// How its labels want it to be scaled.
    pub scale: Scale,
    /// The longest that one of its calls may take.
    pub timeout: Duration,
    /// Most calls that wait for a slot when all replicas are busy.
    pub max_queue: usize,
    /// Most calls in a time, if that is limited.
    pub rate: Option<Rate>,
    /// What outlives a change: its series, and who waits for one.
    pub live: Arc<Live>,
    endpoints: Vec<Endpoint>,
}

/// What a function keeps from one entry to the next.
pub struct Live {
    /// Its series.
    pub metrics: FunctionMetrics,
    /// Sent to on every change.
    pub changed: watch::Sender<()>,
    /// Calls that wait for a replica.
    pub queue: Queue,
    /// What it has left of the calls that its rate allows.
    pub calls: Bucket,
    /// The last decisions about how many replicas it has.
    pub journal: Journal,
    /// When it was last seen to have a replica that takes calls.
    last_ready: Mutex<Option<Instant>>,
}

impl Directory {
    /// An empty one.
    pub fn new(calls: Calls, metrics: Metrics, default_timeout: Duration) -> Self {
        Self {
            functions: ArcSwap::default(),
            writer: Mutex::default(),
            synced: watch::Sender::new(false),
            calls,
            metrics,
            default_timeout,
        }
    }

    /// Takes in the provider's events until they end.
    pub async fn follow(&self, mut events: BoxStream<'static, Event>) {
        while let Some(event) = events.next().await {
            match event {
                Event::Reset(all) => self.reset(all),
                Event::Changed(status) => self.changed(*status),
                Event::Gone(name) => self.gone(&name),
            }
        }
        tracing::error!("the provider's events have ended");
    }

    /// Whether the provider's functions are known.
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Returns when the provider's functions are known.
    pub async fn synced(&self) {
        // The sender lives as long as this does, so that the only outcome is that it is true.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// A function by `fn` or `fn.ns`.
    pub fn get(&self, name: &str) -> Option<Arc<Entry>> {
        self.functions.load().get(name).cloned()
    }

    /// A function by its name.
    pub fn find(&self, name: &Name) -> Option<Arc<Entry>> {
        self.get(&name.to_string())
    }

    /// The functions of a namespace, sorted by name.
    pub fn list(&self, namespace: &str) -> Vec<Arc<Entry>> {
        let functions = self.functions.load();
        let mut list: Vec<_> = functions
            .iter()
            .filter(|(key, entry)| key.contains('.') && entry.name.namespace() == namespace)
            .map(|(_, entry)| entry.clone())
            .collect();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list
    }

    /// All functions, in no order.
    pub fn all(&self) -> Vec<Arc<Entry>> {
        let functions = self.functions.load();
        let once = functions.iter().filter(|(key, _)| key.contains('.'));
        once.map(|(_, entry)| entry.clone()).collect()
    }

    /// Takes in what a deploy returned, unless the events have told as much already.
    pub fn deployed(&self, status: Status) {
        let Some(name) = status.name() else { return };
        let mut removed = self.lock();
        removed.remove(&name);
        if self.find(&name).is_none_or(|known| known.status.generation < status.generation) {
            self.put(name, status);
        }
    }

    /// Drops a function whose removal was asked for, before the events tell.
    pub fn removed(&self, name: &Name) {
        let mut removed = self.lock();
        if let Some(entry) = self.find(name) {
            removed.insert(name.clone(), entry.status.generation);
        }
        self.drop_entry(name);
    }

    fn reset(&self, all: Vec<Status>) {
        let mut removed = self.lock();
        removed.clear();
        let names: Vec<Name> = all.iter().filter_map(Status::name).collect();
        let known: Vec<Name> = self.functions.load().values().map(|e| e.name.clone()).collect();
        for name in known.iter().filter(|name| !names.contains(name)) {
            self.drop_entry(name);
        }
        for status in all {
            if let Some(name) = status.name() {
                self.put(name, status);
            }
        }
        self.synced.send_replace(true);
    }

    fn changed(&self, status: Status) {
        let Some(name) = status.name() else { return };
        let removed = self.lock();
        let is_removed = removed.get(&name).is_some_and(|last| status.generation <= *last);
        let is_old =
            self.find(&name).is_some_and(|known| status.generation < known.status.generation);
        if !is_removed && !is_old {
            self.put(name, status);
        }
    }

    fn gone(&self, name: &Name) {
        self.lock().remove(name);
        self.drop_entry(name);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Name, u64>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, name: Name, status: Status) {
        let entry = Arc::new(self.entry(self.find(&name).as_deref(), name, status));
        entry.live.metrics.starts.seen(entry.status.desired, entry.ready());
        self.functions.rcu(|functions| {
            let mut functions = FxHashMap::clone(functions);
            for key in keys(&entry.name) {
                functions.insert(key, entry.clone());
            }
            functions
        });
        entry.live.changed.send_replace(());
    }

    fn drop_entry(&self, name: &Name) {
        let Some(entry) = self.find(name) else { return };
        self.functions.rcu(|functions| {
            let mut functions = FxHashMap::clone(functions);
            for key in keys(name) {
                functions.remove(&key);
            }
            functions
        });
        entry.live.metrics.forget();
        for replica in &entry.status.replicas {
            self.calls.forget(&replica.id);
        }
        entry.live.changed.send_replace(());
    }

    fn entry(&self, known: Option<&Entry>, name: Name, status: Status) -> Entry {
        let live = match known {
            Some(known) => known.live.clone(),
            None => Arc::new(Live::new(&name, &self.metrics)),
        };
        let function = &status.function;
        let max_inflight = function.max_inflight().ok().flatten().map_or(u64::MAX, u64::from);
        let health = |id: &str| {
            let mut endpoints = known.iter().flat_map(|known| &known.endpoints);
            endpoints.find(|e| &*e.replica == id).map(|e| e.health.clone()).unwrap_or_default()
        };
        let endpoint = |replica: &Replica| {
            let place = (replica.id.as_str(), target(replica)?);
            let counter = self.calls.counter(&replica.id);
            Some(Endpoint::new(place, counter, health(&replica.id), max_inflight))
        };
        let endpoints: Vec<_> = status.ready().filter_map(endpoint).collect();
        if !endpoints.is_empty() || known.is_some_and(|known| known.ready() > 0) {
            live.is_ready();
        } else if status.desired == 0 {
            live.is_at_rest();
        }
        Entry {
            label: name.to_string().into(),
            name,
            timeout: timeout_of(function).unwrap_or(self.default_timeout),
            max_queue: max_queue_of(function),
            rate: function.rate_limit().ok().flatten(),
            scale: scale_of(function),
            status,
            live,
            endpoints,
        }
    }
}

fn target(replica: &Replica) -> Option<Target> {
    Some(match replica.address.as_ref()? {
        Address::Tcp(address) => Target::Tcp(*address),
        Address::Unix(path) => Target::unix(path),
    })
}

fn max_queue_of(function: &Function) -> usize {
    let most = function.max_queue().ok().flatten();
    most.and_then(|most| usize::try_from(most).ok()).unwrap_or(MAX_QUEUE)
}

/// Labels are checked before a deploy; what an older gateway took may not pass today.
fn scale_of(function: &Function) -> Scale {
    function.scale().unwrap_or_else(|error| {
        tracing::warn!(function = function.service, %error, "scaled as if it had no labels");
        Scale::default()
    })
}

fn timeout_of(function: &Function) -> Option<Duration> {
    function.timeout().ok().flatten()
}

fn keys(name: &Name) -> impl Iterator<Item = Box<str>> {
    let short = (name.namespace() == DEFAULT_NAMESPACE).then(|| name.function().into());
    std::iter::once(name.to_string().into_boxed_str()).chain(short)
}

impl Live {
    fn new(name: &Name, metrics: &Metrics) -> Self {
        let metrics = metrics.function(&name.to_string());
        let queue = Queue::new(metrics.waiting.clone(), metrics.held.clone());
        let (journal, last_ready) = Default::default();
        let (changed, calls) = (watch::Sender::new(()), Bucket::default());
        Self { metrics, changed, queue, calls, journal, last_ready }
    }

    fn is_ready(&self) {
        let mut last = self.last_ready.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(Instant::now());
    }

    /// How well it did before it went to sleep says nothing about its next start.
    fn is_at_rest(&self) {
        *self.last_ready.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether it had a replica that took calls not longer ago than this.
    pub fn was_ready_within(&self, time: Duration) -> bool {
        let last = *self.last_ready.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() <= time)
    }
}

impl Entry {
    /// Takes a slot on a replica.
    pub fn pick(&self, look: Look<'_>) -> Pick<'_> {
        balance::pick(&self.endpoints, look)
    }

    /// How many replicas take calls.
    pub fn ready(&self) -> usize {
        self.endpoints.len()
    }

    /// Whether it sleeps: nothing runs, nothing is wanted to.
    pub fn is_asleep(&self) -> bool {
        (self.endpoints.is_empty() && self.status.desired == 0) || self.is_frozen()
    }

    /// Whether replicas of it are in memory and none takes calls.
    pub fn is_frozen(&self) -> bool {
        let frozen = |r: &Replica| r.state == State::Frozen;
        self.endpoints.is_empty() && self.status.replicas.iter().any(frozen)
    }

    /// How a start begins that is to lead to so many replicas; `None` when there are as many.
    pub fn step_to(&self, replicas: u32) -> Option<Step> {
        let has = |state: State| self.status.replicas.iter().any(|r| r.state == state);
        match self.ready() {
            ready if ready >= replicas as usize => None,
            _ if has(State::Frozen) => Some(Step::Thaw),
            0 if has(State::Stopped) => Some(Step::Start),
            _ => Some(Step::Create),
        }
    }

    /// How many of the calls that its replicas take they have.
    pub fn slots(&self) -> Slots {
        balance::slots(&self.endpoints)
    }
}

#[cfg(test)]
mod tests {
    use provider::Slot;

    use super::*;

    fn status(name: &str, generation: u64, replicas: &[(&str, State)]) -> Status {
        let body = format!(r#"{{"service":"{name}","image":"i"}}"#);
        let replica = |(id, state): &(&str, State)| Replica {
            id: (*id).to_owned(),
            address: Some(Address::Tcp(([127, 0, 0, 1], 9).into())),
            state: *state,
            generation,
            restarts: 0,
            last_exit: String::new(),
            trouble: String::new(),
        };
        Status {
            function: Function::from_json(body.as_bytes()).unwrap(),
            desired: replicas.len() as u32,
            replicas: replicas.iter().map(replica).collect(),
            generation,
            created_at: jiff::Timestamp::UNIX_EPOCH,
            reason: String::new(),
            warnings: Vec::new(),
        }
    }

    fn picked(entry: &Entry, dice: usize, tried: &[Arc<str>]) -> Option<(Arc<str>, Slot)> {
        match entry.pick(Look { dice, tried, now: Instant::now() }) {
            Pick::Taken(endpoint, slot) => Some((endpoint.replica.clone(), slot)),
            Pick::Busy | Pick::None => None,
        }
    }

    #[test]
    fn what_calls_have_shown_of_a_replica_outlives_a_change() {
        let directory = directory();
        directory.changed(status("echo", 1, &[("a", State::Ready)]));
        let health = |directory: &Directory| {
            let entry = directory.get("echo").unwrap();
            entry.endpoints[0].health.clone()
        };
        let before = health(&directory);
        directory.changed(status("echo", 1, &[("a", State::Ready), ("b", State::Ready)]));
        assert!(Arc::ptr_eq(&before, &health(&directory)));
        assert!(directory.get("echo").unwrap().live.was_ready_within(Duration::from_secs(60)));
    }

    fn directory() -> Directory {
        let metrics = Metrics::new().unwrap();
        Directory::new(Calls::default(), metrics, Duration::from_secs(60))
    }

    #[test]
    fn a_function_of_the_default_namespace_has_two_names() {
        let directory = directory();
        directory.changed(status("echo", 1, &[]));
        assert!(directory.get("echo").is_some() && directory.get("echo.openfaas-fn").is_some());
        assert!(directory.get("echo.other").is_none());
        assert_eq!(directory.list(DEFAULT_NAMESPACE).len(), 1);
        directory.gone(&Name::parse("echo").unwrap());
        assert!(directory.get("echo").is_none() && directory.get("echo.openfaas-fn").is_none());
    }

    #[test]
    fn only_ready_replicas_are_picked_and_the_less_busy_first() {
        let directory = directory();
        let replicas = [("a", State::Ready), ("b", State::Ready), ("c", State::Draining)];
        directory.changed(status("echo", 1, &replicas));
        let entry = directory.get("echo").unwrap();
        let held: Vec<_> = (0..10).filter_map(|dice| picked(&entry, dice, &[])).collect();
        let of = |id: &str| held.iter().filter(|(replica, _)| &**replica == id).count();
        assert_eq!((of("a"), of("b"), of("c")), (5, 5, 0));
    }

    #[tokio::test]
    async fn a_draining_replica_is_left_out_even_before_the_event() {
        let directory = directory();
        directory.changed(status("echo", 1, &[("a", State::Ready), ("b", State::Ready)]));
        directory.calls.drain("a", Duration::from_secs(9)).await;
        let entry = directory.get("echo").unwrap();
        for dice in 0..10 {
            assert_eq!(&*picked(&entry, dice, &[]).unwrap().0, "b");
        }
        assert!(picked(&entry, 0, &["b".into()]).is_none());
    }

    #[test]
    fn a_late_event_brings_no_removed_function_back() {
        let directory = directory();
        let name = Name::parse("echo").unwrap();
        directory.changed(status("echo", 1, &[]));
        directory.removed(&name);
        directory.changed(status("echo", 1, &[]));
        assert!(directory.find(&name).is_none());
        directory.deployed(status("echo", 2, &[]));
        assert!(directory.find(&name).is_some());
    }

    #[test]
    fn what_a_deploy_returned_does_not_undo_what_came_after() {
        let directory = directory();
        directory.changed(status("echo", 2, &[("a", State::Ready)]));
        directory.deployed(status("echo", 2, &[("a", State::Starting)]));
        assert!(picked(&directory.get("echo").unwrap(), 0, &[]).is_some());
        directory.changed(status("echo", 1, &[]));
        assert_eq!(directory.get("echo").unwrap().status.generation, 2);
    }

    #[test]
    fn a_reset_drops_what_is_not_in_it() {
        let directory = directory();
        assert!(!directory.is_synced());
        directory.changed(status("old", 1, &[]));
        directory.reset(vec![status("new", 1, &[])]);
        assert!(directory.is_synced());
        assert!(directory.get("old").is_none() && directory.get("new").is_some());
    }
}
