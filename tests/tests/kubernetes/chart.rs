//! The chart as files: linted, rendered for this cluster and others, and tried on its API server.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use system::cluster::kubectl;
use system::helm::{Helm, Release, chart};
use system::run;

use crate::cases;
use crate::manifests::Manifests;

cases![
    sets_of_values_are_taken_by_the_api_server,
    kinds_of_others_are_made_when_they_are_asked_for,
    rules_are_valid,
    definitions_of_custom_resources_are_valid_and_come_with_the_chart,
    values_that_cannot_work_are_refused_with_their_name,
    every_value_is_in_the_schema_and_in_the_table,
    pods_keep_to_the_restricted_level,
    what_the_cluster_serves_decides_about_versions,
    digests_win_over_tags_and_a_prefix_comes_before_names,
];

/// Sets of values that together have every template rendered, on every branch.
fn sets() -> Vec<(&'static str, Value)> {
    vec![
        ("defaults", json!({})),
        ("all on", all_on()),
        ("cluster-wide", json!({ "clusterRole": true, "functions": { "setNonRootUser": true } })),
        (
            "one gateway",
            json!({ "gateway": { "replicas": 1 }, "basic_auth": false, "rbac": false }),
        ),
        (
            "only https",
            json!({
                "tls": { "enabled": true, "secretName": "certificate", "plainHttp": "off" },
                "exposeServices": true,
                "ingress": { "enabled": true },
            }),
        ),
        (
            "all is there already",
            json!({
                "createFunctionNamespace": false,
                "generateBasicAuth": false,
                "basicAuthSecret": "mine",
                "gateway": { "serviceAccount": { "create": false, "name": "mine" } },
                "prometheus": { "url": "https://prometheus.monitoring:9090/main" },
                "caBundleSecretName": "authorities",
            }),
        ),
        (
            "a load balancer",
            json!({
                "exposeServices": true,
                "serviceType": "LoadBalancer",
                "loadBalancerSourceRanges": ["192.0.2.0/24"],
                "externalServiceAnnotations": { "example.com/kind": "internal" },
            }),
        ),
    ]
}

fn all_on() -> Value {
    json!({
        "registryPrefix": "registry.example.com/mirror",
        "imagePullSecrets": ["pull"],
        "commonLabels": { "team": "a" },
        "podAnnotations": { "example.com/a": "b" },
        "functionNamespaceLabels": { "pod-security.kubernetes.io/enforce": "restricted" },
        "keepFunctionNamespace": true,
        "exposeServices": true,
        "gateway": {
            "replicas": 3,
            "maxUnavailable": "50%",
            "maxReplicas": 100,
            "clientRate": "100/s burst 500",
            "trustedProxies": ["10.0.0.0/8"],
            "extraArgs": ["--max-uri-size=16Ki"],
            "extraEnv": [{ "name": "FAAS_THREADS", "value": "2" }],
            "extraVolumes": [{ "name": "more", "emptyDir": {} }],
            "extraVolumeMounts": [{ "name": "more", "mountPath": "/more" }],
            "nodeSelector": { "kubernetes.io/os": "linux" },
            "tolerations": [{ "key": "a", "operator": "Exists" }],
            "affinity": { "nodeAffinity": {} },
            "priorityClassName": "system-cluster-critical",
            "serviceAccount": { "annotations": { "example.com/role": "r" } },
            "podAnnotations": { "example.com/c": "d" },
            "serviceAnnotations": { "example.com/e": "f" },
            "autoscaling": { "enabled": true },
        },
        "tls": { "enabled": true, "secretName": "certificate" },
        "networkPolicies": {
            "enabled": true,
            "metricsFrom": [{ "namespaceSelector": { "matchLabels": { "a": "b" } } }],
        },
        "prometheus": {
            "create": true,
            "existingClaim": "metrics",
            "nodeSelector": { "kubernetes.io/os": "linux" },
            "tolerations": [{ "key": "a", "operator": "Exists" }],
            "affinity": { "nodeAffinity": {} },
            "priorityClassName": "system-cluster-critical",
        },
        "monitoring": { "dashboard": { "enabled": true } },
        "ingress": {
            "enabled": true,
            "className": "nginx",
            "annotations": { "example.com/g": "h" },
            "tlsSecretName": "certificate",
        },
    })
}

