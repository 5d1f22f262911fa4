//! Namespaces (contract 1.9).

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::json::{from_json, null_is_default};
use crate::{Name, Result};

/// A namespace as it travels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// Its name, a DNS label.
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    /// Free annotations.
    #[serde(deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
    /// Free labels.
    #[serde(deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
}

impl Namespace {
    /// Reads a request body; a name in the URL wins over the body's.
    pub fn from_json(body: &[u8], name_in_url: &str) -> Result<Self> {
        let mut namespace: Self = from_json(body, &["name", "annotations", "labels"])?;
        if !name_in_url.is_empty() {
            namespace.name = name_in_url.to_owned();
        }
        if namespace.name.is_empty() {
            return Err(crate::Error::invalid("name", "is required"));
        }
        Name::new("x", &namespace.name)?;
        Ok(namespace)
    }
}

/// Where namespaces are kept.
#[async_trait]
pub trait Namespaces: Send + Sync {
    /// All of them, sorted by name; the default one is always there.
    async fn list(&self) -> Result<Vec<Namespace>>;
    /// Adds one; [`crate::Error::Exists`] when it is there.
    async fn create(&self, namespace: &Namespace) -> Result<()>;
    /// Replaces labels and annotations; [`crate::Error::NotFound`] when it is not there.
    async fn update(&self, namespace: &Namespace) -> Result<()>;
    /// Removes an empty one; [`crate::Error::Conflict`] while functions or secrets are in it.
    async fn remove(&self, name: &str) -> Result<()>;
}
