//! Secrets: files of functions, and never anything else.

use anyhow::{Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use system::client::Client;
use system::cluster::until;

use crate::cases;
use crate::world::World;

cases![secrets_are_files_that_follow_what_they_are_changed_to, secrets_of_others_can_be_mounted];

const PATH: &str = "f/file?path=/var/openfaas/secrets";

async fn secret(client: &Client, method: Method, body: Value) -> Result<(StatusCode, String)> {
    client.system(method, "/system/secrets", Some(body)).await
}

async fn secrets_are_files_that_follow_what_they_are_changed_to() -> Result<()> {
    let world = World::start()?;
    let client = &world.client;
    let (first, second) = ("red as a rose", "blue as the sea");
    let made = secret(client, Method::POST, json!({ "name": "colour", "value": first })).await?;
    ensure!(made.0.is_success(), "{made:?}");
    let again = secret(client, Method::POST, json!({ "name": "colour", "value": first })).await?;
    ensure!(again.0 == StatusCode::CONFLICT, "{again:?}");
    let mut function = world.function("f");
    function["secrets"] = json!(["colour"]);
    client.deploy(function).await?;
    let (status, read) = client.call(&format!("{PATH}/colour")).await?;
    ensure!(status == StatusCode::OK && read == first, "{status}: {read}");

    let (_, list) = client.system(Method::GET, "/system/secrets", None).await?;
    let listed: Value = serde_json::from_str(&list)?;
    ensure!(listed == json!([{ "name": "colour", "namespace": "openfaas-fn" }]), "{list}");
    let put = secret(client, Method::PUT, json!({ "name": "colour", "value": second })).await?;
    ensure!(put.0.is_success(), "{put:?}");
    // The kubelet brings it to pods that run, in its own time.
    follows(client, &format!("{PATH}/colour"), second).await?;

    let deployment = world.cluster.kubectl(&["get", "deployment", "f", "-o", "json"])?;
    ensure!(!deployment.contains(first) && !deployment.contains(second), "a value is in there");
    for expected in [StatusCode::ACCEPTED, StatusCode::NOT_FOUND] {
        let gone = secret(client, Method::DELETE, json!({ "name": "colour" })).await?;
        ensure!(gone.0 == expected, "{gone:?}");
    }
    Ok(())
}

async fn follows(client: &Client, path: &str, wanted: &str) -> Result<()> {
    let look = async || Ok(Value::String(client.call(path).await?.1));
    until("what it was changed to", look, |read| read == wanted).await.map(|_| ())
}

async fn secrets_of_others_can_be_mounted() -> Result<()> {
    let world = World::start()?;
    world.cluster.kubectl(&[
        "create",
        "secret",
        "generic",
        "by-hand",
        "--from-literal=key=word",
    ])?;
    let mut function = world.function("f");
    function["secrets"] = json!(["by-hand"]);
    world.client.deploy(function).await?;
    let (status, read) = world.client.call(&format!("{PATH}/key")).await?;
    ensure!(status == StatusCode::OK && read == "word", "{status}: {read}");
    // It is not the gateway's: it is neither listed nor removed.
    let (_, list) = world.client.system(Method::GET, "/system/secrets", None).await?;
    ensure!(list == "[]", "{list}");
    let gone = secret(&world.client, Method::DELETE, json!({ "name": "by-hand" })).await?;
    ensure!(gone.0 == StatusCode::CONFLICT, "{gone:?}");
    world.cluster.get(&["secret", "by-hand"]).map(|_| ())
}
