//! Bundles, on gateways that run functions as processes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use provider::bundle::{Digest, MEDIA_TYPE};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method, StatusCode};

use super::{Answer, Gateway, Info};

/// Longest wait for a bundle to be taken: some are large, and some networks slow.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Up to this size a bundle is read at once, in bytes: larger ones travel in many small parts, which
/// costs tens of milliseconds a save.
const SMALL_BYTES: u64 = 32 * 1024 * 1024;
/// What a gateway calls itself that runs functions as processes.
const PROCESS: &str = "flint-process";
/// Longest wait for it to say so.
const INFO_TIMEOUT: Duration = Duration::from_secs(10);

/// What a gateway runs functions from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Images, in containers.
    Images,
    /// Bundles, as processes.
    Bundles,
}

impl Backend {
    /// What a gateway runs that says this of itself.
    pub fn of(info: &Info) -> Self {
        if info.provider == PROCESS { Self::Bundles } else { Self::Images }
    }

    /// The same, of the answer that says it.
    pub(crate) fn of_answer(answer: &Answer) -> Self {
        answer.json("the gateway").map_or(Self::Images, |value| Self::of(&Info::read(&value)))
    }
}

impl Gateway {
    /// What it runs functions from. One that does not say so runs images.
    pub async fn backend(&self) -> Backend {
        let info = self.info(INFO_TIMEOUT).await.ok();
        info.as_ref().map_or(Backend::Images, Backend::of)
    }

    /// Gives it a bundle that it does not have; whether it had to be sent. It takes in faster what
    /// is like `base`, an earlier version of the function that it has.
    pub async fn put_bundle(
        &self,
        digest: Digest,
        archive: &Path,
        base: Option<Digest>,
    ) -> Result<bool> {
        let what = format!("cannot give bundle {digest} to the gateway");
        let path = format!("/system/bundles/{digest}");
        let answer = self.ask(self.request(Method::HEAD, &path)).await?;
        if answer.status != StatusCode::NOT_FOUND {
            return answer.success(&what).map(|_| false);
        }
        let shown = || archive.display().to_string();
        let file = tokio::fs::File::open(archive).await.with_context(shown)?;
        let size = file.metadata().await.with_context(shown)?.len();
        let body = match size <= SMALL_BYTES {
            true => Body::from(tokio::fs::read(archive).await.with_context(shown)?),
            false => Body::from(file),
        };
        let request = self
            .request(Method::PUT, &path)
            .query(&base.map(|base| [("base", base.to_string())]))
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .header(CONTENT_LENGTH, size)
            .body(body);
        self.ask_within(UPLOAD_TIMEOUT, request).await?.success(&what).map(|_| true)
    }
}
