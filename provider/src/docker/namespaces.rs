//! Namespaces: each is an empty volume with labels, so that they live with the engine.
//!
//! A volume's labels cannot change: an update makes a second volume and removes the first. After a
//! crash in between the newer one counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use bollard::models::{Volume, VolumeCreateRequest};
use bollard::query_parameters::{ListVolumesOptions, RemoveVolumeOptions};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::RwLock;

use super::engine::{Engine, error, is_status};
use super::labels::{GENERATION, METADATA, NAMESPACE, NETWORK, base36};
use super::secrets::SecretFiles;
use crate::feed::Feed;
use crate::{DEFAULT_NAMESPACE, Error, Namespace, Namespaces, Result};

/// The volumes that stand for namespaces.
pub(super) struct NamespaceVolumes {
    engine: Engine,
    feed: Arc<Feed>,
}

/// What a namespace has beyond its name.
#[derive(Default, Serialize, Deserialize)]
struct Metadata {
    annotations: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
}

/// A namespace and the volumes that stand for it, the newest last.
struct Kept {
    namespace: Namespace,
    volumes: Vec<String>,
}

impl NamespaceVolumes {
    pub(super) fn new(engine: Engine, feed: Arc<Feed>) -> Self {
        Self { engine, feed }
    }

    /// An error that names the namespace when it is not there.
    pub(super) async fn check(&self, namespace: &str) -> Result<()> {
        if self.exists(namespace).await? {
            return Ok(());
        }
        Err(Error::invalid("namespace", format!("there is no namespace {namespace:?}")))
    }

    /// The default one always does. One whose volume was pruned lives on with its functions.
    async fn exists(&self, namespace: &str) -> Result<bool> {
        let used = || self.feed.names().iter().any(|name| name.namespace() == namespace);
        Ok(namespace == DEFAULT_NAMESPACE || used() || self.load().await?.contains_key(namespace))
    }

    async fn load(&self) -> Result<BTreeMap<String, Kept>> {
        let mut filters = self.engine.ours();
        filters.entry("label".to_owned()).or_default().push(METADATA.to_owned());
        let options = ListVolumesOptions { filters: Some(filters) };
        let listed = self.engine.api.list_volumes(Some(options)).await.map_err(error)?;
        Ok(newest(listed.volumes.unwrap_or_default()))
    }

    async fn add(&self, namespace: &Namespace) -> Result<()> {
        let generation = Timestamp::now().as_millisecond().unsigned_abs();
        let metadata = Metadata {
            annotations: namespace.annotations.clone(),
            labels: namespace.labels.clone(),
        };
        let json =
            serde_json::to_string(&metadata).map_err(|e| Error::invalid("body", e.to_string()))?;
        let network = &self.engine.network;
        let labels = [
            (NETWORK, network.clone()),
            (NAMESPACE, namespace.name.clone()),
            (GENERATION, generation.to_string()),
            (METADATA, json),
        ];
        let request = VolumeCreateRequest {
            name: Some(format!("flint-ns-{network}-{}-{}", namespace.name, base36(generation))),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value)).into()),
            ..VolumeCreateRequest::default()
        };
        self.engine.api.create_volume(request).await.map(|_| ()).map_err(error)
    }

    async fn drop_volumes(&self, volumes: &[String]) -> Result<()> {
        for volume in volumes {
            let options = RemoveVolumeOptions::default();
            match self.engine.api.remove_volume(volume, Some(options)).await {
                Err(e) if !is_status(&e, 404) => return Err(error(e)),
                _ => {}
            }
        }
        Ok(())
    }
}

