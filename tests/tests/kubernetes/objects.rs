//! Functions as objects of the cluster: made with `kubectl`, and the same thing as those of the API.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use system::cluster::{Cluster, kubectl, until};
use system::helm;

use crate::cases;
use crate::world::{World, instances};

cases![
    a_function_that_is_applied_runs_and_tells_how_it_is,
    a_function_that_cannot_run_says_why,
    functions_of_the_api_are_objects_too,
];

/// The kind of ours.
const KIND: &str = "functions.flint.dev";
/// How long `kubectl` waits.
const PATIENCE: &str = "--timeout=120s";

/// A world in a cluster that knows our kinds.
fn world() -> Result<World> {
    let kinds = helm::chart().join("crds");
    kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &kinds.to_string_lossy()])?;
    kubectl(&["wait", "--for=condition=Established", &format!("crd/{KIND}"), PATIENCE])?;
    World::start()
}

fn object(name: &str, image: &str, version: &str) -> Value {
    json!({
        "apiVersion": "flint.dev/v1", "kind": "Function", "metadata": { "name": name },
        "spec": { "name": name, "image": image, "environment": { "VERSION": version } },
    })
}

/// Whether a condition is so, of the object as it is now.
fn is(object: &Value, kind: &str, wanted: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
        && conditions
            .is_some_and(|all| all.iter().any(|c| c["type"] == kind && c["status"] == wanted))
}

async fn until_it_is(cluster: &Cluster, name: &str, kind: &str, wanted: &str) -> Result<Value> {
    let look = async || cluster.get(&[KIND, name]);
    until(&format!("{kind}={wanted}"), look, |object| is(object, kind, wanted)).await
}

async fn a_function_that_is_applied_runs_and_tells_how_it_is() -> Result<()> {
    let world = world()?;
    let World { client, cluster, image, .. } = &world;
    cluster.apply(&object("f", image, "1"))?;
    for condition in ["Ready", "Healthy"] {
        let wait = format!("--for=condition={condition}");
        cluster.kubectl(&["wait", &wait, &format!("{KIND}/f"), PATIENCE])?;
    }
    client.until("f", "ready", |s| s["availableReplicas"] == 1).await?;
    ensure!(client.call("f/version").await?.1 == "1");
    let printed = cluster.kubectl(&["get", KIND])?;
    ensure!(printed.contains(image) && printed.contains("True"), "{printed}");
    let described = cluster.kubectl(&["describe", KIND, "f"])?;
    ensure!(described.contains("Available Replicas") && described.contains("Ready"), "{described}");

    cluster.apply(&object("f", image, "2"))?;
    until_it_is(cluster, "f", "Ready", "True").await?;
    let second = |s: &Value| s["envVars"]["VERSION"] == "2" && instances(s).len() == 1;
    client.until("f", "the second version", second).await?;
    ensure!(client.call("f/version").await?.1 == "2");

    cluster.kubectl(&["delete", KIND, "f", PATIENCE])?;
    client.until("f", "gone", Value::is_null).await?;
    let left = async || cluster.get(&["deployments,services,pods", "--selector=faas_function=f"]);
    let none = |all: &Value| all["items"].as_array().is_some_and(Vec::is_empty);
    until("without what it was made of", left, none).await.map(|_| ())
}

async fn a_function_that_cannot_run_says_why() -> Result<()> {
    let world = world()?;
    let World { client, cluster, image, .. } = &world;
    cluster.apply(&object("crashes", image, "1"))?;
    until_it_is(cluster, "crashes", "Healthy", "True").await?;
    let mut broken = object("crashes", image, "2");
    broken["spec"]["environment"]["CRASH"] = json!("1");
    cluster.apply(&broken)?;
    let told = |object: &Value| {
        let text = object["status"]["conditions"].to_string();
        is(object, "Ready", "False") && text.contains("exit code 1")
    };
    until("told why", async || cluster.get(&[KIND, "crashes"]), told).await?;
    ensure!(client.call("crashes/version").await?.1 == "1", "the old version serves on");

    // What no API would take stalls, until it is mended.
    let mut invalid = object("invalid", image, "1");
    invalid["spec"]["secrets"] = json!(["none"]);
    cluster.apply(&invalid)?;
    let stalled = until_it_is(cluster, "invalid", "Stalled", "True").await?;
    let text = stalled["status"]["conditions"].to_string();
    ensure!(text.contains("none"), "{text}");
    cluster.kubectl(&["create", "secret", "generic", "none", "--from-literal=a=b"])?;
    until_it_is(cluster, "invalid", "Ready", "True").await.map(|_| ())
}

async fn functions_of_the_api_are_objects_too() -> Result<()> {
    let world = world()?;
    let World { client, cluster, .. } = &world;
    client.deploy(world.function("f")).await?;
    let made = cluster.get(&[KIND, "f"])?;
    ensure!(made["spec"]["image"] == world.image, "{made:#}");
    until_it_is(cluster, "f", "Ready", "True").await?;
    let mut changed = world.function("f");
    changed["envVars"] = json!({ "VERSION": "2" });
    client.deploy(changed).await?;
    let object = until_it_is(cluster, "f", "Ready", "True").await?;
    ensure!(object["spec"]["environment"]["VERSION"] == "2", "{object:#}");
    // One deploy is one roll, whoever of the two writers comes first.
    let deployment = cluster.get(&["deployment", "f"])?;
    let revision = &deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
    ensure!(revision == "2", "it was rolled {revision} times");
    let removed = client.remove("f").await?;
    ensure!(removed.0.is_success(), "{removed:?}");
    let names = async || cluster.get(&[KIND]);
    let none = |all: &Value| all["items"].as_array().is_some_and(Vec::is_empty);
    let left = until("without the object", names, none).await.context("the object stays")?;
    ensure!(none(&left));
    Ok(())
}
