//! Secrets (contract 1.10).

use anyhow::Result;
use provider::Secret;
use reqwest::Method;

use super::functions::in_namespace;
use super::{Answer, Gateway};

const SECRETS: &str = "/system/secrets";

impl Gateway {
    /// The names of a namespace's secrets.
    pub async fn secrets(&self, namespace: &str) -> Result<Vec<Secret>> {
        let what = "cannot list secrets";
        let request = self.request(Method::GET, SECRETS).query(&in_namespace(namespace));
        let answer = self.ask(request).await?.success(what)?;
        let all: Option<Vec<Secret>> = answer.json(what)?;
        Ok(all.unwrap_or_default())
    }

    /// Creates a secret with POST, gives it a new value with PUT, removes it with DELETE.
    ///
    /// The status is the caller's to judge.
    pub async fn put_secret(&self, method: Method, secret: &Secret) -> Result<Answer> {
        let mut request = self.request(method.clone(), SECRETS);
        if method == Method::DELETE {
            // Providers differ in where they look for the namespace (contract 1.10).
            request = request.query(&in_namespace(&secret.namespace));
        }
        self.ask(request.json(secret)).await
    }
}
