//! What only Kubernetes does, or does in its own way.

use std::sync::Arc;

use futures_util::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ResourceQuota, Service};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use provider::{
    Error, Function, LogQuery, Name, Provider, Resources, Secret, State, Status, Target,
};
use serde_json::{Value, json};

use crate::engine::get;
use crate::kube_objects::{api, create, create_in, forget_object, tolerations};
use crate::on_kubernetes::{OnKubernetes, SpecialCase};
use crate::support::{Backend, Watcher, address, deploy, in_state, name, scale, soon};

/// The cases that only Kubernetes must pass.
pub(crate) fn all() -> Vec<(&'static str, SpecialCase)> {
    macro_rules! list {
        ($($case:ident),* $(,)?) => {
            vec![$((stringify!($case), (|b| Box::pin($case(b))) as SpecialCase)),*]
        };
    }
    list![
        freezing_is_refused,
        a_bundle_is_refused_with_the_way_out,
        another_managers_change_is_a_conflict_and_not_fought,
        a_deployment_of_the_reference_product_is_adopted,
        a_crash_is_told_and_the_old_one_serves_on,
        out_of_memory_is_named,
        a_function_that_never_listens_is_named,
        an_image_that_is_not_there_is_named,
        what_no_node_takes_is_named,
        an_exceeded_quota_is_named,
        what_the_cluster_does_not_take_is_named,
        a_missing_secret_is_named_and_a_secret_is_mounted,
        a_foreign_namespace_is_refused,
        a_marked_namespace_of_another_gateway_is_not_ours,
        a_deleted_pod_is_replaced,
        a_pod_that_is_told_to_end_leaves_at_once,
        another_scaler_is_seen_and_not_fought,
        a_new_gateway_finds_everything,
        what_is_removed_by_others_is_seen,
        a_profile_of_a_config_map_is_applied,
        logs_follow_a_replica_through_its_restart,
        usage_is_not_there_without_a_metrics_server,
    ]
}

fn deployments(backend: &OnKubernetes) -> Api<Deployment> {
    api(&backend.client, &backend.namespace)
}

fn pods(backend: &OnKubernetes) -> Api<Pod> {
    api(&backend.client, &backend.namespace)
}

/// A change as somebody else makes it.
async fn patch(backend: &OnKubernetes, manager: &str, patch: Value) {
    let params = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
    deployments(backend).patch("echo", &params, &Patch::Strategic(patch)).await.unwrap();
}

async fn freezing_is_refused(backend: Arc<OnKubernetes>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let before = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let error = backend.kubernetes().scale(&name("echo"), Target::Frozen).await.unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    assert!(!backend.kubernetes().info().freezes, "nobody is to ask for it");
    assert_eq!(
        Watcher::new(&backend.provider()).await.now[&name("echo")].replicas,
        before.replicas
    );
}

async fn a_bundle_is_refused_with_the_way_out(backend: Arc<OnKubernetes>) {
    let image = format!("bundle:echo@sha256:{}", "0a".repeat(32));
    let bundle = Function { image, ..backend.good("echo", "v1") };
    let error = backend.kubernetes().apply(&bundle).await.unwrap_err();
    assert!(matches!(&error, Error::Invalid { field, .. } if field == "image"), "{error:?}");
    assert!(error.to_string().contains("faas build"), "{error}");
    assert_eq!(backend.leftovers().await, Vec::<String>::new());
}

async fn another_managers_change_is_a_conflict_and_not_fought(backend: Arc<OnKubernetes>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let container = json!({"name": "echo", "env": [{"name": "VERSION", "value": "by hand"}]});
    let change = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    patch(&backend, "somebody", change).await;
    let error = backend.kubernetes().apply(&backend.good("echo", "v2")).await.unwrap_err();
    let Error::Conflict(text) = &error else { panic!("{error:?}") };
    assert!(text.contains("somebody") && text.contains("VERSION"), "{text}");
    let by_hand = deployments(&backend).get("echo").await.unwrap();
    assert!(format!("{by_hand:?}").contains("by hand"), "it was not written over");
    // What nobody else holds can be deployed, and the change stays.
    let mut other = backend.good("echo", "by hand");
    other.env_vars.insert("MORE".to_owned(), "1".to_owned());
    let status = deploy(&*backend, &mut watcher, &other).await;
    assert_eq!(get(&address(&status), "/").await, "by hand");
}

