//! What `docs/metrics.md` and the dashboard promise, held against a real Prometheus.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use system::client::Client;
use system::prometheus::Prometheus;
use system::world::World;
use system::{on_each_backend, project};

on_each_backend!(
    docs_dashboard_and_prometheus_agree,
    what_a_function_uses_is_in_its_status,
    a_removed_function_leaves_no_series_and_an_unknown_one_makes_none,
);

/// What Prometheus itself adds to every target, and to series.
const OWN_SERIES: [&str; 3] = ["up", "scrape_", "ALERTS"];
const OWN_LABELS: [&str; 5] = ["__name__", "instance", "job", "le", "replica"];

/// A series as the docs have it.
#[derive(Debug)]
struct Documented {
    name: String,
    kind: String,
    labels: BTreeSet<String>,
}

impl Documented {
    /// What to look for: a histogram is several series.
    fn selector(&self, job: &str) -> String {
        let suffix = if self.kind == "histogram" { "_bucket" } else { "" };
        format!("{}{suffix}{{job=\"{job}\"}}", self.name)
    }
}

fn docs() -> Result<String> {
    Ok(std::fs::read_to_string(project().join("docs/metrics.md"))?)
}

/// The words in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The series of the docs' tables: the gateway's, and the watchdogs'.
fn documented() -> Result<(Vec<Documented>, Vec<Documented>)> {
    let text = docs()?;
    let (gateway, rest) = text.split_once("\n## Watchdogs\n").context("no watchdogs")?;
    let (watchdogs, _) = rest.split_once("\n## ").context("nothing after the watchdogs")?;
    let (gateway, watchdogs) = (tables(gateway)?, tables(watchdogs)?);
    ensure!(gateway.len() > 20 && watchdogs.len() == 3, "the docs' tables are not read");
    Ok((gateway, watchdogs))
}

fn tables(text: &str) -> Result<Vec<Documented>> {
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = quoted(cells[1]).next().context("no name")?.to_owned();
        let (kind, labels) = (cells[2].to_owned(), quoted(cells[3]).map(str::to_owned).collect());
        Ok(Documented { name, kind, labels })
    };
    rows.map(row).collect()
}

/// A block of YAML of the docs, by its first line.
fn block(text: &str, first: &str) -> Result<String> {
    let start = format!("```yaml\n{first}\n");
    let (_, rest) = text.split_once(&start).with_context(|| format!("no block {first}"))?;
    let (block, _) = rest.split_once("```").context("a block has no end")?;
    Ok(format!("{first}\n{block}"))
}

/// Prometheus as the docs set it up, for this gateway and with less patience.
async fn prometheus(world: &World) -> Result<Prometheus> {
    let text = docs()?;
    let gateway = world.gateway.metrics_url.trim_start_matches("http://");
    let scrape = block(&text, "scrape_configs:")?
        .replace("127.0.0.1:8082", gateway)
        .replace("dev.flint.network=flint", &format!("dev.flint.network={}", world.gateway.network))
        .replace("scrape_interval: 5s", "scrape_interval: 1s")
        .replace("interval: 15s", "interval: 1s");
    // An engine that is not there is no reason to fail for processes.
    let scrape = match world.gateway.provider() {
        "docker" => scrape,
        _ => scrape.split("\n  # Replicas").next().unwrap_or_default().to_owned(),
    };
    let global = "global: { evaluation_interval: 1s }\nrule_files: [rules.yml]\n";
    Prometheus::start(&format!("{global}{scrape}\n"), &block(&text, "groups:")?).await
}

/// A function with all that can be told of one.
fn busy(world: &World) -> Value {
    json!({
        "service": "busy",
        "image": world.image,
        "annotations": { "flint.dev/max-inflight": "1" },
        "limits": { "memory": "128Mi" },
    })
}

/// Makes things happen to it: calls that wait, a start from zero, requests
/// of the API.
async fn exercise(client: &Client) -> Result<()> {
    let calls: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn({
                let client = client.clone();
                async move { client.call("busy/sleep?50").await }
            })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await??.0, StatusCode::OK);
    }
    let body = json!({ "serviceName": "busy", "replicas": 0 });
    let (status, text) =
        client.system(Method::POST, "/system/scale-function/busy", Some(body)).await?;
    assert_eq!(status, StatusCode::ACCEPTED, "{text}");
    client.until("busy", "asleep", |status| status["availableReplicas"] == 0).await?;
    assert_eq!(client.call("busy/").await?.0, StatusCode::OK);
    client.system(Method::GET, "/system/nowhere/at/all", None).await?;
    Ok(())
}

async fn docs_dashboard_and_prometheus_agree(world: World) -> Result<()> {
    world.client.deploy(busy(&world)).await?;
    let prometheus = prometheus(&world).await?;
    prometheus.until("gateway_service_ready_count > 0").await?;
    let load = tokio::spawn(keep_calling(world.client.clone()));
    exercise(&world.client).await?;
    let (gateway, watchdogs) = documented()?;
    all_there(&prometheus, "gateway", &gateway).await?;
    none_else(&prometheus, "gateway", &gateway).await?;
    if world.gateway.provider() == "docker" {
        let named = r#"http_requests_total{job="replicas",function_name="busy.openfaas-fn"}"#;
        prometheus.until(named).await?;
        all_there(&prometheus, "replicas", &watchdogs).await?;
        none_else(&prometheus, "replicas", &watchdogs).await?;
    }
    for expression in dashboard()? {
        prometheus.until(&expression).await?;
    }
    for line in docs()?.lines().filter(|line| line.starts_with("| ") && line.contains("| `sum")) {
        let expression = quoted(line).next().context("no expression")?;
        prometheus.query(expression).await?;
    }
    let rules = prometheus.ask("rules", &[]).await?;
    assert_eq!(rules["groups"][0]["rules"].as_array().map(Vec::len), Some(5), "{rules}");
    let alert = r#"ALERTS{alertname="APIHighInvocationRate",alertstate="firing",
        function_name="busy.openfaas-fn"}"#;
    prometheus.until(alert).await?;
    load.abort();
    Ok(())
}

