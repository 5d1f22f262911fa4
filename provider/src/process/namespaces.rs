//! Namespaces: one file in the state directory.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::{blocking, record, refused};
use crate::replicas::files::at;
use crate::replicas::namespaces::NamespaceStore;
use crate::{Namespace, Result};

/// The file that holds all of them.
const FILE: &str = "namespaces.json";

/// Namespaces in a file that is always replaced whole.
pub(super) struct NamespaceFile {
    path: PathBuf,
}

impl NamespaceFile {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join(FILE) }
    }

    async fn change(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, Namespace>) + Send,
    ) -> Result<()> {
        let mut all = self.load().await?;
        change(&mut all);
        let all: Vec<_> = all.into_values().collect();
        let bytes = serde_json::to_vec(&all).map_err(|e| refused(e.to_string()))?;
        let path = self.path.clone();
        blocking(move || record::write(&path, &bytes, true)).await
    }
}

#[async_trait]
impl NamespaceStore for NamespaceFile {
    async fn load(&self) -> Result<BTreeMap<String, Namespace>> {
        let bytes = match fs::read(&self.path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
            other => other.map_err(at(&self.path))?,
        };
        let broken = |e| refused(format!("{}: {e}", self.path.display()));
        let all: Vec<Namespace> = serde_json::from_slice(&bytes).map_err(broken)?;
        Ok(all.into_iter().map(|namespace| (namespace.name.clone(), namespace)).collect())
    }

    async fn put(&self, namespace: &Namespace) -> Result<()> {
        self.change(|all| drop(all.insert(namespace.name.clone(), namespace.clone()))).await
    }

    async fn remove(&self, name: &str) -> Result<()> {
        self.change(|all| drop(all.remove(name))).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn they_outlive_the_store_and_a_broken_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = || NamespaceFile::new(dir.path());
        assert!(store().load().await.unwrap().is_empty());
        let mut dev = Namespace { name: "dev".to_owned(), ..Namespace::default() };
        store().put(&dev).await.unwrap();
        dev.labels.insert("a".to_owned(), "b".to_owned());
        store().put(&dev).await.unwrap();
        assert_eq!(store().load().await.unwrap()["dev"], dev);
        store().remove("dev").await.unwrap();
        store().remove("dev").await.unwrap();
        assert!(store().load().await.unwrap().is_empty());
        fs::write(dir.path().join(FILE), "{").unwrap();
        let error = store().load().await.unwrap_err().to_string();
        assert!(error.contains(FILE), "{error}");
    }
}
