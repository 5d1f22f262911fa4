//! The store of ready-made functions: a JSON list behind a URL or in a file (contract 7.5).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use provider::Function;
use serde::{Deserialize, Serialize};

use crate::error::{caused, hinted};

/// The store that is asked when none is named.
pub const DEFAULT_STORE: &str =
    "https://raw.githubusercontent.com/openfaas/store/master/functions.json";
/// Longest wait for a store.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest store that is taken, in bytes.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// A store.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Store {
    /// What it offers.
    #[serde(default)]
    pub functions: Vec<Item>,
}

/// A function in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Item {
    /// A name for people.
    pub title: String,
    /// The name to deploy it by.
    pub name: String,
    /// What it does.
    pub description: String,
    /// Who made it.
    pub author: String,
    /// An image for people.
    pub icon: String,
    /// Where its source is.
    pub repo_url: String,
    /// The process that the watchdog runs.
    pub fprocess: String,
    /// The image for each platform.
    pub images: BTreeMap<String, String>,
    /// Whether its root file system is read-only.
    #[serde(rename = "readOnlyRootFilesystem")]
    pub read_only_root_filesystem: bool,
    /// Environment variables.
    pub environment: Option<BTreeMap<String, String>>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations.
    pub annotations: Option<BTreeMap<String, String>>,
}

impl Store {
    /// Reads a store from a URL or a path.
    pub async fn open(place: &str) -> Result<Self> {
        let remote = place.starts_with("http://") || place.starts_with("https://");
        let read = if remote { fetch(place).await } else { read(place) };
        let bytes = read.map_err(|e| {
            let hint = "name another store, a URL or a file, with --url or OPENFAAS_STORE";
            caused(format!("the store {place} cannot be read"), hint, e.to_string())
        })?;
        serde_json::from_slice(&bytes).map_err(|e| {
            let hint = "a store is a JSON object with a list `functions`";
            caused(format!("{place} is not a store"), hint, e)
        })
    }

    /// What it offers for a platform.
    pub fn on(&self, platform: &str) -> Vec<&Item> {
        self.functions.iter().filter(|item| item.image(platform).is_some()).collect()
    }

    /// One function by its name or title.
    pub fn item(&self, name: &str) -> Result<&Item> {
        let called = |item: &&Item| item.name == name || item.title.eq_ignore_ascii_case(name);
        self.functions.iter().find(called).ok_or_else(|| {
            let hint = "see `faas store list` for what there is";
            hinted(format!("the store has no function {name}"), hint)
        })
    }
}

impl Item {
    /// The image for a platform.
    pub fn image(&self, platform: &str) -> Option<&str> {
        let key = store_platform(platform);
        let image = self.images.iter().find(|(have, _)| store_platform(have) == key);
        image.map(|(_, image)| image.as_str()).filter(|image| !image.is_empty())
    }

    /// The function to deploy on a platform.
    pub fn function(&self, platform: &str) -> Result<Function> {
        let image = self.image(platform).ok_or_else(|| {
            let platforms: Vec<&str> = self.images.keys().map(String::as_str).collect();
            let hint = format!("it is made for: {}; choose with --platform", platforms.join(", "));
            hinted(format!("{} has no image for {platform}", self.name), hint)
        })?;
        Ok(Function {
            service: self.name.clone(),
            image: image.to_owned(),
            env_process: self.fprocess.clone(),
            env_vars: self.environment.clone().unwrap_or_default(),
            labels: self.labels.clone().unwrap_or_default(),
            annotations: self.annotations.clone().unwrap_or_default(),
            read_only_root_filesystem: self.read_only_root_filesystem,
            ..Default::default()
        })
    }
}

/// This machine's platform as stores name it.
pub fn this_platform() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        "arm" => "armhf",
        other => other,
    }
}

/// One name for each platform, whoever named it.
fn store_platform(platform: &str) -> String {
    match platform.to_lowercase().as_str() {
        "amd64" | "x86-64" | "linux/amd64" => "x86_64".to_owned(),
        "aarch64" | "linux/arm64" => "arm64".to_owned(),
        "arm" | "armv7" | "linux/arm/v7" => "armhf".to_owned(),
        other => other.to_owned(),
    }
}

fn read(path: &str) -> Result<Vec<u8>> {
    Ok(std::fs::read(Path::new(path.strip_prefix("file://").unwrap_or(path)))?)
}

async fn fetch(url: &str) -> Result<Vec<u8>> {
    let client = reqwest::Client::builder().timeout(TIMEOUT).no_hickory_dns().build()?;
    let sent = client.get(url).send().await;
    let mut response = sent.map_err(|e| anyhow::anyhow!(crate::gateway::root(&e)))?;
    anyhow::ensure!(response.status().is_success(), "it answers {}", response.status());
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(&chunk);
        anyhow::ensure!(bytes.len() <= MAX_BYTES, "it is larger than {MAX_BYTES} bytes");
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: &str = r#"{"version":"0.2.0","functions":[
        {"title":"NodeInfo","name":"nodeinfo","description":"d","author":"a","fprocess":"node",
         "images":{"x86_64":"ghcr.io/x/nodeinfo:1","arm64":"ghcr.io/x/nodeinfo:1-arm"},
         "labels":{"a":"b"},"environment":null,"readOnlyRootFilesystem":true},
        {"title":"Pi","name":"pi","images":{"armhf":"pi:1"}}]}"#;

    #[test]
    fn platforms_choose_images() {
        let store: Store = serde_json::from_str(STORE).unwrap();
        assert_eq!(store.on("amd64").len(), 1);
        assert_eq!(store.on("armhf")[0].name, "pi");
        let item = store.item("NODEINFO").unwrap();
        let function = item.function("arm64").unwrap();
        assert_eq!(function.image, "ghcr.io/x/nodeinfo:1-arm");
        assert_eq!((&*function.env_process, &*function.labels["a"]), ("node", "b"));
        assert!(function.read_only_root_filesystem);
        assert!(item.function("riscv").is_err() && store.item("nope").is_err());
    }

    #[tokio::test]
    async fn stores_in_files() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), STORE).unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(Store::open(path).await.unwrap().functions.len(), 2);
        std::fs::write(file.path(), "[").unwrap();
        let error = Store::open(path).await.unwrap_err();
        assert!(error.to_string().ends_with("is not a store"));
        assert!(Store::open("/no/such/store.json").await.is_err());
    }
}