async fn sets_of_values_are_taken_by_the_api_server() -> Result<()> {
    for helm in Helm::ALL {
        let release = Release::new(helm)?;
        // An API server tries objects only in namespaces that are there.
        release.make_functions_namespace()?;
        for (name, mut values) in sets() {
            values["functionNamespace"] = json!(release.functions);
            helm.lint(&values).context(name)?;
            let rendered = helm.render(&release.name, &release.namespace, &values);
            let manifests = Manifests::parse(&rendered.context(name)?)?;
            ensure!(manifests.all.len() >= 5, "{name}: {} objects", manifests.all.len());
            for object in &manifests.all {
                try_object(object).with_context(|| format!("{helm:?}, {name}"))?;
            }
        }
    }
    Ok(())
}

/// Kinds whose definitions others bring: no API server can try them here.
async fn kinds_of_others_are_made_when_they_are_asked_for() -> Result<()> {
    let labels = json!({ "release": "p" });
    let parents = json!([{ "name": "public", "namespace": "gateways" }]);
    let values = json!({
        "monitoring": {
            "serviceMonitor": { "enabled": true, "labels": labels },
            "rules": { "enabled": true, "labels": labels },
        },
        "httpRoute": {
            "enabled": true,
            "parentRefs": parents,
            "hostnames": ["functions.example.com"],
            "annotations": { "example.com/i": "j" },
        },
    });
    for helm in Helm::ALL {
        let manifests = Manifests::parse(&helm.render_offline(&values)?)?;
        let route = manifests.one("HTTPRoute")?;
        ensure!(route["apiVersion"] == "gateway.networking.k8s.io/v1", "{route:#}");
        ensure!(route["spec"]["parentRefs"] == parents, "{route:#}");
        let to = json!([{ "name": "gateway", "port": 8080 }]);
        ensure!(route["spec"]["rules"][0]["backendRefs"] == to, "{route:#}");

        let monitor = manifests.one("ServiceMonitor")?;
        ensure!(monitor["metadata"]["labels"]["release"] == "p", "{monitor:#}");
        let selected = &monitor["spec"]["selector"]["matchLabels"];
        let service = manifests.named("Service", "gateway-metrics")?;
        for (key, value) in selected.as_object().context("it selects nothing")? {
            ensure!(service["metadata"]["labels"][key] == *value, "{key} is not {value}");
        }
        let port = &monitor["spec"]["endpoints"][0]["port"];
        ensure!(service["spec"]["ports"][0]["name"] == *port, "{monitor:#}");

        let rules = manifests.one("PrometheusRule")?;
        let file: Value =
            serde_yaml::from_str(&std::fs::read_to_string(chart().join("files/rules.yaml"))?)?;
        ensure!(rules["spec"] == file, "{rules:#}");
    }
    Ok(())
}

async fn rules_are_valid() -> Result<()> {
    let said = run(Command::new("promtool")
        .args(["check", "rules"])
        .arg(chart().join("files/rules.yaml")))?;
    ensure!(said.contains("4 rules found"), "{said}");
    Ok(())
}

async fn definitions_of_custom_resources_are_valid_and_come_with_the_chart() -> Result<()> {
    let mut names = Vec::new();
    for file in std::fs::read_dir(chart().join("crds"))? {
        let text = std::fs::read_to_string(file?.path())?;
        let object: Value = serde_yaml::from_str(&text)?;
        try_object(&object)?;
        names.push(object["metadata"]["name"].as_str().context("no name")?.to_owned());
    }
    names.sort();
    ensure!(names == ["functions.flint.dev", "profiles.flint.dev"], "{names:?}");
    let manifests = Manifests::parse(&Helm::Three.render_offline_with_crds()?)?;
    for name in &names {
        manifests.named("CustomResourceDefinition", name)?;
    }
    Ok(())
}