/// A Deployment and a Service as the reference product makes them (contract 8.2).
async fn of_the_reference_product(backend: &OnKubernetes) {
    let labels = json!({"faas_function": "echo"});
    let env = json!([{"name": "VERSION", "value": "old"}, {"name": "DROPPED", "value": "1"}]);
    let container = json!({
        "name": "echo", "image": backend.image, "imagePullPolicy": "IfNotPresent", "env": env,
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/_/health", "port": 8080}, "periodSeconds": 1},
    });
    let template = json!({
        "metadata": {"labels": {"faas_function": "echo", "uid": "1", "com.openfaas.scale.max": "3"}},
        "spec": {"containers": [container]},
    });
    let deployment = json!({
        "metadata": {"name": "echo", "labels": labels},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
    });
    create::<Deployment>(&backend.client, &backend.namespace, deployment).await;
    let port = json!({"name": "http", "port": 8080, "targetPort": 8080, "protocol": "TCP"});
    let service = json!({
        "metadata": {"name": "echo", "labels": labels},
        "spec": {"selector": labels, "ports": [port]},
    });
    create::<Service>(&backend.client, &backend.namespace, service).await;
}

async fn a_deployment_of_the_reference_product_is_adopted(backend: Arc<OnKubernetes>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let echo = name("echo");
    of_the_reference_product(&backend).await;
    let found = watcher.settled(&echo, 2).await;
    assert_eq!((found.generation, &*found.function.env_vars["VERSION"]), (0, "old"));
    assert_eq!(found.function.labels["com.openfaas.scale.max"], "3");
    assert_eq!(get(&address(&found), "/").await, "old");
    scale(&*backend, &echo, 1).await;
    watcher.settled(&echo, 1).await;
    scale(&*backend, &echo, 2).await;
    watcher.settled(&echo, 2).await;

    let new = deploy(&*backend, &mut watcher, &backend.good("echo", "new")).await;
    assert_eq!(new.desired, 2, "an update keeps the number of replicas");
    assert_eq!(get(&address(&new), "/").await, "new");
    let ours = deployments(&backend).get("echo").await.unwrap();
    assert!(!format!("{:?}", ours.spec).contains("DROPPED"), "what was not deployed is gone");
    // From now on it is one of ours, and nobody else's fields are in the way.
    let newer = deploy(&*backend, &mut watcher, &backend.good("echo", "newer")).await;
    assert_eq!(get(&address(&newer), "/").await, "newer");
    backend.kubernetes().remove(&echo).await.unwrap();
    watcher.until_gone(&echo).await;
    assert_eq!(backend.leftovers().await, Vec::<String>::new());
}

async fn a_crash_is_told_and_the_old_one_serves_on(backend: Arc<OnKubernetes>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let echo = name("echo");
    let old = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    backend.kubernetes().apply(&backend.mode("echo", "crash")).await.unwrap();
    let told = watcher.until(&echo, |s| s.reason.contains("exit code 3, restarted")).await;
    let sick = told.replicas.iter().find(|r| r.generation == told.generation).unwrap();
    assert_eq!((sick.state, sick.last_exit.as_str()), (State::Starting, "exit code 3"));
    let hopeless = |s: &Status| s.replicas.iter().any(|r| r.trouble.contains("exit code 3"));
    let told = watcher.until(&echo, hopeless).await;
    assert!(told.reason.starts_with(&format!("generation {} is not ready", told.generation)));
    assert!(told.reason.contains("cannot find the config"), "{}", told.reason);
    let serving: Vec<_> = told.ready().map(|r| r.generation).collect();
    assert_eq!(serving, [old.generation]);
    assert_eq!(get(&address(&told), "/").await, "v1");
    let new = deploy(&*backend, &mut watcher, &backend.good("echo", "v3")).await;
    assert_eq!((get(&address(&new), "/").await.as_str(), new.reason.as_str()), ("v3", ""));
}

