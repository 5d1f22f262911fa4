//! Namespaces (contract 1.9).

use anyhow::Result;
use provider::Namespace;
use reqwest::{Method, StatusCode};

use super::functions::segment;
use super::{Answer, Gateway};

impl Gateway {
    /// The names of all namespaces.
    pub async fn namespaces(&self) -> Result<Vec<String>> {
        let what = "cannot list namespaces";
        let request = self.request(Method::GET, "/system/namespaces");
        let answer = self.ask(request).await?.success(what)?;
        let all: Option<Vec<String>> = answer.json(what)?;
        Ok(all.unwrap_or_default())
    }

    /// One namespace; `None` when there is none of this name.
    pub async fn namespace(&self, name: &str) -> Result<Option<Namespace>> {
        let what = format!("cannot read namespace {name}");
        let path = format!("/system/namespace/{}", segment(name));
        let answer = self.ask(self.request(Method::GET, &path)).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer.success(&what)?.json(&what).map(Some)
    }

    /// Creates a namespace with POST, changes it with PUT, removes it with DELETE.
    ///
    /// The status is the caller's to judge.
    pub async fn put_namespace(&self, method: Method, namespace: &Namespace) -> Result<Answer> {
        let name = if method == Method::POST { String::new() } else { segment(&namespace.name) };
        let request = self.request(method, &format!("/system/namespace/{name}"));
        self.ask(request.json(namespace)).await
    }
}
