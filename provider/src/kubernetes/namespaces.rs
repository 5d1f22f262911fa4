//! Namespaces of functions: namespaces of the cluster that are annotated so (contract 8.5).
//!
//! Labels and annotations are applied under our name, so that an update takes back what an update
//! before it wrote, and leaves alone what others did.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace as Object, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};

use super::core::asked;
use super::crd;
use super::render::{MANAGED_BY, MANAGER};
use super::scope::{GATEWAY, MARK, Scope};
use super::secrets;
use crate::function::label;
use crate::{DEFAULT_NAMESPACE, Error, Namespace, Namespaces, Result};

/// Begins the names of namespaces that belong to the cluster itself.
const SYSTEM_PREFIX: &str = "kube-";
/// The namespace of whatever names none.
const SYSTEM_DEFAULT: &str = "default";
/// How many objects of a namespace are named when it is not empty.
const NAMED: usize = 8;

type Map = BTreeMap<String, String>;

/// The namespaces of a cluster that functions can be in.
pub(super) struct ClusterNamespaces {
    client: Client,
    scope: Arc<Scope>,
}

impl ClusterNamespaces {
    /// Those that are ours.
    pub(super) fn new(client: Client, scope: Arc<Scope>) -> Self {
        Self { client, scope }
    }

    fn api(&self) -> Api<Object> {
        Api::all(self.client.clone())
    }

    /// Refuses where there is the one namespace only.
    fn check_wide(&self) -> Result<()> {
        if self.scope.cluster_wide {
            return Ok(());
        }
        Err(Error::Unsupported(
            "namespaces, unless the gateway serves all of them (--cluster-wide)",
        ))
    }

    /// A namespace of the cluster, whoever's it is.
    async fn find(&self, name: &str) -> Result<Option<ObjectMeta>> {
        let api = self.api();
        let found = asked(&what(name), api.get_metadata_opt(name)).await?;
        Ok(found.map(|object| object.metadata))
    }

    /// One that is ours, and not on its way out.
    async fn ours(&self, name: &str) -> Result<ObjectMeta> {
        let found = self
            .find(name)
            .await?
            .filter(|metadata| metadata.deletion_timestamp.is_none() && self.owns(metadata));
        found.ok_or_else(|| Error::NotFound(what(name)))
    }

    fn owns(&self, metadata: &ObjectMeta) -> bool {
        let name = metadata.name.as_deref().unwrap_or_default();
        let annotations = metadata.annotations.clone().unwrap_or_default();
        name == self.scope.function_namespace || self.scope.owns(name, &annotations)
    }

    /// What it is called in the API.
    fn told(&self, metadata: ObjectMeta) -> Option<Namespace> {
        let name = metadata.name?;
        let is_default = name == self.scope.function_namespace;
        Some(Namespace {
            name: if is_default { DEFAULT_NAMESPACE.to_owned() } else { name },
            annotations: metadata.annotations.unwrap_or_default(),
            labels: metadata.labels.unwrap_or_default(),
        })
    }

    /// The cluster's name of one that is there.
    fn cluster_name(&self, name: &str) -> String {
        match name {
            DEFAULT_NAMESPACE => self.scope.function_namespace.clone(),
            other => other.to_owned(),
        }
    }

    /// Writes labels and annotations, in the place of those that we wrote before.
    async fn put(&self, name: &str, annotations: Map, labels: Map) -> Result<()> {
        let object = Object {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                annotations: Some(annotations),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            ..Object::default()
        };
        let api = self.api();
        let params = PatchParams::apply(MANAGER);
        let patch = Patch::Apply(&object);
        asked(&what(name), api.patch(name, &params, &patch)).await.map(drop)
    }

    /// What is in it that would go with it, in words.
    async fn content(&self, namespace: &str) -> Result<Vec<String>> {
        let functions = ListParams::default().labels(label::FUNCTION);
        let others = ListParams::default().labels(&format!("!{}", label::FUNCTION));
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let deployments =
            asked("the list of functions", deployments.list_metadata(&functions)).await?;
        let pods = asked("the list of pods", pods.list_metadata(&others)).await?;
        let secrets = secrets::names(&self.client, namespace).await?;
        let names = |items: Vec<ObjectMeta>| items.into_iter().filter_map(|meta| meta.name);
        let mut functions = crd::names(&self.client, namespace).await?;
        functions.extend(names(deployments.items.into_iter().map(|item| item.metadata).collect()));
        let pods = names(pods.items.into_iter().map(|item| item.metadata).collect());
        Ok(functions
            .into_iter()
            .map(|name| format!("function {name}"))
            .chain(secrets.into_iter().map(|name| format!("secret {name}")))
            .chain(pods.map(|name| format!("pod {name}, which is of no function")))
            .collect())
    }
}

#[async_trait]
impl Namespaces for ClusterNamespaces {
    async fn list(&self) -> Result<Vec<Namespace>> {
        let default = Namespace { name: DEFAULT_NAMESPACE.to_owned(), ..Namespace::default() };
        if !self.scope.cluster_wide {
            return Ok(vec![default]);
        }
        let api = self.api();
        let params = ListParams::default();
        let listed = asked("the list of namespaces", api.list_metadata(&params)).await?;
        let ours = listed
            .items
            .into_iter()
            .map(|item| item.metadata)
            .filter(|metadata| metadata.deletion_timestamp.is_none() && self.owns(metadata));
        let mut all: BTreeMap<_, _> =
            ours.filter_map(|meta| self.told(meta)).map(|ns| (ns.name.clone(), ns)).collect();
        all.entry(default.name.clone()).or_insert(default);
        Ok(all.into_values().collect())
    }

