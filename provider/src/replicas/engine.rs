//! What the replicas' core asks of whatever runs them: a container engine, or processes.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use jiff::Timestamp;

use super::deploy::Deploy;
use super::files::ReplicaFiles;
use super::logs::{Range, Source};
use super::seen::Seen;
use super::usage::Running;
use crate::{Error, Function, LogLine, Name, Result, Usage};

/// What runs replicas. Each has an id of the engine's ([`Seen::id`]) and one of ours
/// ([`Seen::replica`]); the engine starts one that ends by itself again, later each time.
#[async_trait]
pub(crate) trait Engine: Send + Sync {
    /// Its name in errors.
    fn name(&self) -> &'static str;

    /// Whether it answers.
    async fn ping(&self) -> Result<()>;

    /// Whether the function can run here as it asks to. An error names the field.
    fn check(&self, function: &Function) -> Result<()>;

    /// Sees to it that what the function is made of is here, and returns what replicas are made
    /// from: the image's reference.
    async fn fetch(&self, function: &Function) -> Result<String>;

    /// Makes a replica that does not run yet.
    async fn create(&self, new: &Blueprint<'_>) -> Result<Seen, Create>;

    /// Starts a replica that does not run; returns when it runs, ready or not.
    async fn start(&self, id: &str) -> Result<()>;

    /// Tells a replica to end and kills it after the grace; returns when nothing of it runs. One
    /// that is gone or does not run is stopped.
    async fn stop(&self, id: &str, grace: Duration) -> Result<()>;

    /// Kills and removes a replica; one that is gone is removed.
    async fn remove(&self, id: &str) -> Result<()>;

    /// Remembers for good that the replica's function was removed ([`Seen::removed`]).
    async fn mark_removed(&self, id: &str, replica: &str) -> Result<()>;

    /// Takes the processor from a replica.
    async fn pause(&self, id: &str) -> Result<()>;

    /// Gives it back.
    async fn unpause(&self, id: &str) -> Result<()>;

    /// One replica by the engine's id or ours; `None` when it is gone.
    async fn inspect(&self, id: &str) -> Result<Option<Seen>>;

    /// Every replica of this gateway.
    async fn list(&self) -> Result<Vec<Seen>>;

    /// What happened since then, and what happens from now on. An error ends the stream.
    fn events(&self, since: Timestamp) -> BoxStream<'static, Result<Happening>>;

    /// One replica's lines, oldest first; those that follow end when it stops.
    fn log_lines(&self, source: Source, range: Range) -> BoxStream<'static, Result<LogLine>>;

    /// What these replicas use; those that have just ended are left out.
    async fn usage(&self, running: Vec<Running>) -> Result<Vec<Usage>>;

    /// Removes what no replica needs any more; called when there is none and none is made.
    async fn tidy(&self) -> Result<()>;

    /// Writes down that a replica which runs is to stop, once its calls have ended, or that it is
    /// not any more: a gateway may be killed before it stops it. An engine that cannot, need not.
    async fn note(&self, _id: &str, _to_stop: bool) -> Result<()> {
        Ok(())
    }

    /// Replicas that are there and cannot be taken over: what they have is not touched.
    fn left_alone(&self) -> HashSet<String> {
        HashSet::new()
    }

    /// Starts nothing any more by itself: this gateway ends, and another may take over. What runs
    /// goes on.
    fn close(&self) {}
}

/// What a new replica is made from.
pub(crate) struct Blueprint<'a> {
    /// What it is made for.
    pub(crate) deploy: &'a Deploy,
    /// Its id.
    pub(crate) replica: &'a str,
    /// What [`Engine::fetch`] returned, or the [`Seen::image`] of a replica that is like it.
    pub(crate) image: &'a str,
    /// Its own directories, which exist.
    pub(crate) files: &'a ReplicaFiles,
    /// How long whoever stops it should wait for it.
    pub(crate) stop_timeout: Duration,
}

/// Why a replica was not made.
#[derive(Debug)]
pub(crate) enum Create {
    /// Another has the name.
    NameTaken,
    /// What it is made from is not here any more; the engine's words.
    NoImage(String),
    /// Anything else.
    Other(Error),
}

/// Something that happened to a replica.
#[derive(Clone, Debug)]
pub(crate) struct Happening {
    /// Its function.
    pub(crate) name: Name,
    /// Our id of it.
    pub(crate) replica: String,
    /// What happened.
    pub(crate) what: What,
}

/// What can happen to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// It ended, with this exit code; above 128 it is the number of a signal.
    Exited(i64),
    /// The kernel killed something in it for want of memory.
    RanOutOfMemory,
    /// Something else that [`Engine::inspect`] shows.
    Changed,
}