fn newest(mut volumes: Vec<Volume>) -> BTreeMap<String, Kept> {
    let generation = |labels: &HashMap<String, String>| -> u64 {
        labels.get(GENERATION).and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    volumes.sort_by_key(|volume| generation(&volume.labels));
    let mut all: BTreeMap<String, Kept> = BTreeMap::new();
    for volume in volumes {
        let Some(name) = volume.labels.get(NAMESPACE) else { continue };
        let json = volume.labels.get(METADATA).map_or("{}", String::as_str);
        let metadata: Metadata = serde_json::from_str(json).unwrap_or_default();
        let namespace = Namespace {
            name: name.clone(),
            annotations: metadata.annotations,
            labels: metadata.labels,
        };
        let older = all.remove(name).map(|kept| kept.volumes).unwrap_or_default();
        let volumes = older.into_iter().chain([volume.name]).collect();
        all.insert(name.clone(), Kept { namespace, volumes });
    }
    all
}

/// The namespaces and what is in them.
pub(super) struct DockerNamespaces {
    pub(super) volumes: Arc<NamespaceVolumes>,
    pub(super) secrets: Arc<SecretFiles>,
    /// Taken to read while a function is put into a namespace, to write while one changes.
    pub(super) gate: Arc<RwLock<()>>,
}

impl DockerNamespaces {
    /// What still is in a namespace, in words.
    fn content(&self, namespace: &str) -> Result<Vec<String>> {
        let functions =
            self.volumes.feed.names().into_iter().filter(|f| f.namespace() == namespace);
        let functions = functions.map(|name| format!("function {}", name.function()));
        let secrets = self.secrets.names(namespace)?.into_iter();
        Ok(functions.chain(secrets.map(|name| format!("secret {name}"))).collect())
    }
}

#[async_trait]
impl Namespaces for DockerNamespaces {
    async fn list(&self) -> Result<Vec<Namespace>> {
        let kept = self.volumes.load().await?;
        let mut all: BTreeMap<String, Namespace> =
            kept.into_iter().map(|(name, kept)| (name, kept.namespace)).collect();
        let used = self.volumes.feed.names().into_iter().map(|name| name.namespace().to_owned());
        for name in used.chain([DEFAULT_NAMESPACE.to_owned()]) {
            let bare = Namespace { name: name.clone(), ..Namespace::default() };
            all.entry(name).or_insert(bare);
        }
        Ok(all.into_values().collect())
    }

    async fn create(&self, namespace: &Namespace) -> Result<()> {
        let _gate = self.gate.write().await;
        if self.volumes.exists(&namespace.name).await? {
            return Err(Error::Exists(format!("namespace {}", namespace.name)));
        }
        self.volumes.add(namespace).await
    }

    async fn update(&self, namespace: &Namespace) -> Result<()> {
        let _gate = self.gate.write().await;
        if !self.volumes.exists(&namespace.name).await? {
            return Err(Error::NotFound(format!("namespace {}", namespace.name)));
        }
        let old = self.volumes.load().await?.remove(&namespace.name);
        self.volumes.add(namespace).await?;
        self.volumes.drop_volumes(&old.map(|kept| kept.volumes).unwrap_or_default()).await
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let _gate = self.gate.write().await;
        if name == DEFAULT_NAMESPACE {
            return Err(Error::Conflict("the default namespace cannot be removed".to_owned()));
        }
        if !self.volumes.exists(name).await? {
            return Err(Error::NotFound(format!("namespace {name}")));
        }
        let content = self.content(name)?;
        if !content.is_empty() {
            let text = format!("namespace {name} still holds {}", content.join(", "));
            return Err(Error::Conflict(text));
        }
        let kept = self.volumes.load().await?.remove(name);
        self.volumes.drop_volumes(&kept.map(|kept| kept.volumes).unwrap_or_default()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_volume_of_a_namespace_counts() {
        let volume = |generation: &str, metadata: &str| Volume {
            name: format!("v{generation}"),
            labels: [(NAMESPACE, "dev"), (GENERATION, generation), (METADATA, metadata)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..Volume::default()
        };
        let new = r#"{"annotations":{},"labels":{"a":"b"}}"#;
        let all = newest(vec![volume("12", new), volume("9", "not json")]);
        assert_eq!(all["dev"].namespace.labels["a"], "b");
        assert_eq!(all["dev"].volumes, ["v9", "v12"]);
    }
}