    async fn create(&self, namespace: &Namespace) -> Result<()> {
        self.check_wide()?;
        let name = namespace.name.as_str();
        check_free(name)?;
        let taken = [DEFAULT_NAMESPACE, self.scope.function_namespace.as_str()].contains(&name);
        if taken {
            return Err(Error::Exists(what(name)));
        }
        if let Some(found) = self.find(name).await? {
            return Err(self.taken(&found));
        }
        let (annotations, labels) = marks(&self.scope.gateway_namespace);
        let object = Object {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                annotations: Some(annotations.clone()),
                labels: Some(labels.clone()),
                ..ObjectMeta::default()
            },
            ..Object::default()
        };
        let api = self.api();
        asked(&what(name), api.create(&PostParams::default(), &object)).await?;
        self.scope.observe(name, true);
        self.put(name, over(&namespace.annotations, annotations), over(&namespace.labels, labels))
            .await
    }

    async fn update(&self, namespace: &Namespace) -> Result<()> {
        self.check_wide()?;
        let name = self.cluster_name(&namespace.name);
        let found = self.ours(&name).await?;
        let kept = |all: Option<Map>, keys: &[&str]| {
            let mut all = all.unwrap_or_default();
            all.retain(|key, _| keys.contains(&key.as_str()));
            all
        };
        let annotations = kept(found.annotations, &[MARK, GATEWAY]);
        let labels = kept(found.labels, &[MARK, MANAGED_BY]);
        self.put(&name, over(&namespace.annotations, annotations), over(&namespace.labels, labels))
            .await
    }

    async fn remove(&self, name: &str) -> Result<()> {
        if name == DEFAULT_NAMESPACE || name == self.scope.function_namespace {
            return Err(Error::Conflict("the default namespace cannot be removed".to_owned()));
        }
        self.check_wide()?;
        let found = match check_free(name) {
            Ok(()) => self.ours(name).await?,
            Err(_) => return Err(Error::NotFound(what(name))),
        };
        let content = self.content(name).await?;
        if !content.is_empty() {
            return Err(Error::Conflict(still_holds(name, &content)));
        }
        let preconditions = Preconditions { uid: found.uid, resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..Default::default() };
        let api = self.api();
        asked(&what(name), api.delete(name, &params)).await?;
        self.scope.observe(name, false);
        Ok(())
    }
}

impl ClusterNamespaces {
    /// Why a namespace that is there cannot be created.
    fn taken(&self, found: &ObjectMeta) -> Error {
        let name = found.name.as_deref().unwrap_or_default();
        if found.deletion_timestamp.is_some() {
            return Error::Conflict(format!(
                "namespace {name} is being removed: create it again when it is gone"
            ));
        }
        if self.owns(found) {
            return Error::Exists(what(name));
        }
        Error::Conflict(format!(
            "namespace {name} is there and is not for functions of this gateway: annotate it \
             {MARK}=1 if it should be"
        ))
    }
}

/// What tells that a namespace is for functions, and of which gateway.
fn marks(gateway_namespace: &str) -> (Map, Map) {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let annotations = [pair(MARK, "1"), pair(GATEWAY, gateway_namespace)];
    let labels = [pair(MARK, "1"), pair(MANAGED_BY, MANAGER)];
    (annotations.into(), labels.into())
}

/// A user's keys, and ours over them.
fn over(users: &Map, ours: Map) -> Map {
    let mut all = users.clone();
    for key in [MARK, GATEWAY, MANAGED_BY] {
        all.remove(key);
    }
    all.extend(ours);
    all
}

/// Refuses names that belong to the cluster itself.
fn check_free(name: &str) -> Result<()> {
    if name != SYSTEM_DEFAULT && !name.starts_with(SYSTEM_PREFIX) {
        return Ok(());
    }
    Err(Error::invalid("name", format!("{name:?} belongs to the cluster itself")))
}

fn still_holds(name: &str, content: &[String]) -> String {
    let mut words = content.iter().take(NAMED).cloned().collect::<Vec<_>>();
    if content.len() > NAMED {
        words.push(format!("and {} more", content.len() - NAMED));
    }
    format!("namespace {name} still holds {}", words.join(", "))
}

fn what(name: &str) -> String {
    format!("namespace {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clusters_own_namespaces_are_never_ours() {
        for name in ["default", "kube-system", "kube-public", "kube-anything"] {
            assert!(check_free(name).is_err(), "{name}");
        }
        for name in ["dev", "kubeless", "defaults"] {
            assert!(check_free(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_user_does_not_overwrite_the_marks() {
        let (annotations, _) = marks("gateways");
        let users = [(MARK, "0"), (GATEWAY, "other"), ("a", "b")];
        let users = users.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let all = over(&users, annotations);
        assert_eq!(
            (all[MARK].as_str(), all[GATEWAY].as_str(), all["a"].as_str()),
            ("1", "gateways", "b")
        );
    }

    #[test]
    fn what_is_in_the_way_is_named_up_to_a_bound() {
        let content: Vec<_> = (0..20).map(|n| format!("function f{n}")).collect();
        let text = still_holds("dev", &content);
        assert!(text.contains("function f7, and 12 more") && !text.contains("f8"), "{text}");
    }
}
