//! Functions as objects of the cluster, as `kubectl` makes, changes and deletes them.

use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::{DynamicObject, GroupVersionKind};
use kube::discovery::ApiResource;
use kube::runtime::wait::await_condition;
use kube::runtime::wait::conditions::is_crd_established;
use kube::{Api, Client};
use provider::{Error, Provider, Secret};
use serde_json::{Value, json};

use crate::engine::get;
use crate::kube_objects::{api, tolerations};
use crate::on_kubernetes::{OnKubernetes, SpecialCase};
use crate::support::{Backend, Watcher, address, deploy, name, soon};

/// Our kinds, which the chart installs.
const OURS: &str = "../charts/flint/crds";
/// The reference product's.
const THEIRS: &str = "tests/contract/openfaas-functions.yaml";
/// Who writes as a person with `kubectl` does.
const PERSON: &str = "kubectl";
/// The name of the finalizer.
const FINALIZER: &str = "flint.dev/function";

/// The cases that only Kubernetes must pass.
pub(crate) fn all() -> Vec<(&'static str, SpecialCase)> {
    macro_rules! list {
        ($($case:ident),* $(,)?) => {
            vec![$((stringify!($case), (|b| Box::pin($case(b))) as SpecialCase)),*]
        };
    }
    list![
        an_object_is_a_function_until_it_is_deleted,
        an_object_that_is_changed_is_rolled_out,
        an_object_that_cannot_be_says_why_and_can_be_mended,
        a_refused_object_is_tried_again,
        a_deploy_writes_the_object_and_rolls_once,
        a_deploy_that_the_cluster_does_not_take_changes_no_object,
        a_change_by_hand_is_not_written_over,
        a_function_goes_with_the_object_that_a_deploy_wrote,
        what_is_deleted_by_hand_comes_back_while_its_object_is_there,
        an_object_of_the_reference_product_is_a_function,
        the_profiles_of_an_object_are_applied_and_told,
    ]
}

/// Installs the kinds once; they stay, for others use them too.
async fn install(client: &Client) {
    let ours = std::fs::read_dir(Path::new(OURS)).expect("the chart's CRDs");
    let ours = ours.map(|entry| entry.unwrap().path());
    for path in ours.chain([THEIRS.into()]) {
        let yaml = std::fs::read_to_string(&path).unwrap();
        let crd: CustomResourceDefinition = serde_yaml::from_str(&yaml).unwrap();
        let name = crd.metadata.name.clone().unwrap();
        let all = Api::<CustomResourceDefinition>::all(client.clone());
        let params = PatchParams::apply("flint-tests").force();
        all.patch(&name, &params, &Patch::Apply(&crd)).await.unwrap();
        soon(&name, await_condition(all, &name, is_crd_established())).await.unwrap();
    }
}

fn objects(backend: &OnKubernetes, group: &str) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        api_version: format!("{group}/v1"),
        kind: "Function".to_owned(),
        plural: "functions".to_owned(),
    };
    Api::namespaced_with(backend.client.clone(), &backend.namespace, &resource)
}

fn ours(backend: &OnKubernetes) -> Api<DynamicObject> {
    objects(backend, "flint.dev")
}

/// A function `echo`, as a person writes it down.
async fn create(backend: &OnKubernetes, group: &str, version: &str, more: Value) -> DynamicObject {
    let mut object = json!({
        "apiVersion": format!("{group}/v1"),
        "kind": "Function",
        "metadata": {"name": "echo"},
        "spec": {"name": "echo", "image": backend.image, "environment": {"VERSION": version}},
    });
    merge(&mut object["spec"], &more);
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let params = PostParams { field_manager: Some(PERSON.to_owned()), ..PostParams::default() };
    objects(backend, group).create(&params, &object).await.unwrap()
}

fn merge(into: &mut Value, more: &Value) {
    for (key, value) in more.as_object().into_iter().flatten() {
        into[key] = value.clone();
    }
}

async fn change(api: &Api<DynamicObject>, patch: Value) -> DynamicObject {
    let params = PatchParams { field_manager: Some(PERSON.to_owned()), ..PatchParams::default() };
    api.patch("echo", &params, &Patch::Merge(patch)).await.unwrap()
}