/// Has the API server check an object as it would check one that is made, strictly.
fn try_object(object: &Value) -> Result<()> {
    let mut command = Command::new("kubectl");
    command.args(["create", "--dry-run=server", "--validate=true", "-f", "-"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("no stdin")?.write_all(object.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() || said.contains("AlreadyExists"), "{said}\n{object:#}");
    Ok(())
}

async fn values_that_cannot_work_are_refused_with_their_name() -> Result<()> {
    let cases = [
        (json!({ "gateway": { "replicas": "two" } }), ["replicas", "integer"]),
        (json!({ "gatway": {} }), ["gatway", "not allowed"]),
        (json!({ "gateway": { "writeTimeout": "soon" } }), ["writeTimeout", "match"]),
        (json!({ "gateway": { "image": { "digest": "abc" } } }), ["digest", "sha256"]),
        (
            json!({ "functions": { "imagePullPolicy": "Often" } }),
            ["imagePullPolicy", "IfNotPresent"],
        ),
        (json!({ "functionNamespace": "Not_A_Name" }), ["functionNamespace", "match"]),
        (json!({ "prometheus": { "url": "prometheus:9090" } }), ["url", "http"]),
        (json!({ "tls": { "enabled": true } }), ["tls.secretName", "kubernetes.io/tls"]),
        (json!({ "tls": { "plainHttp": "off" } }), ["tls.plainHttp=off", "tls.enabled"]),
        (
            json!({ "prometheus": { "create": true, "url": "http://p:9090" } }),
            ["prometheus.url", "unset"],
        ),
        (json!({ "httpRoute": { "enabled": true } }), ["httpRoute.parentRefs", "name the Gateway"]),
        (
            json!({ "gateway": { "replicas": 20, "autoscaling": { "enabled": true } } }),
            ["gateway.autoscaling.maxReplicas", "raise it"],
        ),
    ];
    for helm in Helm::ALL {
        for (values, words) in &cases {
            let refused = helm.render_offline(values);
            let said = format!("{:#}", refused.err().with_context(|| format!("taken: {values}"))?);
            ensure!(words.iter().all(|word| said.contains(word)), "{helm:?}, {values}: {said}");
        }
    }
    Ok(())
}

async fn every_value_is_in_the_schema_and_in_the_table() -> Result<()> {
    let text = std::fs::read_to_string(chart().join("values.yaml"))?;
    let values: Value = serde_yaml::from_str(&text)?;
    let schema: Value =
        serde_json::from_str(&std::fs::read_to_string(chart().join("values.schema.json"))?)?;
    same_keys(&values, &schema, &schema, "")?;
    let table = table(&text, &values)?;
    let told = std::fs::read_to_string(chart().join("README.md"))?;
    ensure!(told.contains(&table), "charts/flint/README.md must have this table:\n{table}");
    Ok(())
}

/// The table of all values: each key is commented, or is a group of keys that are.
fn table(text: &str, values: &Value) -> Result<String> {
    let mut table = "| value | default | |\n|---|---|---|\n".to_owned();
    let mut groups: Vec<(usize, &str)> = Vec::new();
    let (mut comment, mut inside) = (String::new(), usize::MAX);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (indent, rest) = (line.len() - line.trim_start().len(), line.trim());
        if let Some(words) = rest.strip_prefix('#') {
            match words.trim().strip_prefix("-- ") {
                Some(first) => comment = first.to_owned(),
                // What comes before the first value is about all of them.
                None if comment.is_empty() => {}
                None => comment = format!("{comment} {}", words.trim()),
            }
            continue;
        }
        if indent > inside {
            continue;
        }
        inside = usize::MAX;
        groups.retain(|(outer, _)| *outer < indent);
        let (key, default) = rest.split_once(':').with_context(|| format!("no key: {line}"))?;
        if comment.is_empty() {
            ensure!(default.is_empty(), "nothing says what {line:?} is");
            groups.push((indent, key));
            continue;
        }
        inside = indent;
        let path: Vec<_> = groups.iter().map(|(_, group)| *group).chain([key]).collect();
        let value = values.pointer(&format!("/{}", path.join("/"))).context("not parsed")?;
        table += &format!("| `{}` | `{value}` | {comment} |\n", path.join("."));
        comment.clear();
    }
    Ok(table)
}

/// Compares the keys of objects whose keys the schema fixes.
fn same_keys(values: &Value, part: &Value, schema: &Value, path: &str) -> Result<()> {
    let part = match part["$ref"].as_str() {
        Some(name) => schema.pointer(name.trim_start_matches('#')).context("a dangling $ref")?,
        None => part,
    };
    let (Some(values), Some(known)) = (values.as_object(), part["properties"].as_object()) else {
        return Ok(());
    };
    ensure!(part["additionalProperties"] == false, "{path} takes anything");
    for key in known.keys().filter(|key| !(path.is_empty() && *key == "global")) {
        ensure!(values.contains_key(key), "{path}.{key} has no default in values.yaml");
    }
    for (key, value) in values {
        let of_key =
            known.get(key).with_context(|| format!("{path}.{key} is not in the schema"))?;
        same_keys(value, of_key, schema, &format!("{path}.{key}"))?;
    }
    Ok(())
}

async fn pods_keep_to_the_restricted_level() -> Result<()> {
    for (name, values) in sets() {
        let manifests = Manifests::parse(&Helm::Four.render_offline(&values)?)?;
        ensure!(manifests.pods().count() > 0, "{name}: no pods");
        for pod in manifests.pods() {
            restricted(pod).with_context(|| format!("{name}: {pod:#}"))?;
        }
    }
    Ok(())
}

/// Volumes that the level `restricted` of the Pod Security Standards allows.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// Checks what the level `restricted` asks for. No admission checks it on old clusters.
fn restricted(pod: &Value) -> Result<()> {
    let own = &pod["securityContext"];
    ensure!(own["runAsNonRoot"] == true, "runAsNonRoot");
    ensure!(own["seccompProfile"]["type"] == "RuntimeDefault", "seccompProfile");
    ensure!(own["runAsUser"].as_u64().is_some_and(|user| user > 0), "runAsUser");
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        ensure!(pod[host].is_null(), "{host}");
    }
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        let kinds = volume.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
        let mut kinds = kinds.filter(|key| *key != "name");
        ensure!(kinds.all(|kind| VOLUMES.contains(&kind)), "{volume}");
    }
    for container in pod["containers"].as_array().context("no containers")? {
        let own = &container["securityContext"];
        ensure!(own["allowPrivilegeEscalation"] == false, "allowPrivilegeEscalation");
        ensure!(own["capabilities"] == json!({ "drop": ["ALL"] }), "capabilities");
        ensure!(own["privileged"] != true && own["runAsNonRoot"] == true, "privileged");
        // Beyond that level.
        ensure!(own["readOnlyRootFilesystem"] == true, "readOnlyRootFilesystem");
        ensure!(container["resources"]["limits"]["memory"].is_string(), "no limit of memory");
    }
    Ok(())
}

