//! The chart as a release: installed, used, changed, taken back and removed.

use anyhow::{Context, Result, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};
use system::cluster::{kubectl, until};
use system::helm::{Helm, Release, chart};
use system::image;
use system::prometheus::Prometheus;

use crate::cases;
use crate::manifests::Manifests;

cases![
    helm_3_installs_upgrades_rolls_back_and_leaves_nothing,
    helm_4_installs_upgrades_rolls_back_and_leaves_nothing,
    two_releases_do_not_see_each_other,
    prometheus_sees_every_gateway_and_every_replica,
];

async fn helm_3_installs_upgrades_rolls_back_and_leaves_nothing() -> Result<()> {
    life(Helm::Three).await
}

async fn helm_4_installs_upgrades_rolls_back_and_leaves_nothing() -> Result<()> {
    life(Helm::Four).await
}

async fn life(helm: Helm) -> Result<()> {
    let release = Release::new(helm)?;
    release.install(&json!({ "clusterRole": true }))?;
    let (password, client) = (release.password()?, release.client()?);
    ensure!(password.len() == 32, "the password has {} characters", password.len());
    client.deploy(json!({ "service": "f", "image": image::test_function()? })).await?;
    answers(&release, "f").await?;

    release.upgrade(&json!({ "gateway": { "replicas": 2, "accessLog": false } }))?;
    ensure!(release.password()? == password, "the upgrade changed the password");
    ensure!(ready(&release)? == json!(2), "there are {} gateways", ready(&release)?);
    ensure!(variable(&release, "FAAS_ACCESS_LOG")? == "false", "the upgrade changed nothing");
    answers(&release, "f").await?;

    release.rollback(1)?;
    ensure!(release.password()? == password, "going back changed the password");
    ensure!(variable(&release, "FAAS_ACCESS_LOG")? == "true", "going back changed nothing");
    answers(&release, "f").await?;

    release.uninstall()?;
    until("nothing left", async || Ok(json!(left(&release)?)), |left| left == &json!([])).await?;
    Ok(())
}

/// The function answers through the Service.
async fn answers(release: &Release, function: &str) -> Result<()> {
    let (status, body) = release.client()?.call(&format!("{function}/version")).await?;
    ensure!(status == StatusCode::OK, "{status}: {body}");
    Ok(())
}

fn ready(release: &Release) -> Result<Value> {
    Ok(release.get(&["deployment", "gateway"])?["status"]["readyReplicas"].clone())
}

fn variable(release: &Release, name: &str) -> Result<String> {
    let deployment = release.get(&["deployment", "gateway"])?;
    let all = &deployment["spec"]["template"]["spec"]["containers"][0]["env"];
    let one = all.as_array().into_iter().flatten().find(|variable| variable["name"] == name);
    let value = one.with_context(|| format!("no variable {name}"))?["value"].as_str();
    Ok(value.unwrap_or_default().to_owned())
}

/// What is there of a release that was removed: what carries its label anywhere in the cluster, its
/// namespace of functions, and what else is in the namespace that it was installed into.
fn left(release: &Release) -> Result<Vec<String>> {
    let label = format!("app.kubernetes.io/instance={}", release.name);
    let kinds = kubectl(&["api-resources", "--verbs=list", "-o", "name"])?;
    let kinds =
        kinds.lines().filter(|kind| !kind.starts_with("events") && kind != &"componentstatuses");
    let kinds = kinds.collect::<Vec<_>>().join(",");
    let labelled = kubectl(&["get", &kinds, "-A", "-l", &label, "-o", "name"])?;
    let own = kubectl(&["get", &kinds, "-n", &release.namespace, "-o", "name"])?;
    let given = ["serviceaccount/default", "configmap/kube-root-ca.crt"];
    let own = own.lines().filter(|name| {
        // What belongs to no namespace is listed too.
        let token = name.starts_with("secret/default-token-");
        let namespaced = NAMESPACED.iter().any(|kind| name.starts_with(kind));
        namespaced && !token && !given.contains(name)
    });
    let functions =
        kubectl(&["get", "namespace", &release.functions, "--ignore-not-found", "-o", "name"])?;
    Ok(labelled.lines().chain(own).chain(functions.lines()).map(str::to_owned).collect())
}

/// Kinds of which something could be left in a namespace.
const NAMESPACED: [&str; 13] = [
    "configmap/",
    "deployment.apps/",
    "endpoints/",
    "function.flint.dev/",
    "horizontalpodautoscaler.autoscaling/",
    "lease.coordination.k8s.io/",
    "networkpolicy.networking.k8s.io/",
    "pod/",
    "poddisruptionbudget.policy/",
    "role.rbac.authorization.k8s.io/",
    "secret/",
    "service/",
    "serviceaccount/",
];