fn condition<'a>(object: &'a DynamicObject, kind: &str) -> (&'a str, &'a str) {
    let all = object.data["status"]["conditions"].as_array();
    let found = all.and_then(|all| all.iter().find(|condition| condition["type"] == kind));
    let text = |key: &str| found.and_then(|found| found[key].as_str()).unwrap_or_default();
    (text("status"), text("message"))
}

/// Waits until the object is so.
async fn until(
    api: &Api<DynamicObject>,
    what: &str,
    so: impl Fn(&DynamicObject) -> bool,
) -> DynamicObject {
    let so = |object: Option<&DynamicObject>| object.is_some_and(&so);
    soon(what, await_condition(api.clone(), "echo", so)).await.unwrap().unwrap()
}

/// Waits until the status is about the object as it is now.
async fn until_ready(api: &Api<DynamicObject>) -> DynamicObject {
    until(api, "the object to be ready", |object| {
        condition(object, "Ready").0 == "True"
            && object.data["status"]["observedGeneration"].as_i64() == object.metadata.generation
    })
    .await
}

async fn until_absent(api: &Api<DynamicObject>) {
    let gone = |object: Option<&DynamicObject>| object.is_none();
    soon("the end of the object", await_condition(api.clone(), "echo", gone)).await.unwrap();
}

async fn deployment(backend: &OnKubernetes) -> Deployment {
    api::<Deployment>(&backend.client, &backend.namespace).get("echo").await.unwrap()
}

async fn an_object_is_a_function_until_it_is_deleted(backend: Arc<OnKubernetes>) {
    install(&backend.client).await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    let labels = json!({"labels": {"com.openfaas.scale.min": "2"}});
    let made = create(&backend, "flint.dev", "v1", labels).await;
    let status = watcher.settled(&name("echo"), 2).await;
    assert_eq!(get(&address(&status), "/").await, "v1");

    let ready = until_ready(&ours(&backend)).await;
    assert!(ready.metadata.finalizers.unwrap().contains(&FINALIZER.to_owned()));
    let told = &ready.data["status"];
    assert_eq!((&told["replicas"], &told["availableReplicas"]), (&json!(2), &json!(2)));
    assert_eq!(told["unavailableReplicas"], 0);
    let owners = deployment(&backend).await.metadata.owner_references.unwrap();
    assert_eq!(Some(&owners[0].uid), made.metadata.uid.as_ref());

    ours(&backend).delete("echo", &DeleteParams::default()).await.unwrap();
    watcher.until_gone(&name("echo")).await;
    until_absent(&ours(&backend)).await;
    assert_eq!(backend.leftovers().await, Vec::<String>::new());
}

async fn an_object_that_is_changed_is_rolled_out(backend: Arc<OnKubernetes>) {
    install(&backend.client).await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    create(&backend, "flint.dev", "v1", json!({})).await;
    let old = watcher.settled(&name("echo"), 1).await;
    let change = change(&ours(&backend), json!({"spec": {"environment": {"VERSION": "v2"}}})).await;
    let newer = |s: &provider::Status| s.generation > old.generation && s.is_settled();
    let new = watcher.until(&name("echo"), newer).await;
    assert_eq!(get(&address(&new), "/").await, "v2");
    let ready = until_ready(&ours(&backend)).await;
    assert_eq!(ready.metadata.generation, change.metadata.generation);
    backend.kubernetes().remove(&name("echo")).await.unwrap();
    until_absent(&ours(&backend)).await;
}

