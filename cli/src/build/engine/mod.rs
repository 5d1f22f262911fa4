//! The Docker engine's API, as far as building needs it.
//!
//! The gateway uses a library for this API; the CLI needs four calls of it and stays small.
//! Reference: https://docs.docker.com/reference/api/engine/

mod build;
mod message;
mod registry;
mod trace;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::{Client, Method, RequestBuilder, Response};

use crate::config::DockerEnvironment;
use crate::error::{caused, hinted};

pub(crate) use build::{Request, build};

/// Where the engine is when nothing else is said.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for an answer to a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// The first version of the API that can build with BuildKit.
const BUILDKIT_SINCE: (u32, u32) = (1, 39);

/// A Docker engine that answers.
#[derive(Debug)]
pub(crate) struct Engine {
    client: Client,
    base: String,
    buildkit: bool,
}

impl Engine {
    /// Finds the engine and asks what it can do.
    pub(crate) async fn connect(env: &DockerEnvironment) -> Result<Self> {
        let host = env.host.as_deref().unwrap_or(DEFAULT_HOST);
        let (client, base) = client(host, env.certificates.as_deref())?;
        let answer = client.get(format!("{base}/_ping")).timeout(PING_TIMEOUT).send().await;
        let answer = answer.and_then(Response::error_for_status).map_err(|error| {
            let hint = "start it, check that you may use it (group `docker`), or name another with DOCKER_HOST";
            caused(format!("the Docker engine does not answer at {host}"), hint, error)
        })?;
        let version = answer.headers().get("api-version").and_then(|value| value.to_str().ok());
        let buildkit =
            version.and_then(parse_version).is_some_and(|version| version >= BUILDKIT_SINCE);
        Ok(Self { client, base, buildkit })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }
}

fn client(host: &str, certificates: Option<&Path>) -> Result<(Client, String)> {
    // Proxies are for the way to registries, not for the way to the engine.
    let builder = Client::builder().no_proxy().connect_timeout(CONNECT_TIMEOUT);
    match host.split_once("://") {
        Some(("unix", path)) => {
            Ok((builder.unix_socket(path).build()?, "http://docker".to_owned()))
        }
        Some(("tcp" | "http" | "https", address)) => {
            let address = address.trim_end_matches('/');
            match certificates {
                Some(folder) => Ok((secured(builder, folder)?, format!("https://{address}"))),
                None if host.starts_with("https") => {
                    Ok((builder.build()?, format!("https://{address}")))
                }
                None => Ok((builder.build()?, format!("http://{address}"))),
            }
        }
        _ => Err(hinted(
            format!("DOCKER_HOST={host} cannot be used"),
            "give unix:///path or tcp://host:port; for ssh, forward the engine's socket",
        )),
    }
}

/// A client with the certificates that Docker keeps in a folder.
fn secured(builder: reqwest::ClientBuilder, folder: &Path) -> Result<Client> {
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).with_context(|| format!("DOCKER_CERT_PATH: {}", path.display()))
    };
    let mut identity = read("cert.pem")?;
    identity.extend(read("key.pem")?);
    let authority = reqwest::Certificate::from_pem(&read("ca.pem")?)?;
    let identity = reqwest::Identity::from_pem(&identity)?;
    Ok(builder.tls_certs_only([authority]).identity(identity).build()?)
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let base = |host| client(host, None).map(|(_, base)| base);
        assert_eq!(base(DEFAULT_HOST).unwrap(), "http://docker");
        assert_eq!(base("tcp://h:2375/").unwrap(), "http://h:2375");
        assert!(base("ssh://h").is_err() && base("h").is_err());
        let error = client("tcp://h", Some(Path::new("/none"))).unwrap_err().to_string();
        assert!(error.contains("/none/cert.pem"), "{error}");
    }

    #[test]
    fn versions() {
        assert!(parse_version("1.41").unwrap() >= BUILDKIT_SINCE);
        assert!(parse_version("1.38").unwrap() < BUILDKIT_SINCE);
        assert!(parse_version("x").is_none());
    }
}
