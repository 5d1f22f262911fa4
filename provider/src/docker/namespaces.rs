//! Namespaces: each is an empty volume with labels, so that they live with the engine.
//!
//! A volume's labels cannot change: an update makes a second volume and removes the first. After a
//! crash in between the newer one counts.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use bollard::models::{Volume, VolumeCreateRequest};
use bollard::query_parameters::{ListVolumesOptions, RemoveVolumeOptions};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::api::{Api, error, is_status};
use super::labels::{GENERATION, METADATA, NAMESPACE, NETWORK};
use crate::replicas::deploy::base36;
use crate::replicas::namespaces::NamespaceStore;
use crate::{Error, Namespace, Result};

/// The volumes that stand for namespaces.
pub(super) struct NamespaceVolumes {
    pub(super) engine: Api,
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

#[async_trait]
impl NamespaceStore for NamespaceVolumes {
    async fn load(&self) -> Result<BTreeMap<String, Namespace>> {
        let kept = self.volumes().await?.into_iter();
        Ok(kept.map(|(name, kept)| (name, kept.namespace)).collect())
    }

    async fn put(&self, namespace: &Namespace) -> Result<()> {
        let old = self.volumes().await?.remove(&namespace.name);
        self.add(namespace).await?;
        self.drop_volumes(&old.map(|kept| kept.volumes).unwrap_or_default()).await
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let kept = self.volumes().await?.remove(name);
        self.drop_volumes(&kept.map(|kept| kept.volumes).unwrap_or_default()).await
    }
}

impl NamespaceVolumes {
    async fn volumes(&self) -> Result<BTreeMap<String, Kept>> {
        let mut filters = self.engine.ours();
        filters.entry("label".to_owned()).or_default().push(METADATA.to_owned());
        let options = ListVolumesOptions { filters: Some(filters) };
        let listed = self.engine.docker.list_volumes(Some(options)).await.map_err(error)?;
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
        self.engine.docker.create_volume(request).await.map(|_| ()).map_err(error)
    }

    async fn drop_volumes(&self, volumes: &[String]) -> Result<()> {
        for volume in volumes {
            let options = RemoveVolumeOptions::default();
            match self.engine.docker.remove_volume(volume, Some(options)).await {
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