async fn an_object_that_cannot_be_says_why_and_can_be_mended(backend: Arc<OnKubernetes>) {
    install(&backend.client).await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    let bad = json!({"annotations": {"flint.dev/timeout": "soon"}});
    create(&backend, "flint.dev", "v1", bad).await;
    let stalled = |o: &DynamicObject| condition(o, "Stalled").0 == "True";
    let refused = until(&ours(&backend), "the object to be refused", stalled).await;
    assert!(condition(&refused, "Stalled").1.starts_with("flint.dev/timeout: "), "{refused:?}");
    assert_eq!(condition(&refused, "Ready").0, "False");
    assert_eq!(refused.data["status"]["observedGeneration"], 1);
    assert!(!watcher.now.contains_key(&name("echo")));

    change(&ours(&backend), json!({"spec": {"annotations": {"flint.dev/timeout": "5s"}}})).await;
    watcher.settled(&name("echo"), 1).await;
    let mended = until_ready(&ours(&backend)).await;
    assert_eq!(condition(&mended, "Stalled").0, "False");
    // One that has never run can be removed through the API too.
    let other = json!({"spec": {"name": "other"}});
    change(&ours(&backend), other).await;
    let refused = until(&ours(&backend), "the other name to be refused", stalled).await;
    assert!(condition(&refused, "Stalled").1.starts_with("spec.name: "), "{refused:?}");
    backend.kubernetes().remove(&name("echo")).await.unwrap();
    until_absent(&ours(&backend)).await;
    assert_eq!(backend.leftovers().await, Vec::<String>::new());
}

async fn a_refused_object_is_tried_again(backend: Arc<OnKubernetes>) {
    install(&backend.client).await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    create(&backend, "flint.dev", "v1", json!({"secrets": ["key"]})).await;
    let stalled = |o: &DynamicObject| condition(o, "Stalled").0 == "True";
    let refused = until(&ours(&backend), "the object to be refused", stalled).await;
    assert!(condition(&refused, "Stalled").1.contains("\"key\""), "{refused:?}");
    let secret = Secret { name: "key".into(), value: Some("v".into()), ..Secret::default() };
    backend.kubernetes().secrets().create(&secret).await.unwrap();
    watcher.settled(&name("echo"), 1).await;
    until_ready(&ours(&backend)).await;
    backend.kubernetes().remove(&name("echo")).await.unwrap();
    until_absent(&ours(&backend)).await;
}

async fn a_deploy_writes_the_object_and_rolls_once(backend: Arc<OnKubernetes>) {
    install(&backend.client).await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    let status = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let ready = until_ready(&ours(&backend)).await;
    assert_eq!(ready.data["spec"]["environment"]["VERSION"], "v1");
    let generation = |metadata: &kube::api::ObjectMeta| {
        metadata.annotations.as_ref().unwrap()["flint.dev/generation"].clone()
    };
    assert_eq!(generation(&ready.metadata), status.generation.to_string());
    let deployment = deployment(&backend).await;
    assert_eq!(generation(&deployment.metadata), status.generation.to_string());
    assert_eq!(deployment.metadata.generation, Some(1), "whoever leads found nothing to do");
    assert!(ready.metadata.finalizers.is_none(), "it owns what is made from it");

    // A change of the object by hand is one of the function.
    change(&ours(&backend), json!({"spec": {"environment": {"VERSION": "v2"}}})).await;
    let newer = |s: &provider::Status| s.generation > status.generation && s.is_settled();
    let new = watcher.until(&name("echo"), newer).await;
    assert_eq!(get(&address(&new), "/").await, "v2");
    backend.kubernetes().remove(&name("echo")).await.unwrap();
    until_absent(&ours(&backend)).await;
    assert_eq!(backend.leftovers().await, Vec::<String>::new());
}

async fn a_deploy_that_the_cluster_does_not_take_changes_no_object(backend: Arc<OnKubernetes>) {
    install(&backend.client).await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let mut bad = backend.good("echo", "v2");
    bad.constraints.push("disk=not a label".to_owned());
    let error = backend.kubernetes().apply(&bad).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    let kept = ours(&backend).get("echo").await.unwrap();
    assert_eq!(kept.data["spec"]["environment"], json!({"VERSION": "v1"}));
    backend.kubernetes().remove(&name("echo")).await.unwrap();
}

