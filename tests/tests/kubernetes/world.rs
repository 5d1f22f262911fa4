//! What most tests begin with, and what they look at.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use system::client::Client;
use system::cluster::Cluster;
use system::gateway::Gateway;
use system::image;

/// What the first gateway is called.
pub(crate) const FIRST: &str = "gateway-0";
/// What the second one is called.
pub(crate) const SECOND: &str = "gateway-1";

/// A gateway, a client of it and the test function, in a namespace of their own.
pub(crate) struct World {
    // Dropped in this order: what a gateway would make again goes after it.
    pub(crate) gateway: Gateway,
    pub(crate) client: Client,
    pub(crate) cluster: Cluster,
    pub(crate) image: &'static str,
}

impl World {
    pub(crate) fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// Starts one whose gateway has more arguments than the usual.
    pub(crate) fn start_with(args: &[&str]) -> Result<Self> {
        let cluster = Cluster::new()?;
        let gateway = cluster.gateway(FIRST, args)?;
        let (client, image) = (Client::new(&gateway)?, image::test_function()?);
        Ok(Self { gateway, client, cluster, image })
    }

    /// The least that a function is.
    pub(crate) fn function(&self, name: &str) -> Value {
        json!({ "service": name, "image": self.image })
    }
}

/// Asks for so many replicas.
pub(crate) async fn scale(client: &Client, name: &str, replicas: u32) -> Result<()> {
    let path = format!("/system/scale-function/{name}");
    let body = json!({ "serviceName": name, "replicas": replicas });
    let (status, text) = client.system(Method::POST, &path, Some(body)).await?;
    ensure!(status.is_success(), "{path} answered {status}: {text}");
    Ok(())
}

/// Puts a function to sleep and waits until nothing of it is left.
pub(crate) async fn to_zero(client: &Client, name: &str) -> Result<()> {
    scale(client, name, 0).await?;
    let asleep = |s: &Value| s["replicas"] == 0 && instances(s).is_empty();
    client.until(name, "asleep", asleep).await.map(|_| ())
}

pub(crate) fn instances(status: &Value) -> &[Value] {
    status["instances"].as_array().map_or(&[], Vec::as_slice)
}

/// What was decided about a function's replicas, the newest first.
pub(crate) async fn decisions(client: &Client, name: &str) -> Result<Vec<Value>> {
    let path = format!("/system/function/{name}/scaling");
    let (status, body) = client.system(Method::GET, &path, None).await?;
    ensure!(status.is_success(), "{path} answered {status}: {body}");
    let told: Value = serde_json::from_str(&body)?;
    told["decisions"].as_array().cloned().context("no decisions")
}
