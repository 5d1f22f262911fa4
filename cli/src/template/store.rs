//! The list of templates that others offer (contract 6.3).

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::GitSource;
use crate::error::{caused, hinted};

/// Where the list is.
const DEFAULT_URL: &str = "https://raw.githubusercontent.com/openfaas/store/master/templates.json";
/// Longest time that fetching may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The list.
#[derive(Clone, Debug)]
pub struct Store {
    /// Its entries, in its order.
    pub entries: Vec<Entry>,
}

/// One offer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// The template's name.
    pub template: String,
    /// The processor it is for.
    pub platform: String,
    /// The language, for people.
    pub language: String,
    /// Who offers it.
    pub source: String,
    /// What it is.
    pub description: String,
    /// The git repository.
    #[serde(rename = "repo")]
    pub repository: String,
    /// `"true"` for those of the project that keeps the list.
    pub official: String,
    /// Whether the list's keepers recommend it.
    pub recommended: bool,
}

impl Store {
    /// Fetches the list; no URL means the default one. A path is read.
    pub async fn fetch(url: Option<&str>) -> Result<Self> {
        let url = url.unwrap_or(DEFAULT_URL);
        let failed = || format!("cannot read the template store {url}");
        let bytes = if url.contains("://") {
            let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
            let answer = client.get(url).send().await.and_then(reqwest::Response::error_for_status);
            let answer = answer.map_err(|error| {
                let hint = "name another list with --url or OPENFAAS_TEMPLATE_STORE_URL";
                caused(failed(), hint, error)
            })?;
            answer.bytes().await.with_context(failed)?.to_vec()
        } else {
            std::fs::read(url).with_context(failed)?
        };
        Ok(Self { entries: serde_json::from_slice(&bytes).with_context(failed)? })
    }

    /// The entry of a template: `name`, or `source/name` where several offer one of that name.
    pub fn find(&self, name: &str) -> Result<&Entry> {
        let (source, plain) = match name.split_once('/') {
            Some((source, plain)) => (Some(source), plain),
            None => (None, name),
        };
        let fits = |entry: &&Entry| {
            entry.template == plain && source.is_none_or(|source| entry.source == source)
        };
        let found: Vec<&Entry> = self.entries.iter().filter(fits).collect();
        // The official one wins over others of its name.
        let chosen = found.iter().find(|entry| entry.official == "true").or(found.first());
        chosen.copied().ok_or_else(|| {
            hinted(format!("the store has no template {name}"), "see `faas template store list`")
        })
    }
}

impl Entry {
    /// Its repository.
    pub fn git(&self) -> Result<GitSource> {
        GitSource::parse(&self.repository)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn entries_by_name_and_source() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("templates.json");
        let text = r#"[{"template":"go","source":"bob","repo":"https://b","official":"false"},
            {"template":"go","source":"openfaas","repo":"https://o","official":"true","recommended":true}]"#;
        std::fs::write(&path, text).unwrap();
        let store = Store::fetch(path.to_str()).await.unwrap();
        assert_eq!(store.find("go").unwrap().repository, "https://o");
        assert_eq!(store.find("bob/go").unwrap().git().unwrap().repository, "https://b");
        assert!(store.find("eve/go").is_err() && store.find("rust").is_err());
        std::fs::write(&path, "{}").unwrap();
        assert!(Store::fetch(path.to_str()).await.is_err());
    }
}
