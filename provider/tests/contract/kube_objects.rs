//! The cluster as the tests use it beside the provider.

use std::collections::HashSet;
use std::fmt::Debug;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;

use futures_util::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, ListParams, PostParams, WatchParams};
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::task::JoinSet;

use crate::engine::get;
use crate::support::soon;

/// The objects of functions.
const FUNCTIONS: &str = "faas_function";
/// Names the gateway of a namespace.
const GATEWAY: &str = "flint.dev/gateway";

pub(crate) fn api<K>(client: &Client, namespace: &str) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), namespace)
}

pub(crate) async fn create_namespace(client: &Client, name: &str) {
    create_in(client, json!({"metadata": {"name": name}})).await;
}

/// A namespace that is made as it says.
pub(crate) async fn create_in(client: &Client, namespace: serde_json::Value) {
    let namespace: Namespace = serde_json::from_value(namespace).unwrap();
    let all = Api::<Namespace>::all(client.clone());
    all.create(&PostParams::default(), &namespace).await.unwrap();
}

/// Creates an object of a test's own.
pub(crate) async fn create<K>(client: &Client, namespace: &str, object: serde_json::Value) -> K
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Clone + Debug + DeserializeOwned + serde::Serialize,
{
    let object: K = serde_json::from_value(object).unwrap();
    api(client, namespace).create(&PostParams::default(), &object).await.unwrap()
}

/// Deletes the object of a function, if there are such objects and the deploy has written one.
pub(crate) async fn forget_object(client: &Client, namespace: &str, name: &str) {
    let resource = ApiResource {
        group: "flint.dev".to_owned(),
        version: "v1".to_owned(),
        api_version: "flint.dev/v1".to_owned(),
        kind: "Function".to_owned(),
        plural: "functions".to_owned(),
    };
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource);
    let _may_not_be_there = api.delete(name, &DeleteParams::background()).await;
}

/// Removes everything that belongs to a test, however it ended. It goes in the background.
pub(crate) async fn clean(client: &Client, namespace: &str) {
    let all = Api::<Namespace>::all(client.clone());
    let listed = match all.list(&ListParams::default()).await {
        Ok(listed) => listed,
        Err(error) => return eprintln!("namespaces {namespace}* stay: {error}"),
    };
    let ours = listed.items.iter().filter(|one| {
        let gateway = one.annotations().get(GATEWAY).is_some_and(|gateway| gateway == namespace);
        gateway || one.name_any().starts_with(namespace)
    });
    for one in ours {
        let _gone = all.delete(&one.name_any(), &DeleteParams::background()).await;
    }
}

/// The keys that a Deployment's pods tolerate.
pub(crate) fn tolerations(deployment: &Deployment) -> Vec<String> {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let all = pod.and_then(|pod| pod.tolerations.as_ref()).into_iter().flatten();
    all.filter_map(|toleration| toleration.key.clone()).collect()
}

/// An address of a node.
pub(crate) async fn node_ip(client: &Client) -> Ipv4Addr {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.unwrap();
    let status = nodes.items.into_iter().next().expect("a node").status.unwrap();
    let addresses = status.addresses.unwrap_or_default();
    let internal = addresses.into_iter().find(|address| address.type_ == "InternalIP");
    internal.expect("an address of the node").address.parse().unwrap()
}

/// Ends the program of every pod that is told to end. The fixture is the first process of its
/// container and handles no signals, so the kernel keeps SIGTERM from it, which would cost each test
/// the whole grace period.
pub(crate) async fn usher(client: Client, namespace: String) {
    let pods = api::<Pod>(&client, &namespace);
    let events = watcher(pods, watcher::Config::default().labels(FUNCTIONS));
    let mut events = pin!(events.default_backoff());
    let (mut told, mut tasks) = (HashSet::new(), JoinSet::new());
    while let Some(event) = events.next().await {
        let Ok(Event::Apply(pod)) = event else { continue };
        let ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
        let (Some(ip), Some(_)) = (ip, &pod.metadata.deletion_timestamp) else { continue };
        if told.insert(pod.uid()) {
            let address = SocketAddr::new(ip.parse().unwrap(), 8080);
            // One that does not listen is ended by the kubelet.
            tasks.spawn(async move {
                if tokio::net::TcpStream::connect(address).await.is_ok() {
                    get(&provider::Address::Tcp(address), "/exit").await;
                }
            });
        }
    }
}

/// What is left in a namespace once what is going has gone.
pub(crate) async fn leftovers(client: &Client, namespace: &str) -> Vec<String> {
    until_none::<ReplicaSet>(client, namespace).await;
    until_none::<Pod>(client, namespace).await;
    let mut all = names::<Deployment>(client, namespace).await;
    all.extend(names::<Service>(client, namespace).await);
    all.extend(names::<NetworkPolicy>(client, namespace).await);
    all
}

async fn names<K>(client: &Client, namespace: &str) -> Vec<String>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Clone + Debug + DeserializeOwned,
{
    let listed = api::<K>(client, namespace).list(&ListParams::default()).await.unwrap();
    listed.items.iter().map(|one| format!("{} {}", K::kind(&()), one.name_any())).collect()
}

/// Waits until there is no object of a kind.
async fn until_none<K>(client: &Client, namespace: &str)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Clone + Debug + DeserializeOwned + Send + 'static,
{
    let api = api::<K>(client, namespace);
    let what = format!("the end of every {} in {namespace}", K::kind(&()));
    soon(&what, async {
        loop {
            let listed = api.list(&ListParams::default()).await.unwrap();
            if listed.items.is_empty() {
                return;
            }
            let version = listed.metadata.resource_version.unwrap_or_default();
            let changes = api.watch(&WatchParams::default(), &version).await.unwrap();
            let _something_changed = pin!(changes).next().await;
        }
    })
    .await;
}
