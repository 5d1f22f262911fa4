//! Replicas that are made beforehand.

use std::sync::Arc;

use async_trait::async_trait;
use provider::{Function, State, Status, label};

use crate::on_docker::OnDocker;
use crate::on_process::OnProcess;
use crate::support::{Backend, Watcher, deploy, in_state, name, scale, soon};

/// A backend that can make replicas beforehand.
#[async_trait]
pub(crate) trait Prepares: Backend {
    /// The ids of all that was made, whether it was started or not.
    async fn made(&self) -> Vec<String>;
    /// The gateway is killed, and another one takes over.
    async fn reconnect(&self);
}

#[async_trait]
impl Prepares for OnProcess {
    async fn made(&self) -> Vec<String> {
        // One without a record is not made yet.
        let made = self.directories().into_iter().filter(|dir| dir.join("replica.json").exists());
        made.filter_map(|dir| Some(dir.file_name()?.to_str()?.to_owned())).collect()
    }

    async fn reconnect(&self) {
        self.disconnect();
        self.connect().await;
    }
}

#[async_trait]
impl Prepares for OnDocker {
    async fn made(&self) -> Vec<String> {
        let names = self.containers().await.into_iter();
        names.map(|name| name.trim_start_matches('/').to_owned()).collect()
    }

    async fn reconnect(&self) {
        self.disconnect();
        self.connect().await;
    }
}

fn prepared(backend: &dyn Prepares, version: &str, count: usize) -> Function {
    let mut function = backend.good("echo", version);
    function.labels.insert(label::SCALE_PREPARED.to_owned(), count.to_string());
    function
}

/// Waits until so many were made; returns their ids.
async fn until_made(backend: &dyn Prepares, count: usize) -> Vec<String> {
    soon(&format!("{count} are made"), async {
        loop {
            let made = backend.made().await;
            if made.len() == count {
                return made;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

fn ids(status: &Status) -> Vec<String> {
    status.ready().map(|replica| replica.id.clone()).collect()
}

pub(crate) async fn what_is_made_beforehand_is_started_when_it_is_wanted<B: Prepares>(
    backend: Arc<B>,
) {
    let backend: &dyn Prepares = &*backend;
    let echo = name("echo");
    let mut watcher = Watcher::new(&backend.provider()).await;
    backend.provider().apply(&prepared(backend, "v1", 2)).await.unwrap();
    let one = watcher.settled(&echo, 1).await;
    let made = until_made(backend, 3).await;
    assert_eq!((one.replicas.len(), one.desired), (1, 1), "what is not started is no replica");

    scale_up(backend, &mut watcher, 3, &made).await;
    let made = until_made(backend, 5).await;
    backend.reconnect().await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    let found = watcher.settled(&echo, 3).await;
    assert_eq!(found.replicas.len(), 3);
    assert_eq!(until_made(backend, 5).await.len(), made.len(), "they outlive the gateway");
    scale_up(backend, &mut watcher, 4, &made).await;

    // At zero they wait beside the one that is kept.
    until_made(backend, 6).await;
    scale(as_backend(backend), &echo, 0).await;
    // While some are removed and one is put to rest, so many may be there that are not those that stay.
    watcher.until(&echo, |s| s.replicas.len() == 1 && in_state(s, State::Stopped) == 1).await;
    let made = until_made(backend, 3).await;
    scale_up(backend, &mut watcher, 3, &made).await;
    until_made(backend, 5).await;

    let fewer = deploy(as_backend(backend), &mut watcher, &prepared(backend, "v2", 1)).await;
    assert_eq!(watcher.settled(&echo, 3).await.generation, fewer.generation);
    until_made(backend, 4).await;
    deploy(as_backend(backend), &mut watcher, &backend.good("echo", "v3")).await;
    watcher.settled(&echo, 3).await;
    until_made(backend, 3).await;
    deploy(as_backend(backend), &mut watcher, &prepared(backend, "v4", 1)).await;
    until_made(backend, 4).await;
    backend.provider().remove(&echo).await.unwrap();
    assert_eq!(backend.leftovers().await, Vec::<String>::new());
}

/// More replicas, all of which were made before.
async fn scale_up(backend: &dyn Prepares, watcher: &mut Watcher, count: u32, made: &[String]) {
    let echo = name("echo");
    scale(as_backend(backend), &echo, count).await;
    let more = watcher.settled(&echo, count as usize).await;
    assert!(ids(&more).iter().all(|id| made.contains(id)), "{:?} of {made:?}", ids(&more));
}

fn as_backend(backend: &dyn Prepares) -> &dyn Backend {
    backend
}
