//! What cases are written with: a backend under test, and a watcher of its events.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use libtest_mimic::Failed;
use provider::{
    Address, Calls, Event, Function, Name, Namespaces, Provider, State, Status, Target,
};

use crate::engine::get;
use crate::{cases, lifecycle};

/// Longest wait for anything. Reached only when something is broken: a kubelet looks once a minute at pods of which nothing runs.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longest that one case may take.
const CASE_LIMIT: Duration = Duration::from_secs(300);

/// A provider under test, and what differs between them.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    fn provider(&self) -> Arc<dyn Provider>;
    fn calls(&self) -> Calls;
    /// A function that is ready at once; its log begins with `hello from <version>`.
    fn good(&self, name: &str, version: &str) -> Function;
    /// A function that gets ready when [`Backend::release`] says so.
    async fn apply_held(&self, name: &str, version: &str) -> Status;
    async fn release(&self, name: &Name);
    /// Makes one replica write a line to its log.
    async fn say(&self, status: &Status, instance: &str, text: &str);
    /// What is still there of anything that was deployed.
    async fn leftovers(&self) -> Vec<String>;
    /// Whether the replicas that serve change all at once and in one event: where something else
    /// starts and stops them, it does that one by one.
    fn moves_at_once(&self) -> bool {
        true
    }
    /// Whether namespaces carry labels and annotations of the backend's own beside those given.
    fn marks_namespaces(&self) -> bool {
        false
    }
    /// What a namespace of this name is called here: where others have namespaces too, it is one
    /// that only this test has.
    fn namespace(&self, name: &str) -> String {
        name.to_owned()
    }
}

pub(crate) type CaseFuture = Pin<Box<dyn Future<Output = ()> + Send>>;
pub(crate) type Case = fn(Arc<dyn Backend>) -> CaseFuture;

macro_rules! list {
    ($($module:ident::$case:ident),* $(,)?) => {
        vec![$((stringify!($case), (|backend| Box::pin($module::$case(backend))) as Case)),*]
    };
}

/// The cases that every provider must pass whose replicas can be frozen.
pub(crate) fn all_cases() -> Vec<(&'static str, Case)> {
    let mut all = cases();
    all.extend(list![
        lifecycle::frozen_and_back,
        lifecycle::all_is_frozen_or_nothing_and_all_comes_back,
        lifecycle::what_is_frozen_is_updated_and_removed,
    ]);
    all
}

/// The cases that every provider must pass.
pub(crate) fn cases() -> Vec<(&'static str, Case)> {
    list![
        lifecycle::a_deploy_is_seen_and_becomes_ready,
        lifecycle::an_update_is_never_without_a_ready_replica,
        lifecycle::an_update_waits_for_calls_in_flight,
        lifecycle::a_newer_deploy_replaces_one_that_is_not_ready,
        lifecycle::scaling_adds_and_drains_replicas,
        lifecycle::zero_keeps_the_function_and_back,
        lifecycle::removal_leaves_nothing,
        lifecycle::namespaces_keep_functions_apart,
        cases::what_is_not_there_is_not_found,
        cases::bad_input_is_named_and_leaves_nothing,
        cases::secrets_go_in_and_never_out,
        cases::namespaces_come_and_go,
        cases::logs_by_tail_since_and_instance,
        cases::logs_follow_replicas_that_start_later,
    ]
}

/// Runs a case on its own runtime, within its time.
pub(crate) fn run(case: impl Future<Output = ()>) -> Result<(), Failed> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().map_err(|e| e.to_string())?;
    let ended = runtime.block_on(async { tokio::time::timeout(CASE_LIMIT, case).await });
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended.map_err(|_| Failed::from("the case did not end in time"))
}

/// Whatever is awaited must come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain: {what}"),
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Keeps what a provider tells, as the gateway's directory does, and all that it ever told.
pub(crate) struct Watcher {
    events: BoxStream<'static, Event>,
    pub(crate) now: BTreeMap<Name, Status>,
    pub(crate) resets: usize,
    pub(crate) told: Vec<Status>,
}

impl Watcher {
    pub(crate) async fn new(provider: &Arc<dyn Provider>) -> Self {
        let now = BTreeMap::new();
        let mut watcher = Self { events: provider.watch(), now, resets: 0, told: Vec::new() };
        watcher.step().await;
        assert_eq!(watcher.resets, 1, "everything there is comes first");
        watcher
    }

