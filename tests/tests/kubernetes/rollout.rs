//! Gateways behind their Service: they are replaced and go away, and no call fails.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use system::cluster::{self, until};
use system::gate::{Gate, Site};
use system::helm::{Helm, Release};
use system::image;
use system::replica::Replica;

use crate::cases;

cases![no_call_fails_while_gateways_are_replaced];

/// How long `kubectl` waits for gateways to be replaced.
const PATIENCE: &str = "--timeout=180s";

/// A release whose gateways answer together.
struct Behind {
    release: Release,
    url: String,
}

impl Site for Behind {
    fn url(&self) -> &str {
        &self.url
    }

    fn provider(&self) -> &str {
        "kubernetes"
    }

    fn replica(&self, id: &str) -> Result<Replica> {
        Replica::of_pod(&self.release.functions, id)
    }
}

impl Behind {
    /// What became of the gateways, and their last words; one that is about to be gone has none any more.
    fn history(&self) -> String {
        let events = ["get", "events", "--sort-by=.metadata.creationTimestamp"];
        let logs =
            ["logs", "--selector=app.kubernetes.io/component=gateway", "--tail=20", "--prefix"];
        let told = |args: &[&str]| {
            self.release.kubectl(args).unwrap_or_else(|error| format!("not all is told: {error}"))
        };
        [told(&events), told(&logs)].join("\n")
    }

    /// Who holds the election's Lease, a gateway's pod.
    fn leader(&self) -> Result<String> {
        Ok(cluster::leader(&self.release.get(&["leases"])?))
    }
}

async fn no_call_fails_while_gateways_are_replaced() -> Result<()> {
    let release = Release::new(Helm::Three)?;
    // Calls come more often than one replica is meant for, and replicas are counted. The delay is the chart's own: on a
    // busy node it takes more than a second until new connections go elsewhere.
    let gateway = json!({ "replicas": 2, "scaleByLoad": false, "shutdownDelay": "5s" });
    release.install(&json!({ "gateway": gateway }))?;
    let (client, url) = (release.client()?, release.url()?);
    let image = image::test_function()?.to_owned();
    let mut gate = Gate::open(Behind { release, url }, client, image).await?;
    let replaced = replace(&mut gate).await;
    // What gateways went through is gone with the release.
    println!("{}", gate.gateway.history());
    gate.close().await?;
    replaced
}

async fn replace(gate: &mut Gate<Behind>) -> Result<()> {
    gate.step("gateways are rolled out");
    let deployment = "deployment/gateway";
    gate.gateway.release.kubectl(&["rollout", "restart", deployment])?;
    gate.gateway.release.kubectl(&["rollout", "status", deployment, PATIENCE])?;
    gate.calls_go_on().await?;
    gate.step("rolling update by the new gateways");
    gate.deploy_next().await?;
    gate.calls_go_on().await?;

    gate.step("the leader is deleted");
    let holder = async || Ok(json!(gate.gateway.leader()?));
    let old = until("led", holder, |leader| leader != "").await?;
    let pod = old.as_str().context("the leader has no name")?;
    gate.gateway.release.kubectl(&["delete", "pod", pod, PATIENCE])?;
    let new = until("led by another one", holder, |now| now != "" && *now != old).await?;
    ensure!(new != old, "{new} still leads");
    gate.calls_go_on().await?;
    gate.step("rolling update by the new leader");
    gate.deploy_next().await?;
    gate.calls_go_on().await
}
