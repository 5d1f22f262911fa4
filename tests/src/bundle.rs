//! The bundle that the tests deploy on processes: one test program and how it is run.

use std::io::Write;

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, Header};

use crate::binary;
use crate::client::Client;

/// Where a bundle says how it is run.
pub const CONFIG_FILE: &str = ".flint/bundle.json";

/// A file of a bundle: path, mode, content.
pub type File<'a> = (&'a str, u32, &'a [u8]);

/// Packs files and the way they are run.
pub fn pack(files: &[File<'_>], config: &Value) -> Result<Vec<u8>> {
    let config = config.to_string();
    let mut archive = Builder::new(zstd::Encoder::new(Vec::new(), 1)?);
    let all = files.iter().copied().chain([(CONFIG_FILE, 0o644, config.as_bytes())]);
    for (path, mode, content) in all {
        let mut header = Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        archive.append_data(&mut header, path, content)?;
    }
    let mut packed = archive.into_inner()?.finish()?;
    packed.flush()?;
    Ok(packed)
}

/// The digest of an archive.
pub fn digest(archive: &[u8]) -> String {
    let hex: String = Sha256::digest(archive).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Gives an archive to the gateway; returns what a deploy request calls it.
pub async fn put(client: &Client, name: &str, archive: Vec<u8>) -> Result<String> {
    let digest = digest(&archive);
    let path = format!("/system/bundles/{digest}");
    let response = client.system_request(Method::PUT, &path).body(archive).send().await?;
    let status = response.status();
    ensure!(status.is_success(), "PUT {path} answered {status}: {}", response.text().await?);
    Ok(format!("bundle:{name}@{digest}"))
}

/// The test function, which listens on a port of the watchdog's choice.
pub async fn test_function(client: &Client) -> Result<String> {
    let program = std::fs::read(binary("testfn"))?;
    let environment =
        json!({ "mode": "http", "fprocess": "./testfn", "upstream_url": "http://127.0.0.1:0" });
    let config = json!({ "schema": 1, "template": "test", "environment": environment });
    put(client, "testfn", pack(&[("testfn", 0o755, &program)], &config)?).await
}
