//! The calls to the engine that the rest makes, with their errors in our words.

use std::collections::HashMap;
use std::time::Duration;

use bollard::errors::Error as EngineError;
use bollard::models::{ContainerCreateBody, SystemInfo};
use bollard::query_parameters::{
    CreateContainerOptions, ListContainersOptions, RemoveContainerOptions, RenameContainerOptions,
    StopContainerOptions,
};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::labels::NETWORK;
use crate::replicas::engine::Create;
use crate::replicas::seen::Seen;
use crate::{Error, Result};

/// This backend's name in errors.
pub(super) const BACKEND: &str = "docker";
/// Longest that the engine may take to begin its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest that [`Api::ping`] waits.
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// Inspections under way at once when everything is listed.
const INSPECTIONS: usize = 16;

/// The engine, as one gateway sees it.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) docker: bollard::Docker,
    /// The network that marks what is ours.
    pub(super) network: String,
}

impl Api {
    /// Connects and agrees on a version of the protocol.
    pub(super) async fn connect(host: &str, network: &str) -> Result<Self> {
        let docker = bollard::Docker::connect_with_host(host).map_err(error)?;
        let docker =
            docker.with_timeout(ANSWER_TIMEOUT).negotiate_version().await.map_err(error)?;
        Ok(Self { docker, network: network.to_owned() })
    }

    /// Whether the engine answers.
    pub(super) async fn ping(&self) -> Result<()> {
        match tokio::time::timeout(PING_TIMEOUT, self.docker.ping()).await {
            Ok(answer) => answer.map(|_| ()).map_err(error),
            Err(_) => Err(unavailable(format!("no answer for {} s", PING_TIMEOUT.as_secs()))),
        }
    }

    /// What the engine says of itself and its machine.
    pub(super) async fn info(&self) -> Result<SystemInfo> {
        self.docker.info().await.map_err(error)
    }

    /// Every container of ours.
    pub(super) async fn list(&self) -> Result<Vec<Seen>> {
        let options =
            ListContainersOptions { all: true, filters: Some(self.ours()), ..Default::default() };
        let listed = self.docker.list_containers(Some(options)).await.map_err(error)?;
        let ids = listed.into_iter().filter_map(|container| container.id);
        let inspected = stream::iter(ids.map(|id| async move { self.inspect(&id).await }));
        let seen: Vec<_> = inspected.buffer_unordered(INSPECTIONS).try_collect().await?;
        Ok(seen.into_iter().flatten().collect())
    }

    /// One container by name or id; `None` when it is gone or not ours.
    pub(super) async fn inspect(&self, container: &str) -> Result<Option<Seen>> {
        match self.docker.inspect_container(container, None).await {
            Ok(inspect) => Ok(Seen::from_inspect(inspect, &self.network)),
            Err(e) if is_status(&e, 404) => Ok(None),
            Err(e) => Err(error(e)),
        }
    }

    /// Makes a container. The engine's warnings are for its log, not for our callers.
    pub(super) async fn create(&self, name: &str, body: ContainerCreateBody) -> Result<(), Create> {
        let image = body.image.clone().unwrap_or_default();
        let options = CreateContainerOptions { name: Some(name.to_owned()), ..Default::default() };
        match self.docker.create_container(Some(options), body).await {
            Ok(made) => {
                made.warnings.iter().for_each(|text| tracing::debug!(name, text, "engine warns"));
                Ok(())
            }
            Err(e) if is_status(&e, 409) => Err(Create::NameTaken),
            Err(e) if is_missing_image(&e) => Err(Create::NoImage(message(e))),
            // Such as too little memory: whoever deploys can mend it.
            Err(e) if is_status(&e, 400) => Err(Create::Other(Error::invalid("body", message(e)))),
            Err(e) => {
                tracing::debug!(name, image, "container was not created");
                Err(Create::Other(error(e)))
            }
        }
    }

    pub(super) async fn start(&self, name: &str) -> Result<()> {
        self.docker.start_container(name, None).await.map_err(error)
    }

    /// Stops a container; one that is gone is stopped.
    pub(super) async fn stop(&self, name: &str, grace: Duration) -> Result<()> {
        let options = StopContainerOptions {
            t: Some(i32::try_from(grace.as_secs()).unwrap_or(i32::MAX)),
            signal: None,
        };
        let patient = self.docker.clone().with_timeout(ANSWER_TIMEOUT + grace);
        gone_is_fine(patient.stop_container(name, Some(options)).await)
    }

    /// Kills and removes a container; one that is gone is removed.
    pub(super) async fn remove(&self, name: &str) -> Result<()> {
        let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
        match self.docker.remove_container(name, Some(options)).await {
            // Somebody else removes it at this moment.
            Err(e) if is_status(&e, 409) => Ok(()),
            other => gone_is_fine(other),
        }
    }

    pub(super) async fn rename(&self, container: &str, name: String) -> Result<()> {
        gone_is_fine(self.docker.rename_container(container, RenameContainerOptions { name }).await)
    }

    pub(super) async fn pause(&self, name: &str) -> Result<()> {
        self.docker.pause_container(name).await.map_err(error)
    }

    pub(super) async fn unpause(&self, name: &str) -> Result<()> {
        self.docker.unpause_container(name).await.map_err(error)
    }

    /// The filter for what is ours.
    pub(super) fn ours(&self) -> HashMap<String, Vec<String>> {
        let label = format!("{NETWORK}={}", self.network);
        HashMap::from([("label".to_owned(), vec![label])])
    }
}

fn gone_is_fine(result: Result<(), EngineError>) -> Result<()> {
    match result {
        Err(e) if is_status(&e, 404) || is_status(&e, 304) => Ok(()),
        other => other.map_err(error),
    }
}

/// Whether the engine answered with this status.
pub(super) fn is_status(error: &EngineError, status: u16) -> bool {
    matches!(error, EngineError::DockerResponseServerError { status_code, .. } if *status_code == status)
}

fn is_missing_image(error: &EngineError) -> bool {
    is_status(error, 404) && error.to_string().to_lowercase().contains("no such image")
}

/// The engine's own words, without bollard's around them.
pub(super) fn message(error: EngineError) -> String {
    match error {
        EngineError::DockerResponseServerError { message, .. } => message,
        EngineError::DockerStreamError { error } => error,
        other => other.to_string(),
    }
}

/// An engine's error: it refused, or it does not answer.
pub(super) fn error(error: EngineError) -> Error {
    use EngineError as E;
    match error {
        E::DockerResponseServerError { .. } | E::DockerStreamError { .. } => {
            refused(message(error))
        }
        E::JsonDataError { .. } | E::JsonSerdeError { .. } | E::URLEncodedError { .. } => {
            refused(error.to_string())
        }
        other => unavailable(with_sources(&other)),
    }
}

/// An [`Error::Backend`] of this backend.
pub(super) fn refused(reason: impl Into<String>) -> Error {
    Error::Backend { backend: BACKEND, reason: reason.into() }
}

/// An [`Error::Unavailable`] of this backend.
pub(super) fn unavailable(reason: impl Into<String>) -> Error {
    Error::Unavailable { backend: BACKEND, reason: reason.into() }
}

/// An error and what caused it, without repeating words.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}