/// Some more calls in a second than the alert needs.
async fn keep_calling(client: Client) -> Result<()> {
    loop {
        client.call("busy/").await?;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Every series of the docs, with its labels and its type.
async fn all_there(prometheus: &Prometheus, job: &str, all: &[Documented]) -> Result<()> {
    for series in all {
        let found = prometheus.until(&series.selector(job)).await?;
        for (metric, _) in found {
            let metric = metric.as_object().context("no labels")?;
            let mut labels: BTreeSet<String> = metric.keys().cloned().collect();
            OWN_LABELS.iter().for_each(|label| _ = labels.remove(*label));
            if job == "replicas" {
                labels.remove("function_name");
            }
            assert_eq!(labels, series.labels, "labels of {}", series.name);
        }
        let query =
            [("metric", series.name.as_str()), ("match_target", &format!("{{job=\"{job}\"}}"))];
        let told = prometheus.ask("targets/metadata", &query).await?;
        assert_eq!(told[0]["type"], series.kind.as_str(), "type of {}: {told}", series.name);
        assert_ne!(told[0]["help"], "", "{} has no help", series.name);
    }
    Ok(())
}

/// No series that the docs do not have.
async fn none_else(prometheus: &Prometheus, job: &str, all: &[Documented]) -> Result<()> {
    let selector = format!("{{job=\"{job}\"}}");
    let names = prometheus.ask("label/__name__/values", &[("match[]", &selector)]).await?;
    let known: BTreeMap<&str, &str> =
        all.iter().map(|series| (series.name.as_str(), series.kind.as_str())).collect();
    for name in names.as_array().context("no names")?.iter().filter_map(Value::as_str) {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let is_histogram = family.is_some_and(|family| known.get(family) == Some(&"histogram"));
        let is_own = OWN_SERIES.iter().any(|own| name.starts_with(own));
        assert!(known.contains_key(name) || is_histogram || is_own, "docs/metrics.md lacks {name}");
    }
    Ok(())
}

/// Every expression of the dashboard, for the function that is busy.
fn dashboard() -> Result<Vec<String>> {
    let path = project().join("charts/flint/dashboards/flint.json");
    let dashboard: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let variables = dashboard["templating"]["list"].as_array().context("no variables")?;
    let names: Vec<_> = variables.iter().filter_map(|variable| variable["name"].as_str()).collect();
    assert_eq!(names, ["datasource", "function"]);
    let mut all = Vec::new();
    for panel in dashboard["panels"].as_array().context("no panels")? {
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        ensure!(panel["type"] == "row" || !targets.is_empty(), "{} shows nothing", panel["title"]);
        for target in targets {
            let expression = target["expr"].as_str().context("no expression")?;
            let expression = expression
                .replace("$__rate_interval", "30s")
                .replace("$function", "busy.openfaas-fn");
            ensure!(!expression.contains('$'), "an unknown variable: {expression}");
            all.push(expression);
        }
    }
    ensure!(all.len() > 30, "the dashboard is not read");
    Ok(all)
}

async fn what_a_function_uses_is_in_its_status(world: World) -> Result<()> {
    let client = &world.client;
    client.deploy(busy(&world)).await?;
    let ask = async |path: &str| -> Result<Value> {
        let (status, body) = client.system(Method::GET, path, None).await?;
        ensure!(status == StatusCode::OK, "{path} answered {status}: {body}");
        Ok(serde_json::from_str(&body)?)
    };
    for path in ["/system/function/busy?usage=1", "/system/function/busy?usage=true"] {
        let usage = &ask(path).await?["usage"];
        assert!(usage["totalMemoryBytes"].as_f64() > Some(65536.0), "{usage}");
        assert!(usage["cpu"].as_f64() >= Some(0.0), "{usage}");
    }
    let listed = ask("/system/functions?usage=1").await?;
    assert!(listed[0]["usage"]["totalMemoryBytes"].is_number(), "{listed}");
    for path in ["/system/function/busy", "/system/function/busy?usage=0"] {
        assert!(ask(path).await?.get("usage").is_none(), "{path}");
    }
    Ok(())
}

async fn a_removed_function_leaves_no_series_and_an_unknown_one_makes_none(
    world: World,
) -> Result<()> {
    let client = &world.client;
    let text = async || -> Result<String> {
        let url = format!("{}/metrics", world.gateway.metrics_url);
        Ok(reqwest::get(url).await?.error_for_status()?.text().await?)
    };
    client.deploy(busy(&world)).await?;
    exercise(client).await?;
    for number in 0..20 {
        let (status, _) = client.call(&format!("nobody{number}/")).await?;
        assert_eq!(status, StatusCode::NOT_FOUND);
        client.system(Method::GET, &format!("/system/function/nobody{number}"), None).await?;
        client.system(Method::GET, &format!("/system/nobody{number}"), None).await?;
    }
    let before = text().await?;
    assert!(before.lines().filter(|line| line.contains("busy.openfaas-fn")).count() > 50);
    assert!(!before.contains("nobody"), "{before}");
    assert_eq!(client.remove("busy").await?.0, StatusCode::ACCEPTED);
    let after = text().await?;
    let left: Vec<_> = after.lines().filter(|line| line.contains("busy")).collect();
    assert!(left.is_empty(), "{left:#?}");
    Ok(())
}
