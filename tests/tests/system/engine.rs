//! The Docker engine goes away and comes back.

use anyhow::Result;
use reqwest::{Method, StatusCode};
use serde_json::json;
use system::client::Client;
use system::engine::Engine;
use system::gateway::Gateway;
use system::image;

#[tokio::test]
async fn functions_are_served_again_after_the_engine_restarted() -> Result<()> {
    let mut engine = Engine::start()?;
    let image = image::test_function()?;
    engine.take(image)?;
    let gateway = Gateway::start(&["--docker-host", &engine.host()])?;
    let client = Client::new(&gateway)?;
    client.deploy(json!({ "service": "f", "image": image, "envVars": { "VERSION": "1" } })).await?;
    let label = format!("label=dev.flint.network={}", gateway.network);
    let containers = |engine: &Engine| engine.docker(&["ps", "-aq", "--filter", &label]);
    let before = containers(&engine)?;

    engine.down()?;
    let health = client.request(Method::GET, "/healthz").send().await?;
    assert_eq!(health.status(), StatusCode::SERVICE_UNAVAILABLE);
    let (status, body) = client
        .system(Method::POST, "/system/functions", Some(json!({ "service": "g", "image": image })))
        .await?;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");

    engine.up()?;
    client.until("f", "ready", |status| status["availableReplicas"] == 1).await?;
    let mut answer = client.call("f/version").await?;
    for _ in 0..100 {
        if answer.0 == StatusCode::OK {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        answer = client.call("f/version").await?;
    }
    assert_eq!(answer, (StatusCode::OK, "1".to_owned()));
    assert_eq!(containers(&engine)?, before, "nothing was deployed anew");
    Ok(())
}
