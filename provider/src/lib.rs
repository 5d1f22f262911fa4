//! What Flint calls a function, what is seen of it, and the places it can run.
//!
//! Without features this crate is vocabulary only and does no IO. The backends stand behind the
//! features `docker`, `kubernetes`, `process` and, for tests, `fake`.

pub mod bundle;
pub mod confine;
#[cfg(any(feature = "replicas", feature = "kubernetes"))]
mod constraint;
mod duration;
mod error;
#[cfg(any(feature = "replicas", feature = "kubernetes", feature = "fake"))]
mod feed;
mod function;
mod inflight;
mod json;
mod leadership;
mod limits;
#[cfg(any(feature = "replicas", feature = "kubernetes"))]
mod locks;
mod log;
#[cfg(any(feature = "replicas", feature = "kubernetes"))]
mod merge;
mod name;
mod namespace;
#[cfg(any(feature = "replicas", feature = "kubernetes"))]
mod probe;
#[cfg(feature = "programs")]
pub mod programs;
mod pull;
mod quantity;
mod rate;
mod scale;
mod schedule;
mod secret;
mod status;
mod usage;
#[cfg(any(feature = "replicas", feature = "kubernetes"))]
mod words;

#[cfg(feature = "replicas")]
mod replicas;

#[cfg(feature = "docker")]
pub mod docker;
#[cfg(feature = "fake")]
pub mod fake;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
#[cfg(feature = "process")]
pub mod process;

use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

pub use duration::{format_duration, parse_duration};
pub use error::{Error, Result};
pub use function::{Function, Resources, annotation, label};
pub use inflight::{Calls, Counter, Slot};
pub use json::from_json;
pub use leadership::Leadership;
pub use log::{LogLine, LogQuery};
pub use name::{DEFAULT_NAMESPACE, Name, is_dns_label};
pub use namespace::{Namespace, Namespaces};
pub use pull::PullPolicy;
pub use quantity::{parse_bytes, parse_millicores};
pub use rate::Rate;
pub use scale::{Measure, Scale, Target};
pub use schedule::Schedule;
pub use secret::{Secret, Secrets};
pub use status::{Address, Replica, State, Status};
pub use usage::Usage;

/// A future that a provider hands out to be awaited elsewhere.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What changed at a provider.
#[derive(Clone, Debug)]
pub enum Event {
    /// Everything there is; sent first, and again whenever the provider may have missed a change.
    Reset(Vec<Status>),
    /// One function was added or changed.
    Changed(Box<Status>),
    /// One function is gone.
    Gone(Name),
}

/// What a provider says of itself (contract 1.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Name of the provider, such as `flint-docker`.
    pub provider: &'static str,
    /// What runs the containers or processes, such as `docker`.
    pub orchestration: &'static str,
    /// Whether replicas can be frozen: kept in memory without processor time.
    pub freezes: bool,
}

/// A place where functions run.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Makes the function be there as described, however it was before.
    ///
    /// Returns when the wish is durable and its first status is known; an update goes on in the
    /// background, and what becomes of it is told through [`Provider::watch`].
    async fn apply(&self, function: &Function) -> Result<Status>;

    /// Removes the function and everything that belongs to it.
    async fn remove(&self, name: &Name) -> Result<()>;

    /// Changes how many replicas run.
    async fn scale(&self, name: &Name, to: Target) -> Result<()>;

    /// Everything that runs now, then every change.
    fn watch(&self) -> BoxStream<'static, Event>;

    /// Log lines of a function's replicas.
    async fn logs(&self, query: LogQuery) -> Result<BoxStream<'static, Result<LogLine>>>;

    /// What every replica that is in memory uses; those that have just ended are left out.
    ///
    /// It reads a few files a replica: ask every few seconds, and not on each call.
    async fn usage(&self) -> Result<Vec<Usage>>;

    /// The secrets that functions can mount.
    fn secrets(&self) -> &dyn Secrets;

    /// The namespaces, where the backend has them.
    fn namespaces(&self) -> Option<&dyn Namespaces>;

    /// What this provider is.
    fn info(&self) -> Info;

    /// Whether the backend answers.
    async fn health(&self) -> Result<()>;
}
