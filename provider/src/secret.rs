//! Secrets: values go in and never come back.

use std::fmt;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::json::{from_json, null_is_default};
use crate::{Error, Name, Result};

/// Largest value of a secret, as in Kubernetes: 1 MiB.
const MAX_VALUE_BYTES: usize = 1024 * 1024;
/// Longest name, as a Kubernetes object's.
const MAX_NAME: usize = 253;

/// A secret as it travels (contract 1.10). Lists carry no values.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Secret {
    /// Name of the secret and of its file.
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    /// Namespace; empty is the default one.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The value as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The value as base64 of bytes; wins over `value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw_value: Option<String>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("name", &self.name)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Secret {
    /// Reads a request body and checks the name.
    pub fn from_json(body: &[u8]) -> Result<Self> {
        let mut secret: Self = from_json(body, &["name", "namespace", "value", "rawValue"])?;
        secret.namespace = checked_namespace(&secret.namespace)?;
        check_secret_name(&secret.name)?;
        Ok(secret)
    }

    /// The bytes that functions will read.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let bytes = match (&self.raw_value, &self.value) {
            (Some(raw), _) => STANDARD
                .decode(raw)
                .map_err(|e| Error::invalid("rawValue", format!("is not base64: {e}")))?,
            (None, Some(text)) => text.clone().into_bytes(),
            (None, None) => return Err(Error::invalid("value", "is required")),
        };
        if bytes.len() > MAX_VALUE_BYTES {
            let reason = format!("is {} bytes, at most {MAX_VALUE_BYTES} are allowed", bytes.len());
            return Err(Error::invalid("value", reason));
        }
        Ok(bytes)
    }
}

/// The namespace itself, or the default one for an empty text.
fn checked_namespace(namespace: &str) -> Result<String> {
    Ok(Name::new("x", namespace)?.namespace().to_owned())
}

/// A secret's name is a file name: `a-z 0-9 - .`, starting and ending with a letter or digit.
pub(crate) fn check_secret_name(name: &str) -> Result<()> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let good = bytes.iter().copied().all(inner) && edge(bytes.first()) && edge(bytes.last());
    if good && name.len() <= MAX_NAME {
        return Ok(());
    }
    let reason = if name.is_empty() {
        "is required".to_owned()
    } else {
        format!(
            "{name:?} must be at most {MAX_NAME} of a-z, 0-9, '-' and '.', \
             and start and end with a letter or digit"
        )
    };
    Err(Error::invalid("name", reason))
}

/// Where secrets are kept.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// Names of the secrets of a namespace, sorted.
    async fn list(&self, namespace: &str) -> Result<Vec<Secret>>;
    /// Adds one; [`Error::Exists`] when it is there.
    async fn create(&self, secret: &Secret) -> Result<()>;
    /// Gives one a new value; [`Error::NotFound`] when it is not there.
    async fn update(&self, secret: &Secret) -> Result<()>;
    /// Removes one; [`Error::NotFound`] when it is not there.
    async fn remove(&self, name: &str, namespace: &str) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_value_wins() {
        let body = br#"{"name":"a","value":"text","rawValue":"AAEC"}"#;
        assert_eq!(Secret::from_json(body).unwrap().bytes().unwrap(), [0, 1, 2]);
    }

    #[test]
    fn debug_shows_no_value() {
        let secret = Secret::from_json(br#"{"name":"a","value":"hunter2"}"#).unwrap();
        assert!(!format!("{secret:?}").contains("hunter2"));
    }

    #[test]
    fn names_that_could_leave_the_folder_are_refused() {
        for name in ["", "..", "a/b", "../a", ".a", "a.", "A", "a b", "a\0"] {
            assert!(check_secret_name(name).is_err(), "{name:?}");
        }
        for name in ["a", "api-key", "tls.crt", "0"] {
            assert!(check_secret_name(name).is_ok(), "{name:?}");
        }
    }
}
