//! Images to and from registries.

use anyhow::{Context as _, Result};
use reqwest::{Method, RequestBuilder, StatusCode};

use super::super::progress::Line;
use super::super::registry::Credentials;
use super::super::tag::split;
use super::Engine;
use super::message::Messages;
use crate::error::hinted;

/// The header with credentials.
const AUTH: &str = "X-Registry-Auth";
/// What is sent when none are known: an empty JSON object in base64.
const NO_AUTH: &str = "e30=";

impl Engine {
    /// Whether the engine has an image of that name.
    pub(super) async fn has_image(&self, image: &str) -> Result<bool> {
        let answer = self.request(Method::GET, &format!("/images/{image}/json")).send().await;
        Ok(answer.context("the engine broke off")?.status() == StatusCode::OK)
    }

    /// Pulls an image.
    pub(super) async fn pull(
        &self,
        image: &str,
        login: Option<&Credentials>,
        line: &mut Line,
    ) -> Result<()> {
        line.step(&format!("pulling {image}"));
        // Without a tag, the engine would pull all of them.
        let (name, tag) = split(image);
        let tag = if image.contains('@') { "" } else { tag.unwrap_or("latest") };
        let name = if image.contains('@') { image } else { name };
        let request = self
            .request(Method::POST, "/images/create")
            .query(&[("fromImage", name), ("tag", tag)]);
        let done = self.transfer(request, login, line).await;
        done.with_context(|| format!("cannot pull {image}"))
    }

    /// Pushes an image.
    pub(crate) async fn push(
        &self,
        image: &str,
        login: Option<&Credentials>,
        line: &mut Line,
    ) -> Result<()> {
        line.step(&format!("pushing {image}"));
        let (name, tag) = split(image);
        let request = self.request(Method::POST, &format!("/images/{name}/push"));
        let request = request.query(&[("tag", tag.unwrap_or("latest"))]);
        self.transfer(request, login, line).await.map_err(|error| {
            let reason = format!("{error:#}");
            let message = format!("cannot push {image}: {reason}");
            match (reason.contains("does not exist"), login) {
                (true, _) => hinted(message, "`faas build` makes it, with the same --tag"),
                (false, Some(_)) => {
                    hinted(message, "is the login still good? `docker login` makes a new one")
                }
                (false, None) => {
                    hinted(message, "no login for this registry is known; `docker login` makes one")
                }
            }
        })
    }

    async fn transfer(
        &self,
        request: RequestBuilder,
        login: Option<&Credentials>,
        line: &mut Line,
    ) -> Result<()> {
        let header = login.map_or_else(|| Ok(NO_AUTH.to_owned()), Credentials::header)?;
        let answer = request.header(AUTH, header).send().await.context("the engine broke off")?;
        let mut messages = Messages::of(answer).await?;
        while let Some(message) = messages.next().await? {
            if let Some(text) = message.failure() {
                anyhow::bail!("{text}");
            }
            if let Some(text) = message.status.as_deref().filter(|text| text.contains("digest:")) {
                line.note(text);
            }
        }
        Ok(())
    }
}
