//! Namespaces of one machine: who is in them, and that none goes while somebody is.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::RwLock;

use super::secrets::SecretFiles;
use crate::feed::Feed;
use crate::{DEFAULT_NAMESPACE, Error, Namespace, Namespaces, Result};

/// Where namespaces are kept for good. One operation at a time.
#[async_trait]
pub(crate) trait NamespaceStore: Send + Sync {
    /// Those that are kept, by name.
    async fn load(&self) -> Result<BTreeMap<String, Namespace>>;

    /// Keeps one, in the place of the one of its name if there is any.
    async fn put(&self, namespace: &Namespace) -> Result<()>;

    /// Keeps it no more; one that is not kept is removed.
    async fn remove(&self, name: &str) -> Result<()>;
}

/// The namespaces that are kept or used.
pub(super) struct NamespaceSet {
    store: Box<dyn NamespaceStore>,
    feed: Arc<Feed>,
}

impl NamespaceSet {
    pub(super) fn new(store: Box<dyn NamespaceStore>, feed: Arc<Feed>) -> Self {
        Self { store, feed }
    }

    /// An error that names the namespace when it is not there.
    pub(super) async fn check(&self, namespace: &str) -> Result<()> {
        if self.exists(namespace).await? {
            return Ok(());
        }
        Err(Error::invalid("namespace", format!("there is no namespace {namespace:?}")))
    }

    /// The default one always does. One that was lost by its store lives on with its functions.
    async fn exists(&self, namespace: &str) -> Result<bool> {
        let used = || self.feed.names().iter().any(|name| name.namespace() == namespace);
        let known = namespace == DEFAULT_NAMESPACE || used();
        Ok(known || self.store.load().await?.contains_key(namespace))
    }
}

/// The namespaces and what is in them.
pub(super) struct ReplicaNamespaces {
    pub(super) set: Arc<NamespaceSet>,
    pub(super) secrets: Arc<SecretFiles>,
    /// Taken to read while a function is put into a namespace, to write while one changes.
    pub(super) gate: Arc<RwLock<()>>,
}

impl ReplicaNamespaces {
    /// What still is in a namespace, in words.
    fn content(&self, namespace: &str) -> Result<Vec<String>> {
        let functions = self.set.feed.names().into_iter().filter(|f| f.namespace() == namespace);
        let functions = functions.map(|name| format!("function {}", name.function()));
        let secrets = self.secrets.names(namespace)?.into_iter();
        Ok(functions.chain(secrets.map(|name| format!("secret {name}"))).collect())
    }
}

#[async_trait]
impl Namespaces for ReplicaNamespaces {
    async fn list(&self) -> Result<Vec<Namespace>> {
        let mut all = self.set.store.load().await?;
        let used = self.set.feed.names().into_iter().map(|name| name.namespace().to_owned());
        for name in used.chain([DEFAULT_NAMESPACE.to_owned()]) {
            let bare = Namespace { name: name.clone(), ..Namespace::default() };
            all.entry(name).or_insert(bare);
        }
        Ok(all.into_values().collect())
    }

    async fn create(&self, namespace: &Namespace) -> Result<()> {
        let _gate = self.gate.write().await;
        if self.set.exists(&namespace.name).await? {
            return Err(Error::Exists(format!("namespace {}", namespace.name)));
        }
        self.set.store.put(namespace).await
    }

    async fn update(&self, namespace: &Namespace) -> Result<()> {
        let _gate = self.gate.write().await;
        if !self.set.exists(&namespace.name).await? {
            return Err(Error::NotFound(format!("namespace {}", namespace.name)));
        }
        self.set.store.put(namespace).await
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let _gate = self.gate.write().await;
        if name == DEFAULT_NAMESPACE {
            return Err(Error::Conflict("the default namespace cannot be removed".to_owned()));
        }
        if !self.set.exists(name).await? {
            return Err(Error::NotFound(format!("namespace {name}")));
        }
        let content = self.content(name)?;
        if !content.is_empty() {
            let text = format!("namespace {name} still holds {}", content.join(", "));
            return Err(Error::Conflict(text));
        }
        self.set.store.remove(name).await
    }
}
