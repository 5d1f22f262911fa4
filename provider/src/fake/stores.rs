//! The fake's secrets and namespaces.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::feed::Feed;
use crate::{DEFAULT_NAMESPACE, Error, Function, Namespace, Namespaces, Result, Secret, Secrets};

/// Secrets by namespace and name, and namespaces.
pub(super) struct Stores {
    kept: Mutex<Kept>,
    feed: Arc<Feed>,
}

#[derive(Default)]
struct Kept {
    secrets: BTreeMap<(String, String), Vec<u8>>,
    namespaces: BTreeMap<String, Namespace>,
}

impl Stores {
    /// Stores without secrets; the feed says which functions are in a namespace.
    pub(super) fn new(feed: Arc<Feed>) -> Self {
        Self { kept: Mutex::default(), feed }
    }

    /// Whether the function's namespace and secrets are there.
    pub(super) fn check(&self, function: &Function) -> Result<()> {
        let kept = self.kept();
        let namespace = function.name()?.namespace().to_owned();
        kept.check_namespace(&namespace)?;
        let known = |s: &String| kept.secrets.contains_key(&(namespace.clone(), s.clone()));
        match function.secrets.iter().find(|s| !known(s)) {
            Some(missing) => Err(missing_secret(missing, &namespace)),
            None => Ok(()),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn check_namespace(&self, namespace: &str) -> Result<()> {
        if namespace == DEFAULT_NAMESPACE || self.namespaces.contains_key(namespace) {
            return Ok(());
        }
        Err(Error::invalid("namespace", format!("there is no namespace {namespace:?}")))
    }
}

fn missing_secret(name: &str, namespace: &str) -> Error {
    Error::invalid("secrets", format!("there is no secret {name:?} in namespace {namespace}"))
}

fn key(secret: &Secret) -> (String, String) {
    (namespace_or_default(&secret.namespace).to_owned(), secret.name.clone())
}

fn namespace_or_default(namespace: &str) -> &str {
    if namespace.is_empty() { DEFAULT_NAMESPACE } else { namespace }
}

#[async_trait]
impl Secrets for Stores {
    async fn list(&self, namespace: &str) -> Result<Vec<Secret>> {
        let kept = self.kept();
        let namespace = namespace_or_default(namespace);
        kept.check_namespace(namespace)?;
        let names = kept.secrets.keys().filter(|(ns, _)| ns == namespace);
        let listed = |(namespace, name): &(String, String)| Secret {
            name: name.clone(),
            namespace: namespace.clone(),
            ..Secret::default()
        };
        Ok(names.map(listed).collect())
    }

    async fn create(&self, secret: &Secret) -> Result<()> {
        let mut kept = self.kept();
        let key = key(secret);
        kept.check_namespace(&key.0)?;
        if kept.secrets.contains_key(&key) {
            return Err(Error::Exists(format!("secret {}", secret.name)));
        }
        kept.secrets.insert(key, secret.bytes()?);
        Ok(())
    }

    async fn update(&self, secret: &Secret) -> Result<()> {
        let bytes = secret.bytes()?;
        match self.kept().secrets.get_mut(&key(secret)) {
            Some(value) => *value = bytes,
            None => return Err(Error::NotFound(format!("secret {}", secret.name))),
        }
        Ok(())
    }

    async fn remove(&self, name: &str, namespace: &str) -> Result<()> {
        let key = (namespace_or_default(namespace).to_owned(), name.to_owned());
        let removed = self.kept().secrets.remove(&key);
        removed.map(|_| ()).ok_or_else(|| Error::NotFound(format!("secret {name}")))
    }
}

#[async_trait]
impl Namespaces for Stores {
    async fn list(&self) -> Result<Vec<Namespace>> {
        let mut all = self.kept().namespaces.clone();
        let default = Namespace { name: DEFAULT_NAMESPACE.to_owned(), ..Namespace::default() };
        all.entry(default.name.clone()).or_insert(default);
        Ok(all.into_values().collect())
    }

    async fn create(&self, namespace: &Namespace) -> Result<()> {
        let mut kept = self.kept();
        if kept.check_namespace(&namespace.name).is_ok() {
            return Err(Error::Exists(format!("namespace {}", namespace.name)));
        }
        kept.namespaces.insert(namespace.name.clone(), namespace.clone());
        Ok(())
    }

    async fn update(&self, namespace: &Namespace) -> Result<()> {
        let mut kept = self.kept();
        let missing = |_| Error::NotFound(format!("namespace {}", namespace.name));
        kept.check_namespace(&namespace.name).map_err(missing)?;
        kept.namespaces.insert(namespace.name.clone(), namespace.clone());
        Ok(())
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let mut kept = self.kept();
        if name == DEFAULT_NAMESPACE {
            return Err(Error::Conflict("the default namespace cannot be removed".to_owned()));
        }
        let missing = |_| Error::NotFound(format!("namespace {name}"));
        kept.check_namespace(name).map_err(missing)?;
        let functions = self.feed.names().into_iter().filter(|f| f.namespace() == name);
        let secrets = kept.secrets.keys().filter(|(ns, _)| ns == name);
        let held: Vec<String> = functions
            .map(|f| format!("function {}", f.function()))
            .chain(secrets.map(|(_, secret)| format!("secret {secret}")))
            .collect();
        if !held.is_empty() {
            let text = format!("namespace {name} still holds {}", held.join(", "));
            return Err(Error::Conflict(text));
        }
        kept.namespaces.remove(name);
        Ok(())
    }
}