async fn what_the_cluster_serves_decides_about_versions() -> Result<()> {
    let mut values = json!({ "gateway": { "autoscaling": { "enabled": true } } });
    let served = kubectl(&["api-versions"])?;
    let served: Vec<_> = served.lines().collect();
    for helm in Helm::ALL {
        let release = Release::new(helm)?;
        values["functionNamespace"] = json!(release.functions);
        let rendered = helm.render(&release.name, &release.namespace, &values)?;
        let manifests = Manifests::parse(&rendered)?;
        for kind in ["PodDisruptionBudget", "HorizontalPodAutoscaler"] {
            let object = manifests.of(kind).next().with_context(|| format!("no {kind}"))?;
            let version = object["apiVersion"].as_str().context("no version")?;
            ensure!(served.contains(&version), "{helm:?}: {version} is not served");
        }
    }
    Ok(())
}

async fn digests_win_over_tags_and_a_prefix_comes_before_names() -> Result<()> {
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let image = json!({ "digest": digest, "tag": "1" });
    let values = json!({ "registryPrefix": "r.example.com/m/", "gateway": { "image": image } });
    let manifests = Manifests::parse(&Helm::Four.render_offline(&values)?)?;
    let images: Vec<_> = manifests.pods().map(|pod| &pod["containers"][0]["image"]).collect();
    ensure!(images == [&json!(format!("r.example.com/m/flint/gateway@{digest}"))], "{images:?}");
    Ok(())
}