async fn two_releases_do_not_see_each_other() -> Result<()> {
    let releases = [Release::new(Helm::Four)?, Release::new(Helm::Three)?];
    for release in &releases {
        release.install(&json!({ "clusterRole": true }))?;
    }
    let image = image::test_function()?;
    releases[0].client()?.deploy(json!({ "service": "f", "image": image })).await?;
    answers(&releases[0], "f").await?;
    let (status, body) = releases[1].client()?.call("f").await?;
    ensure!(status == StatusCode::NOT_FOUND, "{status}: {body}");
    Ok(())
}

async fn prometheus_sees_every_gateway_and_every_replica() -> Result<()> {
    let release = Release::new(Helm::Four)?;
    release.install(&json!({ "gateway": { "replicas": 2 } }))?;
    let image = image::test_function()?;
    release.client()?.deploy(json!({ "service": "f", "image": image })).await?;
    let prometheus = Prometheus::start(&configuration(&release)?.to_string(), &rules()?).await?;
    let gateways = async || {
        let known = prometheus.query("up{job=\"gateway\"} == 1").await?;
        Ok(json!(known.len()))
    };
    until("two gateways", gateways, |count| *count == 2).await?;
    let function = format!("f.{}", release.functions);
    let replica = format!("up{{job=\"replicas\",function_name=\"{function}\"}} == 1");
    let found = prometheus.until(&replica).await?;
    let pod = found[0].0["replica"].as_str().context("it has no name")?;
    ensure!(pod.starts_with("f-"), "{pod} is no pod of f");
    let known = prometheus.ask("rules", &[]).await?;
    let rules = known["groups"][0]["rules"].as_array().context("no rules")?;
    ensure!(rules.iter().any(|rule| rule["name"] == "GatewayDown"), "{known:#}");
    Ok(())
}

fn rules() -> Result<String> {
    Ok(std::fs::read_to_string(chart().join("files/rules.yaml"))?)
}

/// What the chart tells its Prometheus, but with pods as targets that are there now: Debian's
/// Prometheus asks no cluster.
fn configuration(release: &Release) -> Result<Value> {
    let values = json!({
        "functionNamespace": release.functions,
        "prometheus": { "create": true, "scrapeInterval": "1s" },
    });
    let manifests = Manifests::parse(&release.render_offline(&values)?)?;
    let data = &manifests.named("ConfigMap", "prometheus")?["data"];
    let text = data["prometheus.yaml"].as_str().context("no configuration")?;
    let mut all: Value = serde_yaml::from_str(text)?;
    all["rule_files"] = json!(["rules.yml"]);
    all["global"]["scrape_interval"] = json!("1s");
    for job in all["scrape_configs"].as_array_mut().context("no jobs")? {
        let job = job.as_object_mut().context("no job")?;
        let asked = job.remove("kubernetes_sd_configs").context("it asks no cluster")?;
        ensure!(asked[0]["role"] == "pod", "{asked}");
        let namespace = asked[0]["namespaces"]["names"][0].as_str().context("no namespace")?;
        job.insert("static_configs".to_owned(), json!(targets(namespace)?));
    }
    Ok(all)
}

/// The ports of a namespace's pods, labelled as Prometheus does when it asks a cluster.
fn targets(namespace: &str) -> Result<Vec<Value>> {
    let told = kubectl(&["-n", namespace, "get", "pods", "-o", "json"])?;
    let told: Value = serde_json::from_str(&told)?;
    let mut targets = Vec::new();
    for pod in told["items"].as_array().context("no pods")? {
        let ip = pod["status"]["podIP"].as_str().context("no address")?;
        let mut labels = json!({
            "__meta_kubernetes_namespace": namespace,
            "__meta_kubernetes_pod_ip": ip,
            "__meta_kubernetes_pod_name": pod["metadata"]["name"],
            "__meta_kubernetes_pod_phase": pod["status"]["phase"],
        });
        for (key, value) in pod["metadata"]["labels"].as_object().context("no labels")? {
            let key = key.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
            labels[format!("__meta_kubernetes_pod_label_{key}")] = value.clone();
        }
        for port in pod["spec"]["containers"][0]["ports"].as_array().context("no ports")? {
            let number = port["containerPort"].to_string();
            labels["__meta_kubernetes_pod_container_port_name"] = port["name"].clone();
            labels["__meta_kubernetes_pod_container_port_number"] = json!(number);
            targets.push(json!({ "targets": [format!("{ip}:{number}")], "labels": labels }));
        }
    }
    Ok(targets)
}