    /// Takes in one event.
    pub(crate) async fn step(&mut self) {
        let told = self.told.last().map(|s| (&s.reason, &s.replicas));
        let what = format!("an event; the last one: {told:?}");
        match soon(&what, self.events.next()).await.expect("the stream goes on") {
            Event::Reset(all) => {
                self.resets += 1;
                self.now = all.into_iter().map(|s| (s.name().unwrap(), s)).collect();
            }
            Event::Changed(status) => {
                self.told.push((*status).clone());
                self.now.insert(status.name().unwrap(), *status);
            }
            Event::Gone(name) => {
                self.now.remove(&name);
            }
        }
    }

    /// Waits until a function's status is so.
    pub(crate) async fn until(&mut self, name: &Name, so: impl Fn(&Status) -> bool) -> Status {
        loop {
            if let Some(status) = self.now.get(name).filter(|status| so(status)) {
                return status.clone();
            }
            self.step().await;
        }
    }

    /// Waits until a function has so many replicas ready, all wanted, and nothing else.
    pub(crate) async fn settled(&mut self, name: &Name, count: usize) -> Status {
        self.until(name, |s| {
            s.is_settled() && s.ready().count() == count && s.desired as usize == count
        })
        .await
    }

    pub(crate) async fn until_gone(&mut self, name: &Name) {
        while self.now.contains_key(name) {
            self.step().await;
        }
    }
}

/// Deploys a function and waits until it is ready.
pub(crate) async fn deploy(
    backend: &dyn Backend,
    watcher: &mut Watcher,
    function: &Function,
) -> Status {
    let name = function.name().unwrap();
    let status = backend.provider().apply(function).await.unwrap();
    watcher
        .until(&name, |s| s.generation == status.generation && s.is_settled() && s.desired > 0)
        .await
}

pub(crate) async fn scale(backend: &dyn Backend, name: &Name, count: u32) {
    backend.provider().scale(name, Target::Replicas(count)).await.unwrap();
}

pub(crate) fn in_state(status: &Status, state: State) -> usize {
    status.replicas.iter().filter(|r| r.state == state).count()
}

pub(crate) fn address(status: &Status) -> Address {
    status.ready().next().expect("a ready replica").address.clone().expect("with an address")
}

pub(crate) fn namespaces(provider: &dyn Provider) -> &dyn Namespaces {
    provider.namespaces().expect("namespaces")
}

/// What a replica uses grows while it works, begins anew with it, and ends with it. Not for the fake,
/// which uses what a test says.
pub(crate) async fn usage_is_told(backend: &dyn Backend, watcher: &mut Watcher) {
    let (provider, echo) = (backend.provider(), name("echo"));
    let status = deploy(backend, watcher, &backend.good("echo", "v1")).await;
    let only = async || {
        let used = provider.usage().await.unwrap();
        assert_eq!(used.len(), 1, "{used:?}");
        used.into_iter().next().unwrap()
    };
    let first = only().await;
    assert_eq!((&first.name, &first.replica), (&echo, &status.replicas[0].id));
    assert!(first.memory_bytes > 64 << 10, "{first:?}");
    assert!(first.memory_peak_bytes.is_none_or(|peak| peak > 64 << 10), "{first:?}");
    while only().await.cpu_seconds < first.cpu_seconds + 0.01 {
        get(&address(&status), "/").await;
    }
    assert_eq!(only().await.run, first.run);
    scale(backend, &echo, 2).await;
    watcher.until(&echo, |s| s.ready().count() == 2).await;
    assert_eq!(provider.usage().await.unwrap().len(), 2);
    get(&address(&status), "/exit").await;
    let id = &status.replicas[0].id;
    watcher.until(&echo, |s| s.ready().any(|r| r.id == *id && r.restarts == 1)).await;
    let again = provider.usage().await.unwrap().into_iter().find(|used| used.replica == *id);
    assert_ne!(again.unwrap().run, first.run);
    provider.remove(&echo).await.unwrap();
    watcher.until_gone(&echo).await;
    assert!(provider.usage().await.unwrap().is_empty());
}
