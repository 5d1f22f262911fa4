//! Requests to a gateway, as its clients send them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::{Client as Http, Method, StatusCode};
use serde_json::{Value, json};

use crate::gateway::Gateway;

/// Longest wait for a function to be as wanted.
const PATIENCE: Duration = Duration::from_secs(90);
/// Longest that a call may take.
const CALL: Duration = Duration::from_secs(120);
/// How long a connection lies unused before it is closed.
const IDLE: Duration = Duration::from_secs(20);
/// Time between two looks at a status.
const PAUSE: Duration = Duration::from_millis(50);

/// A client with the gateway's credentials.
#[derive(Clone)]
pub struct Client {
    http: Http,
    url: String,
    password: String,
}

/// A status and a body.
pub type Answer = (StatusCode, String);

impl Client {
    /// A client of this gateway.
    pub fn new(gateway: &Gateway) -> Result<Self> {
        Self::over(gateway, http()?)
    }

    /// A client that speaks to the gateway in this way.
    pub fn over(gateway: &Gateway, http: Http) -> Result<Self> {
        Ok(Self { http, url: gateway.url.clone(), password: gateway.password()? })
    }

    /// A client of whatever answers there.
    pub fn at(url: &str, password: String) -> Result<Self> {
        Ok(Self { http: http()?, url: url.to_owned(), password })
    }

    /// A request to `/system/...` with credentials and perhaps a body.
    pub async fn system(&self, method: Method, path: &str, body: Option<Value>) -> Result<Answer> {
        let request = self.system_request(method, path);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let response = request.send().await?;
        Ok((response.status(), response.text().await?))
    }

    /// A request to `/system/...` with credentials, to be made by hand.
    pub fn system_request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        request.basic_auth("admin", Some(&self.password))
    }

    /// A call of a function; the path starts with its name.
    pub async fn call(&self, path: &str) -> Result<Answer> {
        let response = self.http.get(format!("{}/function/{path}", self.url)).send().await?;
        Ok((response.status(), response.text().await?))
    }

    /// A request without credentials, to be made by hand.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    /// Deploys a function and waits until that generation runs.
    pub async fn deploy(&self, function: Value) -> Result<()> {
        let generation = self.apply(&function).await?;
        let name = function["service"].as_str().context("no service")?;
        self.until(name, "ready", |status| {
            status["generation"].as_u64() >= Some(generation)
                && status["updatedReplicas"].as_u64() >= Some(1)
                && status["updatedReplicas"] == status["replicas"]
        })
        .await
        .map(|_| ())
    }

    /// Deploys a function without waiting; gives its generation.
    pub async fn apply(&self, function: &Value) -> Result<u64> {
        let path = "/system/functions";
        let (mut status, mut body) = self.system(Method::PUT, path, Some(function.clone())).await?;
        if status == StatusCode::NOT_FOUND {
            (status, body) = self.system(Method::POST, path, Some(function.clone())).await?;
        }
        if status != StatusCode::ACCEPTED {
            bail!("deploy answered {status}: {body}");
        }
        let name = function["service"].as_str().context("no service")?;
        let known = self.status(name).await?.context("deployed, and not there")?;
        known["generation"].as_u64().context("no generation")
    }

    /// A function's status; `None` when there is none.
    pub async fn status(&self, name: &str) -> Result<Option<Value>> {
        let path = format!("/system/function/{name}");
        let (status, body) = self.system(Method::GET, &path, None).await?;
        match status {
            StatusCode::OK => Ok(Some(serde_json::from_str(&body)?)),
            StatusCode::NOT_FOUND => Ok(None),
            _ => bail!("{path} answered {status}: {body}"),
        }
    }

    /// Waits until a function's status is as wanted; fails with the last one when it never is.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let start = Instant::now();
        loop {
            let status = self.status(name).await?.unwrap_or(Value::Null);
            if wanted(&status) {
                return Ok(status);
            }
            if start.elapsed() > PATIENCE {
                bail!("{name} never was {what}: {status:#}");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Removes a function.
    pub async fn remove(&self, name: &str) -> Result<Answer> {
        let body = json!({ "functionName": name });
        self.system(Method::DELETE, "/system/functions", Some(body)).await
    }
}

/// Programs that a test waits for may take longer than the gateway keeps idle connections.
fn http() -> Result<Http> {
    let http = Http::builder().timeout(CALL).pool_idle_timeout(IDLE).build()?;
    Ok(http)
}
