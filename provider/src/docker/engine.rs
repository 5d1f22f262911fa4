//! Docker's engine as the replicas' core sees it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures_util::future;
use futures_util::stream::{BoxStream, StreamExt};
use jiff::Timestamp;

use super::api::{Api, BACKEND, error, refused};
use super::image::{Images, with_tag};
use super::labels::{REMOVED_SUFFIX, replica_of};
use super::logs;
use super::network::Network;
use super::node::Node;
use super::render::{self, Placement};
use super::usage;
use crate::bundle::Reference;
use crate::replicas::engine::{Blueprint, Create, Engine, Happening, What};
use crate::replicas::logs::{Range, Source};
use crate::replicas::seen::Seen;
use crate::replicas::usage::Running;
use crate::{Error, Function, LogLine, Result, Usage};

/// The events that change what is known of a container.
const EVENTS: [&str; 8] = ["start", "die", "oom", "stop", "destroy", "pause", "unpause", "rename"];

/// Containers of one engine on one network.
pub struct DockerEngine {
    pub(super) api: Api,
    pub(super) network: Network,
    pub(super) images: Images,
    pub(super) node: Mutex<Node>,
    pub(super) cgroups: PathBuf,
}

impl DockerEngine {
    fn node(&self) -> Node {
        self.node.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn create_container(&self, new: &Blueprint<'_>) -> Result<Seen, Create> {
        let place = Placement {
            replica: new.replica,
            image: new.image.to_owned(),
            network: &self.api.network,
            gateway: self.network.ensure(&self.api).await.map_err(Create::Other)?,
            files: new.files,
            bound_logs: self.node().bound_logs,
            stop_timeout: new.stop_timeout,
        };
        let body = render::container(new.deploy, &place).map_err(Create::Other)?;
        self.api.create(new.replica, body).await?;
        let seen = self.api.inspect(new.replica).await.map_err(Create::Other)?;
        seen.ok_or_else(|| Create::Other(refused("the new container is gone")))
    }
}

#[async_trait]
impl Engine for DockerEngine {
    fn name(&self) -> &'static str {
        BACKEND
    }

    async fn ping(&self) -> Result<()> {
        self.api.ping().await
    }

    fn check(&self, function: &Function) -> Result<()> {
        if Reference::from_image(&function.image)?.is_some() {
            let reason = "this gateway runs images, not bundles: build one with \
                          `faas up --provider docker`, or start the gateway with --provider process";
            return Err(Error::invalid("image", reason));
        }
        self.node().check(function)
    }

    async fn fetch(&self, function: &Function) -> Result<String> {
        self.images.ensure(function).await?;
        Ok(with_tag(&function.image))
    }

    async fn create(&self, new: &Blueprint<'_>) -> Result<Seen, Create> {
        self.create_container(new).await
    }

    async fn start(&self, id: &str) -> Result<()> {
        match self.api.start(id).await {
            // Its network was pruned while nothing ran on it.
            Err(Error::Backend { reason, .. }) if reason.contains("network") => {
                self.network.ensure(&self.api).await?;
                self.api.start(id).await
            }
            started => started,
        }
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<()> {
        self.api.stop(id, grace).await
    }

    async fn remove(&self, id: &str) -> Result<()> {
        self.api.remove(id).await
    }

    async fn mark_removed(&self, id: &str, replica: &str) -> Result<()> {
        self.api.rename(id, format!("{replica}{REMOVED_SUFFIX}")).await
    }

    async fn pause(&self, id: &str) -> Result<()> {
        self.api.pause(id).await
    }

    async fn unpause(&self, id: &str) -> Result<()> {
        self.api.unpause(id).await
    }

    async fn inspect(&self, id: &str) -> Result<Option<Seen>> {
        self.api.inspect(id).await
    }

    /// Every container of ours; the machine may have changed too.
    async fn list(&self) -> Result<Vec<Seen>> {
        let node = Node::new(self.api.info().await?);
        *self.node.lock().unwrap_or_else(PoisonError::into_inner) = node;
        self.api.list().await
    }

    fn events(&self, since: Timestamp) -> BoxStream<'static, Result<Happening>> {
        let mut filters = self.api.ours();
        filters.insert("type".to_owned(), vec!["container".to_owned()]);
        filters.insert("event".to_owned(), EVENTS.map(str::to_owned).to_vec());
        let since = format!("{}.{:09}", since.as_second(), since.subsec_nanosecond());
        let options = EventsOptions { since: Some(since), until: None, filters: Some(filters) };
        let events = self.api.docker.events(Some(options));
        let ours = |event: Result<EventMessage, _>| match event {
            Ok(event) => happening(event).map(Ok),
            Err(e) => Some(Err(error(e))),
        };
        events.filter_map(move |event| future::ready(ours(event))).boxed()
    }

    fn log_lines(&self, source: Source, range: Range) -> BoxStream<'static, Result<LogLine>> {
        logs::lines(self.api.docker.clone(), source, range)
    }

    async fn usage(&self, running: Vec<Running>) -> Result<Vec<Usage>> {
        usage::of(&self.api, &self.cgroups, running).await
    }

    async fn tidy(&self) -> Result<()> {
        self.network.remove_unused(&self.api).await
    }
}

/// What an event says; `None` when it is not of a replica.
fn happening(event: EventMessage) -> Option<Happening> {
    let attributes = event.actor.and_then(|actor| actor.attributes).unwrap_or_default();
    let (name, replica) = replica_of(&attributes)?;
    let what = match event.action.as_deref() {
        Some("die") => What::Exited(exit_code(&attributes)),
        Some("oom") => What::RanOutOfMemory,
        _ => What::Changed,
    };
    Some(Happening { name, replica, what })
}

fn exit_code(attributes: &HashMap<String, String>) -> i64 {
    attributes.get("exitCode").and_then(|code| code.parse().ok()).unwrap_or(0)
}
