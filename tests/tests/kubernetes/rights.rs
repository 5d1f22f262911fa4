//! What the gateway may do on the cluster: exactly this, and nothing more.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use system::helm::{Helm, Release};

use crate::cases;
use crate::manifests::Manifests;

cases![
    the_gateway_may_do_what_is_listed_and_nothing_more,
    across_the_cluster_it_may_do_no_more_than_that_with_functions,
    the_documentation_lists_the_same,
];

/// Rights, each as `group/resource verb`, with `=name` behind the resource where it is of one object.
type Rights = BTreeSet<String>;

/// What it may do where functions are.
const FUNCTIONS: &str = "
    apps/deployments get list watch create patch delete
    apps/deployments/scale patch
    /services get create patch delete
    networking.k8s.io/networkpolicies get create patch delete
    /pods list watch
    /pods/log get
    /secrets get list create patch delete
    metrics.k8s.io/pods list
    flint.dev/functions get list watch create patch delete
    flint.dev/functions/status patch
    openfaas.com/functions get list watch
";
/// What it may do with namespaces when functions are in several.
const NAMESPACES: &str = "/namespaces get list watch create patch delete";
/// What it may do in its own namespace.
const OWN: &str = "
    coordination.k8s.io/leases get list watch create update
    flint.dev/profiles get
    openfaas.com/profiles get
    /configmaps get
";
/// What everybody may do.
const EVERYBODY: &str = "
    authorization.k8s.io/selfsubjectaccessreviews create
    authorization.k8s.io/selfsubjectrulesreviews create
    authentication.k8s.io/selfsubjectreviews create
";
/// Kinds of objects that give rights.
const GIVERS: [&str; 5] =
    ["ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"];

fn rights(text: &str) -> Rights {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let of = |line: &str| {
        let (resource, verbs) = line.split_once(' ').unwrap_or((line, ""));
        verbs.split(' ').map(|verb| format!("{resource} {verb}")).collect::<Vec<_>>()
    };
    lines.flat_map(of).collect()
}

/// Makes what gives rights, as an installation does.
fn give(release: &Release, values: &Value) -> Result<()> {
    release.make_functions_namespace()?;
    let mut values = values.clone();
    values["functionNamespace"] = json!(release.functions);
    let rendered = release.helm.render(&release.name, &release.namespace, &values)?;
    let manifests = Manifests::parse(&rendered)?;
    for kind in GIVERS {
        for object in manifests.of(kind) {
            create(&[], object)?;
        }
    }
    Ok(())
}

fn create(args: &[&str], object: &Value) -> Result<Value> {
    let mut command = Command::new("kubectl");
    command.args(["create", "-o", "json", "-f", "-"]).args(args);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("no stdin")?.write_all(object.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}\n{object:#}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What a service account of the release may do in a namespace, as the API server says, without what
/// everybody may.
fn may(release: &Release, account: &str, namespace: &str) -> Result<Rights> {
    let user = format!("--as=system:serviceaccount:{}:{account}", release.namespace);
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": { "namespace": namespace },
    });
    let told = create(&[&user], &review)?;
    ensure!(told["status"]["incomplete"] == false, "the API server does not tell all: {told}");
    let words = |rule: &Value, key: &str| -> Vec<String> {
        let all = rule[key].as_array().into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut found = Rights::new();
    for rule in told["status"]["resourceRules"].as_array().context("no rules")? {
        let names = words(rule, "resourceNames");
        let name = if names.is_empty() { String::new() } else { format!("={}", names.join(",")) };
        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                let verbs = words(rule, "verbs");
                found.extend(verbs.iter().map(|verb| format!("{group}/{resource}{name} {verb}")));
            }
        }
    }
    Ok(&found - &rights(EVERYBODY))
}

/// Fails with what is too much and what is missing.
fn same(found: &Rights, wanted: &Rights, place: &str) -> Result<()> {
    let (more, less) = (found - wanted, wanted - found);
    ensure!(more.is_empty() && less.is_empty(), "{place}: too much {more:?}, missing {less:?}");
    Ok(())
}

async fn the_gateway_may_do_what_is_listed_and_nothing_more() -> Result<()> {
    let release = Release::new(Helm::Four)?;
    give(&release, &json!({ "prometheus": { "create": true } }))?;
    same(&may(&release, "gateway", &release.functions)?, &rights(FUNCTIONS), "functions")?;
    same(&may(&release, "gateway", &release.namespace)?, &rights(OWN), "its own namespace")?;
    same(&may(&release, "gateway", "kube-system")?, &Rights::new(), "elsewhere")?;
    // Whoever runs in the namespace without asking for an account.
    same(&may(&release, "default", &release.namespace)?, &Rights::new(), "others")?;
    for namespace in [&release.functions, &release.namespace] {
        let pods = rights("/pods get list watch");
        same(&may(&release, "prometheus", namespace)?, &pods, "Prometheus")?;
    }
    same(&may(&release, "prometheus", "kube-system")?, &Rights::new(), "Prometheus elsewhere")
}

async fn across_the_cluster_it_may_do_no_more_than_that_with_functions() -> Result<()> {
    let release = Release::new(Helm::Three)?;
    give(&release, &json!({ "clusterRole": true }))?;
    let everywhere = rights(&format!("{FUNCTIONS}\n{NAMESPACES}"));
    for namespace in [&release.functions, "kube-system"] {
        same(&may(&release, "gateway", namespace)?, &everywhere, namespace)?;
    }
    let own = &everywhere | &rights(OWN);
    same(&may(&release, "gateway", &release.namespace)?, &own, "its own namespace")
}

async fn the_documentation_lists_the_same() -> Result<()> {
    let text = std::fs::read_to_string(system::project().join("docs/kubernetes.md"))?;
    for line in [FUNCTIONS, OWN, NAMESPACES].iter().flat_map(|list| list.lines()) {
        let Some((resource, verbs)) = line.trim().split_once(' ') else { continue };
        let (group, resource) = resource.split_once('/').context("no group")?;
        let row = format!("| `{resource}` | {group} | {} | ", verbs.replace(' ', ", "));
        let count = text.matches(&row).count();
        ensure!(count == 1, "docs/kubernetes.md has {count} rows {row:?}");
    }
    Ok(())
}