async fn out_of_memory_is_named(backend: Arc<OnKubernetes>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let mut hog = backend.mode("hog", "hog");
    hog.limits = Some(Resources { memory: Some("16Mi".to_owned()), ..Resources::default() });
    backend.kubernetes().apply(&hog).await.unwrap();
    let status = watcher.until(&name("hog"), |s| s.reason.contains("out of memory")).await;
    assert_eq!(status.replicas[0].last_exit, "out of memory");
}

async fn a_function_that_never_listens_is_named(backend: Arc<OnKubernetes>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    backend.kubernetes().apply(&backend.mode("echo", "deaf")).await.unwrap();
    let status = watcher.until(&name("echo"), |s| s.reason.contains("never listened")).await;
    assert!(status.reason.contains("port 8080"), "{}", status.reason);
    assert_eq!(status.ready().count(), 1, "the old one serves on");
}

async fn an_image_that_is_not_there_is_named(backend: Arc<OnKubernetes>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let missing = Function { image: "127.0.0.1:1/none:1".to_owned(), ..backend.good("echo", "v1") };
    backend.kubernetes().apply(&missing).await.unwrap();
    let told = |s: &Status| s.replicas.iter().any(|r| !r.trouble.is_empty());
    let status = watcher.until(&name("echo"), told).await;
    assert!(status.reason.contains("127.0.0.1:1/none:1"), "{}", status.reason);
    assert_eq!(status.replicas[0].state, State::Starting);
    // The kubelet says why each time that it tries, and between that only that it waits.
    let words = |s: &Status| s.reason.contains("connection refused");
    let status = watcher.until(&name("echo"), words).await;
    assert!(status.replicas[0].trouble.contains("connection refused"));
    // The kubelet looks once a minute whether nothing is left of the pod that never ran.
    let newer = backend.kubernetes().apply(&backend.good("echo", "v2")).await.unwrap();
    let serves = |s: &Status| s.ready().any(|r| r.generation == newer.generation);
    let status = watcher.until(&name("echo"), serves).await;
    assert_eq!(get(&address(&status), "/").await, "v2");
}

async fn what_no_node_takes_is_named(backend: Arc<OnKubernetes>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let mut big = backend.good("echo", "v1");
    big.requests = Some(Resources { cpu: Some("9999".to_owned()), ..Resources::default() });
    backend.kubernetes().apply(&big).await.unwrap();
    let status = watcher.until(&name("echo"), |s| !s.reason.is_empty()).await;
    assert!(status.reason.contains("Insufficient cpu"), "{}", status.reason);
}

async fn an_exceeded_quota_is_named(backend: Arc<OnKubernetes>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let quota = json!({"metadata": {"name": "small"}, "spec": {"hard": {"pods": "1"}}});
    create::<ResourceQuota>(&backend.client, &backend.namespace, quota).await;
    deploy(&*backend, &mut watcher, &backend.good("one", "v1")).await;
    backend.kubernetes().apply(&backend.good("two", "v1")).await.unwrap();
    let status = watcher.until(&name("two"), |s| !s.reason.is_empty()).await;
    assert!(status.reason.contains("exceeded quota: small"), "{}", status.reason);
    assert!(status.replicas.is_empty());
}

async fn what_the_cluster_does_not_take_is_named(backend: Arc<OnKubernetes>) {
    let mut odd = backend.good("echo", "v1");
    odd.limits = Some(Resources { cpu: Some("100m".to_owned()), ..Resources::default() });
    odd.requests = Some(Resources { cpu: Some("2".to_owned()), ..Resources::default() });
    let error = backend.kubernetes().apply(&odd).await.unwrap_err();
    assert!(
        matches!(&error, Error::Invalid { field, .. } if field.contains("requests")),
        "{error:?}"
    );
    assert_eq!(backend.leftovers().await, Vec::<String>::new());
}

async fn a_missing_secret_is_named_and_a_secret_is_mounted(backend: Arc<OnKubernetes>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let function = Function { secrets: vec!["key".to_owned()], ..backend.good("echo", "v1") };
    let error = backend.kubernetes().apply(&function).await.unwrap_err();
    assert!(matches!(&error, Error::Invalid { field, .. } if field == "secrets"), "{error:?}");
    assert!(error.to_string().contains("key"), "{error}");
    let secret =
        Secret { name: "key".to_owned(), value: Some("hunter2".to_owned()), ..Secret::default() };
    backend.kubernetes().secrets().create(&secret).await.unwrap();
    let status = deploy(&*backend, &mut watcher, &function).await;
    assert_eq!(get(&address(&status), "/read/var/openfaas/secrets/key").await, "hunter2");
}

