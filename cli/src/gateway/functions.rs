//! Functions: list, read, deploy, remove, scale (contract 1.6).

use std::time::Duration;

use anyhow::{Context as _, Result};
use provider::Function;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Answer, Gateway, Seen};

const FUNCTIONS: &str = "/system/functions";

impl Gateway {
    /// The functions of a namespace; an empty one is the gateway's default.
    pub async fn functions(&self, namespace: &str) -> Result<Vec<Seen>> {
        let what = "cannot list functions";
        let request = self.request(Method::GET, FUNCTIONS).query(&in_namespace(namespace));
        let answer = self.ask(request).await?.success(what)?;
        let all: Option<Vec<Value>> = answer.json(what)?;
        all.unwrap_or_default()
            .into_iter()
            .map(Seen::from_value)
            .collect::<Result<_>>()
            .context(what)
    }

    /// One function; `None` when there is none of this name.
    pub async fn function(&self, name: &str, namespace: &str) -> Result<Option<Seen>> {
        let what = format!("cannot read function {name}");
        let request = self
            .request(Method::GET, &format!("/system/function/{}", segment(name)))
            .query(&[("usage", "1")])
            .query(&in_namespace(namespace));
        let answer = self.ask(request).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let answer = answer.success(&what)?;
        Seen::from_value(answer.json(&what)?).context(what).map(Some)
    }

    /// How a function is scaled; `None` when the gateway does not tell.
    pub async fn scaling(&self, name: &str, namespace: &str) -> Result<Option<Value>> {
        let what = format!("cannot read how function {name} is scaled");
        let path = format!("/system/function/{}/scaling", segment(name));
        let request = self.request(Method::GET, &path).query(&in_namespace(namespace));
        let answer = self.ask(request).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer.success(&what)?.json(&what).map(Some)
    }

    /// Sends a function: POST creates, PUT updates. The status is the caller's to judge.
    pub async fn put_function(
        &self,
        method: Method,
        function: &Function,
        limit: Duration,
    ) -> Result<Answer> {
        self.ask_within(limit, self.request(method, FUNCTIONS).json(function)).await
    }

    /// Removes a function. The status is the caller's to judge.
    pub async fn remove_function(&self, name: &str, namespace: &str) -> Result<Answer> {
        let body = json!({"functionName": name, "namespace": namespace});
        // Providers differ in where they look for the namespace (contract 1.6).
        let request = self.request(Method::DELETE, FUNCTIONS).query(&in_namespace(namespace));
        self.ask(request.json(&body)).await
    }

    /// Wants so many replicas. The status is the caller's to judge.
    pub async fn scale_function(
        &self,
        name: &str,
        namespace: &str,
        replicas: u32,
    ) -> Result<Answer> {
        let body = json!({"serviceName": name, "replicas": replicas, "namespace": namespace});
        let path = format!("/system/scale-function/{}", segment(name));
        let request = self.request(Method::POST, &path).query(&in_namespace(namespace));
        self.ask(request.json(&body)).await
    }
}

/// The query parameter of a namespace; none for the default one.
pub(super) fn in_namespace(namespace: &str) -> Vec<(&'static str, &str)> {
    if namespace.is_empty() { Vec::new() } else { vec![("namespace", namespace)] }
}

/// A name as a segment of a path: whatever else a name holds cannot leave its segment.
pub(super) fn segment(name: &str) -> String {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let encode = |b| if safe(b) { (b as char).to_string() } else { format!("%{b:02X}") };
    name.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_stay_segments() {
        assert_eq!(segment("echo.dev"), "echo.dev");
        assert_eq!(segment("../a?b"), "..%2Fa%3Fb");
    }
}
