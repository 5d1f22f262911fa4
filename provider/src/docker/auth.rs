//! Registry credentials, from a deploy request or from Docker's `config.json`.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::image::DOCKER_HUB;

/// The key that Docker's programs use for its own registry.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// The user name that stands for "the secret is a token".
const TOKEN_USER: &str = "<token>";
/// Longest that a credential helper may take.
const HELPER_TIMEOUT: Duration = Duration::from_secs(30);

/// The parts of `config.json` that hold credentials or say who does.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ConfigFile {
    auths: HashMap<String, Entry>,
    cred_helpers: HashMap<String, String>,
    creds_store: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

/// What a credential helper prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Printed {
    username: String,
    secret: String,
}

/// Reads base64 of `user:password`.
pub(super) fn decode(text: &str) -> Option<DockerCredentials> {
    let pair = String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok()?;
    let (user, password) = pair.trim_end_matches('\0').split_once(':')?;
    Some(password_of(user, password))
}

/// What the configuration in this directory has for a registry. The error is in words.
pub(super) async fn find(dir: &Path, registry: &str) -> Result<Option<DockerCredentials>, String> {
    let path = dir.join("config.json");
    let bytes = match tokio::fs::read(&path).await {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("{}: {e}", path.display())),
    };
    let config: ConfigFile =
        serde_json::from_slice(&bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    let key = if registry == DOCKER_HUB { HUB_KEY } else { registry };
    match helper(&config, key) {
        Some(helper) => ask(&helper, key).await,
        None => Ok(entry(&config, key).and_then(|entry| stored(&entry))),
    }
}

/// The program that keeps this registry's credentials.
fn helper(config: &ConfigFile, key: &str) -> Option<String> {
    let special = config.cred_helpers.get(key).or_else(|| config.cred_helpers.get(host(key)));
    let helper = special.unwrap_or(&config.creds_store);
    (!helper.is_empty()).then(|| helper.clone())
}

/// Keys may be hosts or URLs, with or without a path.
fn entry(config: &ConfigFile, key: &str) -> Option<Entry> {
    let exact = config.auths.get(key);
    let same_host = || config.auths.iter().find(|(k, _)| host(k) == host(key)).map(|(_, e)| e);
    exact.or_else(same_host).cloned()
}

fn host(key: &str) -> &str {
    let bare = key.split_once("://").map_or(key, |(_, rest)| rest);
    bare.split('/').next().unwrap_or(bare)
}

fn stored(entry: &Entry) -> Option<DockerCredentials> {
    if !entry.identitytoken.is_empty() {
        return Some(token_of(&entry.identitytoken));
    }
    if !entry.username.is_empty() {
        return Some(password_of(&entry.username, &entry.password));
    }
    decode(&entry.auth)
}

/// Asks a credential helper: `docker-credential-<name> get`, the registry on its standard input.
async fn ask(helper: &str, key: &str) -> Result<Option<DockerCredentials>, String> {
    if helper.contains('/') {
        return Err(format!("{helper:?} is not the name of a credential helper"));
    }
    let program = format!("docker-credential-{helper}");
    let asked = tokio::time::timeout(HELPER_TIMEOUT, run(&program, key)).await;
    let output = asked
        .map_err(|_| format!("{program} did not answer in {} s", HELPER_TIMEOUT.as_secs()))?
        .map_err(|e| format!("{program}: {e}"))?;
    if !output.status.success() {
        // It has none for this registry: the image may well be public.
        return Ok(None);
    }
    let printed: Printed = serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("{program} printed something that is no credential"))?;
    Ok(Some(match printed.username.as_str() {
        TOKEN_USER => token_of(&printed.secret),
        user => password_of(user, &printed.secret),
    }))
}

async fn run(program: &str, input: &str) -> std::io::Result<std::process::Output> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await?;
    }
    child.wait_with_output().await
}

fn password_of(user: &str, password: &str) -> DockerCredentials {
    DockerCredentials {
        username: Some(user.to_owned()),
        password: Some(password.to_owned()),
        ..DockerCredentials::default()
    }
}

fn token_of(token: &str) -> DockerCredentials {
    DockerCredentials { identitytoken: Some(token.to_owned()), ..DockerCredentials::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn found(config: &str, registry: &str) -> Option<DockerCredentials> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        find(dir.path(), registry).await.unwrap()
    }

    #[tokio::test]
    async fn entries_are_found_by_host_or_url() {
        let config = r#"{"auths":{
            "127.0.0.1:5000":{"auth":"dXNlcjpwYTpzcw=="},
            "https://ghcr.io/v2/":{"username":"u","password":"p"},
            "https://index.docker.io/v1/":{"identitytoken":"t"}}}"#;
        let local = found(config, "127.0.0.1:5000").await.unwrap();
        assert_eq!(
            (local.username.as_deref(), local.password.as_deref()),
            (Some("user"), Some("pa:ss"))
        );
        assert_eq!(found(config, "ghcr.io").await.unwrap().password.as_deref(), Some("p"));
        assert_eq!(found(config, DOCKER_HUB).await.unwrap().identitytoken.as_deref(), Some("t"));
        assert!(found(config, "quay.io").await.is_none());
    }

    #[tokio::test]
    async fn a_helper_that_is_missing_is_named_and_one_with_a_path_refused() {
        let ask = |helper| async move { ask(helper, "ghcr.io").await.unwrap_err() };
        assert!(ask("flint-none").await.starts_with("docker-credential-flint-none: "));
        assert!(ask("../x").await.contains("not the name"));
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        assert!(decode("dXNlcg==").is_none());
        assert!(decode("not base64").is_none());
    }
}