async fn a_foreign_namespace_is_refused(backend: Arc<OnKubernetes>) {
    let mut there = backend.good("echo", "v1");
    "kube-system".clone_into(&mut there.namespace);
    let error = backend.kubernetes().apply(&there).await.unwrap_err();
    assert!(matches!(&error, Error::Invalid { field, .. } if field == "namespace"), "{error:?}");
    assert!(error.to_string().contains("openfaas=1"), "it says what to do: {error}");
    let none = name("echo.kube-system");
    assert!(matches!(backend.kubernetes().remove(&none).await, Err(Error::NotFound(_))));
}

async fn a_marked_namespace_of_another_gateway_is_not_ours(backend: Arc<OnKubernetes>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    for (space, gateway) in [("ours", &*backend.namespace), ("others", "somebody-else")] {
        let annotations = json!({"openfaas": "1", "flint.dev/gateway": gateway});
        let name = backend.namespace(space);
        create_in(&backend.client, json!({"metadata": {"name": name, "annotations": annotations}}))
            .await;
    }
    let put = |space: &str| {
        let function = backend.good("echo", "v1");
        Function { namespace: backend.namespace(space), ..function }
    };
    // The watch tells of the namespace: whoever is too early is told that it is not ours.
    soon("the namespace to be ours", async {
        while backend.kubernetes().apply(&put("ours")).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let ours = name(&format!("echo.{}", backend.namespace("ours")));
    watcher.settled(&ours, 1).await;
    let error = backend.kubernetes().apply(&put("others")).await.unwrap_err();
    assert!(matches!(&error, Error::Invalid { field, .. } if field == "namespace"), "{error:?}");
}

async fn a_deleted_pod_is_replaced(backend: Arc<OnKubernetes>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let status = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let old = &status.replicas[0].id;
    pods(&backend).delete(old, &DeleteParams::default()).await.unwrap();
    let new =
        |s: &Status| s.is_settled() && s.ready().any(|r| r.id != *old) && s.replicas.len() == 1;
    let replaced = watcher.until(&name("echo"), new).await;
    assert_eq!(get(&address(&replaced), "/").await, "v1");
    assert_eq!(replaced.generation, status.generation);
}

async fn a_pod_that_is_told_to_end_leaves_at_once(backend: Arc<OnKubernetes>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let echo = name("echo");
    deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    scale(&*backend, &echo, 2).await;
    let two = watcher.settled(&echo, 2).await;
    let leaving = &two.replicas[0].id;
    let counter = backend.calls().counter(leaving);
    let call = counter.enter().unwrap();
    pods(&backend).delete(leaving, &DeleteParams::default()).await.unwrap();
    let told = watcher.until(&echo, |s| in_state(s, State::Draining) == 1).await;
    let drains = told.replicas.iter().find(|r| r.state == State::Draining).unwrap();
    assert_eq!((&drains.id, told.ready().count()), (leaving, 1));
    assert!(counter.is_closed() && counter.enter().is_none(), "no new call gets in");
    drop(call);
    watcher.until(&echo, |s| s.replicas.iter().all(|r| r.id != *leaving)).await;
    assert!(!backend.calls().counter(leaving).is_closed(), "what was counted is forgotten");
}

async fn another_scaler_is_seen_and_not_fought(backend: Arc<OnKubernetes>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let echo = name("echo");
    deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let params = PatchParams { field_manager: Some("hpa".to_owned()), ..PatchParams::default() };
    let three = Patch::Merge(json!({"spec": {"replicas": 3}}));
    deployments(&backend).patch_scale("echo", &params, &three).await.unwrap();
    watcher.settled(&echo, 3).await;
    let new = deploy(&*backend, &mut watcher, &backend.good("echo", "v2")).await;
    assert_eq!(new.desired, 3, "a deploy leaves the number to whoever scales");
    scale(&*backend, &echo, 1).await;
    watcher.settled(&echo, 1).await;
}

async fn a_new_gateway_finds_everything(backend: Arc<OnKubernetes>) {
    let (echo, cold) = (name("echo"), name("cold"));
    let mut watcher = Watcher::new(&backend.provider()).await;
    let old = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    deploy(&*backend, &mut watcher, &backend.good("cold", "v1")).await;
    scale(&*backend, &cold, 0).await;
    let held = backend.apply_held("echo", "v2").await;
    backend.disconnect();

    backend.connect().await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    assert_eq!(watcher.now[&cold].desired, 0);
    let found = watcher.until(&echo, |s| s.ready().count() == 1).await;
    assert_eq!((found.generation, found.desired), (held.generation, 1));
    assert_eq!((found.created_at, &found.function), (old.created_at, &held.function));
    backend.release(&echo).await;
    let new = watcher.settled(&echo, 1).await;
    assert_eq!(get(&address(&new), "/").await, "v2");
    scale(&*backend, &cold, 1).await;
    watcher.settled(&cold, 1).await;
}

async fn what_is_removed_by_others_is_seen(backend: Arc<OnKubernetes>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    // Where functions are objects of the cluster, theirs would have it made again.
    forget_object(&backend.client, &backend.namespace, "echo").await;
    match deployments(&backend).delete("echo", &DeleteParams::foreground()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        other => drop(other.unwrap()),
    }
    watcher.until_gone(&name("echo")).await;
    let none = backend.kubernetes().scale(&name("echo"), Target::Replicas(2)).await;
    assert!(matches!(none, Err(Error::NotFound(_))));
    // It is deployed anew when it has gone for good.
    let again = deploy(&*backend, &mut watcher, &backend.good("echo", "v2")).await;
    assert_eq!(get(&address(&again), "/").await, "v2");
}

async fn a_profile_of_a_config_map_is_applied(backend: Arc<OnKubernetes>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let mut function = backend.good("echo", "v1");
    function.annotations.insert("com.openfaas.profile".to_owned(), "gold".to_owned());
    let error = backend.kubernetes().apply(&function).await.unwrap_err().to_string();
    assert!(error.starts_with("com.openfaas.profile: there is no profile \"gold\""), "{error}");
    let profile = json!({
        "metadata": {"name": "gold"},
        "data": {"profile": "tolerations: [{key: gold, operator: Exists}]"},
    });
    create::<ConfigMap>(&backend.client, &backend.namespace, profile).await;
    deploy(&*backend, &mut watcher, &function).await;
    assert_eq!(tolerations(&deployments(&backend).get("echo").await.unwrap()), ["gold"]);
}

fn query(name: &Name) -> LogQuery {
    LogQuery { name: name.clone(), instance: None, tail: None, follow: true, since: None }
}

async fn logs_follow_a_replica_through_its_restart(backend: Arc<OnKubernetes>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let echo = name("echo");
    let status = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let mut lines = backend.kubernetes().logs(query(&echo)).await.unwrap();
    let mut texts: Vec<String> = Vec::new();
    while texts.last().is_none_or(|text| text != "hello from v1") {
        texts.push(soon("hello", lines.next()).await.unwrap().unwrap().text);
    }
    get(&address(&status), "/exit").await;
    let back = watcher.until(&echo, |s| s.ready().any(|r| r.restarts == 1)).await;
    assert_eq!((back.replicas[0].last_exit.as_str(), back.reason.as_str()), ("exit code 7", ""));
    get(&address(&back), "/say/again").await;
    while texts.last().is_none_or(|text| text != "again") {
        texts.push(soon("again", lines.next()).await.unwrap().unwrap().text);
    }
    let hellos = texts.iter().filter(|text| *text == "hello from v1").count();
    assert_eq!(hellos, 2, "every line once: {texts:?}");
    // The stream ends with the function.
    backend.kubernetes().remove(&echo).await.unwrap();
    soon("the end of the logs", async { while lines.next().await.is_some() {} }).await;
}

async fn usage_is_not_there_without_a_metrics_server(backend: Arc<OnKubernetes>) {
    let groups = backend.client.list_api_groups().await.unwrap();
    let measured = groups.groups.iter().any(|group| group.name == "metrics.k8s.io");
    let usage = backend.kubernetes().usage().await;
    assert_eq!(matches!(usage, Err(Error::Unsupported(_))), !measured, "{usage:?}");
}
