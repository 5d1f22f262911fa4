//! Seeing to it that an image is there.

use std::path::PathBuf;
use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::query_parameters::CreateImageOptions;
use futures_util::{Stream, StreamExt};

use super::api::{Api, error, is_status, message};
use super::auth;
use crate::{Error, Function, PullPolicy, Result};

/// Longest that a pull may go without a sign of progress.
const PULL_STALL: Duration = Duration::from_secs(300);
/// The registry of references that name none.
pub(super) const DOCKER_HUB: &str = "docker.io";

/// Pulls images.
pub(super) struct Images {
    pub(super) engine: Api,
    /// Directory of Docker's `config.json`, which may hold credentials.
    pub(super) docker_config: Option<PathBuf>,
}

impl Images {
    /// Pulls the function's image if its policy says so.
    pub(super) async fn ensure(&self, function: &Function) -> Result<()> {
        let image = with_tag(&function.image);
        let policy = function.pull_policy()?.unwrap_or_default();
        if policy != PullPolicy::Always && self.is_present(&image).await? {
            return Ok(());
        }
        if policy == PullPolicy::Never {
            return Err(bad(&image, "is not on this machine, and is never pulled"));
        }
        let credentials = self.credentials(function, &image).await?;
        self.pull(&image, credentials).await
    }

    async fn is_present(&self, image: &str) -> Result<bool> {
        match self.engine.docker.inspect_image(image).await {
            Ok(_) => Ok(true),
            Err(e) if is_status(&e, 404) => Ok(false),
            // 400: the engine cannot read the reference.
            Err(e) if is_status(&e, 400) => Err(bad(image, message(e))),
            Err(e) => Err(error(e)),
        }
    }

    async fn credentials(
        &self,
        function: &Function,
        image: &str,
    ) -> Result<Option<DockerCredentials>> {
        if !function.registry_auth.is_empty() {
            let pair = auth::decode(&function.registry_auth);
            let wrong = || Error::invalid("registryAuth", "is not base64 of user:password");
            return pair.map(Some).ok_or_else(wrong);
        }
        let Some(dir) = &self.docker_config else { return Ok(None) };
        let found = auth::find(dir, registry_of(image)).await;
        found.map_err(|reason| bad(image, reason))
    }

    /// Every item of the stream may carry an error, and nothing is pulled unless it is read.
    async fn pull(&self, image: &str, credentials: Option<DockerCredentials>) -> Result<()> {
        tracing::info!(image, "pulling");
        let options =
            CreateImageOptions { from_image: Some(image.to_owned()), ..Default::default() };
        let mut items = Box::pin(self.engine.docker.create_image(Some(options), None, credentials));
        while let Some(item) = next_item(&mut items, image).await? {
            match item {
                Ok(_) => {}
                Err(e) => match error(e) {
                    Error::Backend { reason, .. } => return Err(bad(image, reason)),
                    other => return Err(other),
                },
            }
        }
        Ok(())
    }
}

async fn next_item<T>(
    items: &mut (impl Stream<Item = T> + Unpin),
    image: &str,
) -> Result<Option<T>> {
    let next = tokio::time::timeout(PULL_STALL, items.next()).await;
    let stalled =
        |_| bad(image, format!("the pull made no progress for {} s", PULL_STALL.as_secs()));
    next.map_err(stalled)
}

/// An [`Error::Image`].
pub(super) fn bad(image: &str, reason: impl Into<String>) -> Error {
    Error::Image { image: image.to_owned(), reason: reason.into() }
}

/// The reference with `:latest` when it names neither tag nor digest: else every tag is pulled.
pub(super) fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// The registry that a reference names: its first part, if that looks like a host.
fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => DOCKER_HUB,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        let cases = [
            ("echo", "echo:latest", DOCKER_HUB),
            ("flint/echo:1", "flint/echo:1", DOCKER_HUB),
            ("localhost/echo", "localhost/echo:latest", "localhost"),
            ("127.0.0.1:5000/a/echo", "127.0.0.1:5000/a/echo:latest", "127.0.0.1:5000"),
            ("ghcr.io/a/b@sha256:00", "ghcr.io/a/b@sha256:00", "ghcr.io"),
        ];
        for (image, tagged, registry) in cases {
            assert_eq!((with_tag(image).as_str(), registry_of(image)), (tagged, registry));
        }
    }
}
