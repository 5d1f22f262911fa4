//! A scripted provider in memory, for tests.
//!
//! It keeps the contract of [`Provider`]: an update serves from old replicas until new ones are
//! ready, a drain waits for calls, reads follow writes. What a real backend does by itself, a test
//! can do by hand: hold replicas in [`State::Starting`], crash them, fail the next operation.

mod replicas;
mod script;
mod stores;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use tokio::sync::broadcast;

use crate::feed::Feed;
use crate::{
    Address, Calls, Error, Event, Function, Info, LogLine, LogQuery, Name, Namespaces, Provider,
    Replica, Result, Secrets, State, Status, Target, Usage,
};
use stores::Stores;

/// Longest that a drain waits for calls.
const DRAIN: Duration = Duration::from_secs(30);

/// A provider in memory that does what a test tells it.
#[derive(Clone)]
pub struct Fake(Arc<Shared>);

struct Shared {
    feed: Arc<Feed>,
    calls: Calls,
    world: Mutex<World>,
    stores: Stores,
    logs: broadcast::Sender<LogLine>,
}

struct World {
    functions: BTreeMap<Name, Status>,
    lines: Vec<LogLine>,
    address: Address,
    held: bool,
    failure: Option<Error>,
    healthy: bool,
    scales: Vec<(Name, Target)>,
    counter: u64,
    usage: Vec<Usage>,
    freezes: bool,
}

impl Fake {
    /// A provider without functions, whose replicas answer at this address and are ready at once.
    pub fn new(address: Address, calls: Calls) -> Arc<Self> {
        let world = World {
            functions: BTreeMap::new(),
            lines: Vec::new(),
            address,
            held: false,
            failure: None,
            healthy: true,
            scales: Vec::new(),
            counter: 0,
            usage: Vec::new(),
            freezes: true,
        };
        let feed = Feed::new();
        Arc::new(Self(Arc::new(Shared {
            stores: Stores::new(feed.clone()),
            feed,
            calls,
            world: Mutex::new(world),
            logs: broadcast::Sender::new(1024),
        })))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error that a test asked for, or of a backend that is away.
    fn scripted_failure(&self) -> Result<()> {
        let mut world = self.world();
        if !world.healthy {
            return Err(Error::Unavailable { backend: "fake", reason: "as scripted".to_owned() });
        }
        world.failure.take().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Provider for Fake {
    async fn apply(&self, function: &Function) -> Result<Status> {
        self.scripted_failure()?;
        function.validate()?;
        let name = function.name()?;
        self.0.stores.check(function)?;
        self.deploy(&name, function)
    }

    async fn remove(&self, name: &Name) -> Result<()> {
        self.scripted_failure()?;
        let status = self.world().functions.remove(name);
        let status = status.ok_or_else(|| Error::NotFound(name.to_string()))?;
        self.0.feed.remove(name);
        for replica in status.replicas {
            self.0.calls.drain(&replica.id, DRAIN).await;
            self.0.calls.forget(&replica.id);
        }
        Ok(())
    }

    async fn scale(&self, name: &Name, to: Target) -> Result<()> {
        let done = self.scripted_failure().and_then(|()| self.rescale(name, to));
        // Last, so that whoever has seen it finds it done.
        self.world().scales.push((name.clone(), to));
        done
    }

    fn watch(&self) -> BoxStream<'static, Event> {
        self.0.feed.watch()
    }

    async fn logs(&self, query: LogQuery) -> Result<BoxStream<'static, Result<LogLine>>> {
        self.scripted_failure()?;
        self.read_logs(query)
    }

    async fn usage(&self) -> Result<Vec<Usage>> {
        self.health().await?;
        Ok(self.world().usage.clone())
    }

    fn secrets(&self) -> &dyn Secrets {
        &self.0.stores
    }

    fn namespaces(&self) -> Option<&dyn Namespaces> {
        Some(&self.0.stores)
    }

    fn info(&self) -> Info {
        Info { provider: "flint-fake", orchestration: "fake", freezes: self.world().freezes }
    }

    async fn health(&self) -> Result<()> {
        if self.world().healthy {
            return Ok(());
        }
        Err(Error::Unavailable { backend: "fake", reason: "as scripted".to_owned() })
    }
}
