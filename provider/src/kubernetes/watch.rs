//! What the API server tells: everything once, then every change.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::api::Api;
use kube::runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use super::core::Core;
use super::error::error;
use super::pods::{self, Seen};
use super::state::{Key, Wanted};
use super::{deployments, jitter};
use crate::Error;
use crate::function::label;

/// A watch is begun anew after so long, which costs one request. Nothing of it can be silent for
/// longer, not even a connection that died without a word.
const WATCH_SECONDS: u32 = 60;
/// Pause after an error; it doubles with each, up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between tries to reach the API server.
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// What one watch is of.
pub(super) trait Watched: Send + 'static {
    /// The objects of the API server.
    type Object: Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + Sync;
    /// What is kept of one.
    type Item: Send;

    /// What is kept of an object; `None` when it is none of a function.
    fn read(core: &Core, object: &Self::Object) -> Option<Self::Item>;
    /// A list begins.
    fn begun(_core: &Arc<Core>) {}
    /// One was added or changed.
    fn changed(core: &Arc<Core>, item: Self::Item);
    /// One is gone.
    fn gone(core: &Arc<Core>, item: Self::Item);
    /// These are all there are.
    fn listed(core: &Arc<Core>, all: Vec<Self::Item>);
}

/// Follows one watch for good. What it could not tell for a while it lists anew. The first error
/// before anything was listed is told to whoever waits for the list.
pub(super) async fn follow<W: Watched>(core: Arc<Core>, api: Api<W::Object>, labels: &str) {
    let config = watcher::Config { timeout: Some(WATCH_SECONDS), ..watcher::Config::default() };
    let config = if labels.is_empty() { config } else { config.labels(labels) };
    let mut events = pin!(watcher(api, config));
    let kind = W::Object::plural(&());
    let mut pause = FIRST_PAUSE;
    let mut list = Vec::new();
    let read = |object: &W::Object| W::read(&core, object);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if pause > FIRST_PAUSE {
                    tracing::info!(%kind, "the API server tells of changes again");
                    pause = FIRST_PAUSE;
                }
                match event {
                    Event::Init => {
                        list = Vec::new();
                        W::begun(&core);
                    }
                    Event::InitApply(object) => list.extend(read(&object)),
                    Event::InitDone => W::listed(&core, std::mem::take(&mut list)),
                    Event::Apply(object) => {
                        read(&object).into_iter().for_each(|i| W::changed(&core, i));
                    }
                    Event::Delete(object) => {
                        read(&object).into_iter().for_each(|i| W::gone(&core, i));
                    }
                }
            }
            Err(failure) => {
                let failure = told(&kind, failure);
                if pause == FIRST_PAUSE {
                    tracing::warn!(%kind, error = %failure, "the API server does not tell of changes");
                }
                core.trouble.send_replace(Some(failure));
                sleep(jitter(pause)).await;
                pause = (pause * 2).min(LAST_PAUSE);
            }
        }
    }
}

/// The error of a watch, in our words.
fn told(kind: &str, failure: watcher::Error) -> Error {
    match failure {
        watcher::Error::InitialListFailed(e)
        | watcher::Error::WatchStartFailed(e)
        | watcher::Error::WatchFailed(e) => error(kind, e),
        watcher::Error::WatchError(status) => error(kind, kube::Error::Api(status)),
        other => super::error::refused(other.to_string()),
    }
}

/// The Deployments of functions.
pub(super) struct Deployments;

impl Watched for Deployments {
    type Object = Deployment;
    type Item = (Key, Wanted);

    fn read(_core: &Core, object: &Deployment) -> Option<Self::Item> {
        deployments::wanted(object)
    }

    fn begun(core: &Arc<Core>) {
        core.world().begin_deployments();
    }

    fn changed(core: &Arc<Core>, (key, wanted): Self::Item) {
        if !core.world().removed.contains(&wanted.uid) {
            core.update(&key, |known| known.observe_deployment(wanted));
        }
    }

    fn gone(core: &Arc<Core>, (key, wanted): Self::Item) {
        core.world().removed.remove(&wanted.uid);
        core.update(&key, |known| {
            if known.deployment.as_ref().is_some_and(|now| now.uid == wanted.uid) {
                known.forget_deployment();
            }
        });
    }

    fn listed(core: &Arc<Core>, all: Vec<Self::Item>) {
        core.update_all(|world| world.list_deployments(all));
    }
}

/// The pods of functions.
pub(super) struct Pods;

impl Watched for Pods {
    type Object = Pod;
    type Item = (Key, String, Seen);

    fn read(_core: &Core, object: &Pod) -> Option<Self::Item> {
        let meta = &object.metadata;
        let function = meta.labels.as_ref()?.get(label::FUNCTION)?.clone();
        // Whoever else carries the label takes no calls: it does not come and go with the function.
        let of_set = |owner: &OwnerReference| {
            owner.kind == "ReplicaSet" && owner.name.starts_with(&format!("{function}-"))
        };
        meta.owner_references.iter().flatten().find(|owner| of_set(owner))?;
        let seen = pods::seen(object, &function);
        let key = Key { namespace: meta.namespace.clone()?, function };
        Some((key, meta.name.clone()?, seen))
    }

    fn changed(core: &Arc<Core>, (key, pod, seen): Self::Item) {
        core.update(&key, |known| {
            if known.observe_pod(&pod, seen) {
                core.calls.forget(&pod);
            }
        });
    }

    fn gone(core: &Arc<Core>, (key, pod, _): Self::Item) {
        core.update(&key, |known| {
            known.pods.remove(&pod);
            core.calls.forget(&pod);
        });
    }

    fn listed(core: &Arc<Core>, all: Vec<Self::Item>) {
        core.update_all(|world| {
            world.list_pods(all).iter().for_each(|pod| core.calls.forget(pod));
        });
    }
}

/// The namespaces of the cluster, of which some are ours.
pub(super) struct Namespaces;

impl Watched for Namespaces {
    type Object = Namespace;
    type Item = (String, bool);

    fn read(core: &Core, object: &Namespace) -> Option<Self::Item> {
        let name = object.metadata.name.clone()?;
        let annotations = object.metadata.annotations.clone().unwrap_or_default();
        let owned = core.scope.owns(&name, &annotations);
        Some((name, owned))
    }

    fn changed(core: &Arc<Core>, (name, owned): Self::Item) {
        if core.scope.observe(&name, owned) {
            core.update_all(|_| ());
        }
    }

    fn gone(core: &Arc<Core>, (name, _): Self::Item) {
        Self::changed(core, (name, false));
    }

    fn listed(core: &Arc<Core>, all: Vec<Self::Item>) {
        core.scope.replace(all.into_iter().filter(|(_, owned)| *owned).map(|(name, _)| name));
        core.update_all(|world| world.listed.namespaces = true);
    }
}
