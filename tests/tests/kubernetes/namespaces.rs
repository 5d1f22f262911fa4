//! A gateway of the whole cluster: the namespaces that are its own, and no others.

use anyhow::{Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use system::cluster::kubectl;

use crate::cases;
use crate::world::World;

cases![a_gateway_of_the_whole_cluster_serves_its_own_namespaces_only];

async fn a_gateway_of_the_whole_cluster_serves_its_own_namespaces_only() -> Result<()> {
    let mut world = World::start_with(&["--cluster-wide=true"])?;
    let of = |what: &str| format!("{}-{what}", world.cluster.namespace);
    let (made, foreign, bare) = (of("made"), of("foreign"), of("bare"));
    for namespace in [&made, &foreign, &bare] {
        world.cluster.remove_too(namespace);
    }
    kubectl(&["create", "namespace", &bare])?;
    kubectl(&["create", "namespace", &foreign])?;
    let of_another = ["openfaas=1", "flint.dev/gateway=of-another"];
    kubectl(&[&["annotate", "namespace", &foreign], &of_another[..]].concat())?;

    let client = &world.client;
    let body = Some(json!({ "name": made }));
    let (status, text) = client.system(Method::POST, "/system/namespace/", body).await?;
    ensure!(status == StatusCode::CREATED, "{status}: {text}");
    let (_, text) = client.system(Method::GET, "/system/namespaces", None).await?;
    let listed: Vec<String> = serde_json::from_str(&text)?;
    ensure!(listed.contains(&made), "{listed:?}");
    ensure!(!listed.contains(&foreign) && !listed.contains(&bare), "{listed:?}");

    for namespace in [&foreign, &bare, &"kube-system".to_owned()] {
        let mut function = world.function("f");
        function["namespace"] = json!(namespace);
        let (status, text) =
            client.system(Method::POST, "/system/functions", Some(function)).await?;
        ensure!(status == StatusCode::BAD_REQUEST, "{namespace}: {status}: {text}");
        ensure!(text.starts_with("namespace"), "{text}");
    }

    for namespace in ["", &made] {
        let mut function = world.function("f");
        function["envVars"] = json!({ "VERSION": format!("in {namespace}") });
        if !namespace.is_empty() {
            function["namespace"] = json!(namespace);
        }
        let (status, text) =
            client.system(Method::POST, "/system/functions", Some(function)).await?;
        ensure!(status == StatusCode::ACCEPTED, "{status}: {text}");
    }
    let (status, body) = client.call("f/version").await?;
    ensure!(status == StatusCode::OK && body == "in ", "{status}: {body}");
    let (status, body) = client.call(&format!("f.{made}/version")).await?;
    ensure!(status == StatusCode::OK && body == format!("in {made}"), "{status}: {body}");
    let path = format!("/system/functions?namespace={made}");
    let (_, text) = client.system(Method::GET, &path, None).await?;
    let functions: Vec<Value> = serde_json::from_str(&text)?;
    ensure!(functions.len() == 1 && functions[0]["namespace"] == made, "{text}");
    Ok(())
}
