//! Scaling by alert: a real Prometheus, a real Alertmanager, and what they may not do.

use anyhow::{Context, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use system::alerting::Alerting;
use system::client::Client;
use system::load::{self, none_failed};
use system::world::World;

/// A function of which an alert makes half of the most, four.
fn function(image: &str) -> Value {
    let labels = json!({ "com.openfaas.scale.max": "4", "com.openfaas.scale.factor": "50" });
    json!({ "service": "f", "image": image, "labels": labels })
}

async fn replicas(client: &Client, count: u32) -> Result<()> {
    let wanted =
        |status: &Value| status["availableReplicas"] == count && status["replicas"] == count;
    client.until("f", &format!("{count} replicas"), wanted).await.map(|_| ())
}

#[tokio::test]
async fn load_makes_an_alert_fire_which_adds_replicas_until_it_is_resolved() -> Result<()> {
    let World { gateway, client, image } = World::start("process").await?;
    client.deploy(function(&image)).await?;
    let alerting = Alerting::start(&gateway)?;
    let load = load::start(&gateway, "/function/f/version")?;
    // Two at a time: the alert came more than once.
    replicas(&client, 4).await.with_context(|| alerting.complaints())?;
    none_failed(&load.stop().await?)?;
    replicas(&client, 1).await.with_context(|| alerting.complaints())
}

async fn send(client: &Client, body: &str) -> Result<(StatusCode, String)> {
    let request = client.system_request(Method::POST, "/system/alert").body(body.to_owned());
    let response = request.send().await?;
    Ok((response.status(), response.text().await?))
}

fn message(status: &str, function: &str) -> String {
    let labels = json!({ "alertname": "APIHighInvocationRate", "function_name": function });
    let alert = json!({ "status": status, "labels": labels });
    json!({ "receiver": "scale", "status": status, "alerts": [alert] }).to_string()
}

#[tokio::test]
async fn the_webhook_answers_as_the_contract_says() -> Result<()> {
    let World { gateway: _gateway, client, image } = World::start("process").await?;
    client.deploy(function(&image)).await?;
    for (name, status, count) in [
        ("f", "firing", 3),
        ("f.openfaas-fn", "firing", 4),
        ("f", "firing", 4),
        ("none", "firing", 4),
        ("f.none", "resolved", 4),
        ("../f", "resolved", 4),
        ("f", "resolved", 1),
    ] {
        let (code, text) = send(&client, &message(status, name)).await?;
        ensure!(code == StatusCode::OK && text.is_empty(), "{name} {status}: {code} {text}");
        replicas(&client, count).await?;
    }
    for bad in ["", "{", "[]x", r#"{"alerts":"none"}"#] {
        let (code, text) = send(&client, bad).await?;
        ensure!(code == StatusCode::BAD_REQUEST, "{bad}: {code}");
        ensure!(text == "Unable to parse alert, bad format.", "{text}");
    }
    let nobody = client.request(Method::POST, "/system/alert").body(message("firing", "f"));
    ensure!(nobody.send().await?.status() == StatusCode::UNAUTHORIZED);
    Ok(())
}

#[tokio::test]
async fn an_alert_that_cannot_be_heeded_is_500_with_a_line_that_says_why() -> Result<()> {
    let gateway = system::gateway::Gateway::start_on("process", &["--max-replicas=1"])?;
    let client = Client::new(&gateway)?;
    let image = system::bundle::test_function(&client).await?;
    client.deploy(function(&image)).await?;
    let (code, text) = send(&client, &message("firing", "f")).await?;
    ensure!(code == StatusCode::INTERNAL_SERVER_ERROR, "{code} {text}");
    ensure!(text.starts_with("[0] ") && text.contains("--max-replicas"), "{text}");
    replicas(&client, 1).await
}
