//! Credentials of registries, from Docker's `config.json`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::{Deserialize, Serialize};

use crate::config::Environment;
use crate::error::caused;

/// The registry of images whose names have none.
pub(crate) const DOCKER_HUB: &str = "docker.io";
/// The name of Docker Hub in `config.json`.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// What a helper answers when the secret is an identity token.
const TOKEN_USER: &str = "<token>";
/// What a helper prints when it knows no credentials.
const UNKNOWN: &str = "credentials not found";

/// Docker's `config.json`, as far as it matters here.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct DockerConfig {
    auths: BTreeMap<String, Entry>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

/// What the engine is given to log in at a registry. It has no `Debug`, since it is a secret.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Credentials {
    #[serde(skip_serializing_if = "String::is_empty")]
    username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    password: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    identitytoken: String,
    serveraddress: String,
}

/// What a credential helper prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    secret: String,
}

impl Credentials {
    /// The value of the header `X-Registry-Auth`.
    pub(crate) fn header(&self) -> Result<String> {
        Ok(URL_SAFE.encode(serde_json::to_vec(self)?))
    }
}

impl DockerConfig {
    /// Reads the file. One that is not there is empty.
    pub(crate) fn load(env: &Environment) -> Result<Self> {
        let docker = env.building.docker.config.clone();
        let folder = docker.or_else(|| env.home.as_ref().map(|home| home.join(".docker")));
        let Some(path) = folder.map(|folder| folder.join("config.json")) else {
            return Ok(Self::default());
        };
        match std::fs::read(&path) {
            Ok(bytes) => Self::parse(&bytes, &path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|error| {
            let hint = "mend the file, or log in again with `docker login`";
            caused(format!("{} is not a Docker configuration", path.display()), hint, error)
        })
    }

    /// The credentials for an image's registry, if any are known.
    pub(crate) fn credentials(&self, image: &str) -> Result<Option<Credentials>> {
        let host = host(image);
        let key = if host == DOCKER_HUB { DOCKER_HUB_KEY } else { host };
        let helper = self.cred_helpers.get(host).or_else(|| self.cred_helpers.get(key));
        if let Some(helper) =
            helper.map(String::as_str).or(Some(self.creds_store.as_str())).filter(|h| !h.is_empty())
        {
            let found =
                ask_helper(helper, key).with_context(|| format!("credentials for {host}"))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        let entry = self.auths.iter().find(|(name, _)| same_registry(name, host));
        entry.map_or(Ok(None), |(_, entry)| entry.credentials(key))
    }
}

impl Entry {
    fn credentials(&self, key: &str) -> Result<Option<Credentials>> {
        let mut found = Credentials {
            username: self.username.clone(),
            password: self.password.clone(),
            identitytoken: self.identitytoken.clone(),
            serveraddress: key.to_owned(),
        };
        if !self.auth.is_empty() {
            let bad = || anyhow!("the login of {key} in Docker's config.json is damaged");
            let text =
                STANDARD.decode(self.auth.trim()).ok().and_then(|b| String::from_utf8(b).ok());
            let text = text.ok_or_else(bad)?;
            let (user, password) = text.split_once(':').ok_or_else(bad)?;
            found.username = user.to_owned();
            found.password = password.trim_end_matches('\0').to_owned();
        }
        let empty = found.username.is_empty() && found.identitytoken.is_empty();
        Ok((!empty).then_some(found))
    }
}

/// The registry's host of an image's name.
pub(crate) fn host(image: &str) -> &str {
    match named_host(image) {
        Some("index.docker.io" | "registry-1.docker.io") | None => DOCKER_HUB,
        Some(host) => host,
    }
}

/// The registry's host, when the name has one.
pub fn named_host(image: &str) -> Option<&str> {
    let (first, _) = image.split_once('/')?;
    (first.contains(['.', ':']) || first == "localhost").then_some(first)
}

/// Keys are hosts, but old ones are URLs.
fn same_registry(key: &str, host: &str) -> bool {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    let key = key.split('/').next().unwrap_or(key);
    let key =
        if key == "index.docker.io" || key == "registry-1.docker.io" { DOCKER_HUB } else { key };
    key.eq_ignore_ascii_case(host)
}

/// Asks the program `docker-credential-<helper>`.
fn ask_helper(helper: &str, key: &str) -> Result<Option<Credentials>> {
    let program = format!("docker-credential-{helper}");
    let failed = |error| {
        let hint = "Docker's config.json names it under credsStore or credHelpers";
        caused(format!("the program {program} cannot be run"), hint, error)
    };
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read has its say in its exit code.
        let _ = stdin.write_all(key.as_bytes());
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        return if said.contains(UNKNOWN) { Ok(None) } else { Err(anyhow!("{program}: {said}")) };
    }
    let helped: Helped = serde_json::from_slice(&output.stdout)
        .map_err(|_| anyhow!("{program} printed no credentials"))?;
    let serveraddress = key.to_owned();
    Ok(Some(match helped.username.as_str() {
        TOKEN_USER => {
            Credentials { identitytoken: helped.secret, serveraddress, ..Default::default() }
        }
        _ => Credentials {
            username: helped.username,
            password: helped.secret,
            serveraddress,
            ..Default::default()
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(config: &str, image: &str) -> Option<serde_json::Value> {
        let config = DockerConfig::parse(config.as_bytes(), Path::new("c")).unwrap();
        let found = config.credentials(image).unwrap()?;
        let bytes = URL_SAFE.decode(found.header().unwrap()).unwrap();
        Some(serde_json::from_slice(&bytes).unwrap())
    }

    #[test]
    fn hosts() {
        let cases = [
            ("a", "docker.io"),
            ("a/b:1", "docker.io"),
            ("docker.io/a/b", "docker.io"),
            ("index.docker.io/a/b", "docker.io"),
            ("localhost/a", "localhost"),
            ("h:5000/a", "h:5000"),
            ("ghcr.io/a/b", "ghcr.io"),
        ];
        for (image, want) in cases {
            assert_eq!(host(image), want, "{image}");
        }
        assert_eq!(named_host("a/b"), None);
    }

    #[test]
    fn logins_of_the_file() {
        let config = r#"{"auths":{"h:5000":{"auth":"dXNlcjpwYTpzcw=="},
            "https://index.docker.io/v1/":{"auth":"aHViOng="},"empty.io":{},
            "https://old.io/v2/":{"username":"u","password":"p"},"t.io":{"identitytoken":"t"}}}"#;
        let want =
            serde_json::json!({"username":"user","password":"pa:ss","serveraddress":"h:5000"});
        assert_eq!(json(config, "h:5000/a/b").unwrap(), want);
        assert_eq!(json(config, "me/x").unwrap()["username"], "hub");
        assert_eq!(json(config, "old.io/x").unwrap()["password"], "p");
        assert_eq!(json(config, "t.io/x").unwrap()["identitytoken"], "t");
        assert!(json(config, "empty.io/x").is_none() && json(config, "h:5001/x").is_none());
        assert!(json("{}", "a").is_none());
    }

    #[test]
    fn damaged_logins_do_not_show_the_secret() {
        let config =
            DockerConfig::parse(br#"{"auths":{"a.io":{"auth":"!!"}}}"#, Path::new("c")).unwrap();
        let error = config.credentials("a.io/x").err().unwrap().to_string();
        assert!(error.contains("a.io") && !error.contains("!!"), "{error}");
        assert!(DockerConfig::parse(b"1", Path::new("c")).is_err());
    }

    #[test]
    fn a_helper_that_is_missing_is_named() {
        let config =
            DockerConfig::parse(br#"{"credHelpers":{"a.io":"flint-none"}}"#, Path::new("c"))
                .unwrap();
        let error = format!("{:#}", config.credentials("a.io/x").err().unwrap());
        assert!(error.contains("docker-credential-flint-none"), "{error}");
        assert!(config.credentials("b.io/x").unwrap().is_none());
    }
}