async fn a_change_by_hand_is_not_written_over(backend: Arc<OnKubernetes>) {
    install(&backend.client).await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    create(&backend, "flint.dev", "by hand", json!({})).await;
    watcher.settled(&name("echo"), 1).await;
    let error = backend.kubernetes().apply(&backend.good("echo", "v2")).await.unwrap_err();
    let Error::Conflict(text) = &error else { panic!("{error:?}") };
    assert!(text.contains(PERSON) && text.contains("VERSION"), "{text}");
    // What says the same is no conflict, and what is added is nobody else's.
    let mut more = backend.good("echo", "by hand");
    more.env_vars.insert("MORE".to_owned(), "1".to_owned());
    deploy(&*backend, &mut watcher, &more).await;
    let object = until_ready(&ours(&backend)).await;
    assert_eq!(object.data["spec"]["environment"]["MORE"], "1");
    backend.kubernetes().remove(&name("echo")).await.unwrap();
    until_absent(&ours(&backend)).await;
}

async fn a_function_goes_with_the_object_that_a_deploy_wrote(backend: Arc<OnKubernetes>) {
    install(&backend.client).await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    ours(&backend).delete("echo", &DeleteParams::background()).await.unwrap();
    watcher.until_gone(&name("echo")).await;
    assert_eq!(backend.leftovers().await, Vec::<String>::new());
}

async fn what_is_deleted_by_hand_comes_back_while_its_object_is_there(backend: Arc<OnKubernetes>) {
    install(&backend.client).await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let deployments = api::<Deployment>(&backend.client, &backend.namespace);
    deployments.delete("echo", &DeleteParams::background()).await.unwrap();
    watcher.until_gone(&name("echo")).await;
    watcher.settled(&name("echo"), 1).await;
    backend.kubernetes().remove(&name("echo")).await.unwrap();
    until_absent(&ours(&backend)).await;
}

async fn an_object_of_the_reference_product_is_a_function(backend: Arc<OnKubernetes>) {
    install(&backend.client).await;
    let theirs = objects(&backend, "openfaas.com");
    let mut watcher = Watcher::new(&backend.provider()).await;
    create(&backend, "openfaas.com", "v1", json!({"handler": "./echo"})).await;
    let status = watcher.settled(&name("echo"), 1).await;
    assert_eq!(get(&address(&status), "/").await, "v1");
    let error = backend.kubernetes().apply(&backend.good("echo", "v2")).await.unwrap_err();
    let Error::Conflict(text) = &error else { panic!("{error:?}") };
    assert!(text.contains("functions.openfaas.com echo"), "{text}");
    let error = backend.kubernetes().remove(&name("echo")).await.unwrap_err();
    assert!(matches!(&error, Error::Conflict(text) if text.contains("openfaas.com")), "{error:?}");
    let new = change(&theirs, json!({"spec": {"environment": {"VERSION": "v2"}}})).await;
    assert!(new.metadata.finalizers.is_none() && new.data.get("status").is_none(), "only read");
    let newer = |s: &provider::Status| s.generation > status.generation && s.is_settled();
    let new = watcher.until(&name("echo"), newer).await;
    assert_eq!(get(&address(&new), "/").await, "v2");
    theirs.delete("echo", &DeleteParams::background()).await.unwrap();
    watcher.until_gone(&name("echo")).await;
    assert_eq!(backend.leftovers().await, Vec::<String>::new());
}

async fn the_profiles_of_an_object_are_applied_and_told(backend: Arc<OnKubernetes>) {
    install(&backend.client).await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    let kind = GroupVersionKind::gvk("flint.dev", "v1", "Profile");
    let resource = ApiResource::from_gvk_with_plural(&kind, "profiles");
    let profile = json!({
        "apiVersion": "flint.dev/v1", "kind": "Profile", "metadata": {"name": "gold"},
        "spec": {"tolerations": [{"key": "gold", "operator": "Exists"}]},
    });
    let profile: DynamicObject = serde_json::from_value(profile).unwrap();
    let api = Api::namespaced_with(backend.client.clone(), &backend.namespace, &resource);
    api.create(&PostParams::default(), &profile).await.unwrap();
    create(&backend, "flint.dev", "v1", json!({"annotations": {"flint.dev/profile": "gold"}}))
        .await;
    watcher.settled(&name("echo"), 1).await;
    let ready = until_ready(&ours(&backend)).await;
    let reference = json!({"name": "gold", "namespace": backend.namespace});
    assert_eq!(ready.data["status"]["profiles"], json!([{ "profileRef": reference }]));
    assert_eq!(tolerations(&deployment(&backend).await), ["gold"]);
}
