//! Secrets of functions: each is a Secret of the cluster with one key, its own name.
//!
//! What others made can be mounted, and is neither listed nor changed. Lists and looks ask for
//! metadata only, so no value leaves the API server but where a Secret's type is needed.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret as Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::json;

use super::core::asked;
use super::render::{MANAGED_BY, MANAGER};
use super::scope::Scope;
use crate::secret::check_secret_name;
use crate::{Error, Function, Name, Result, Secret, Secrets};

/// The reference product's name as a manager; its secrets are ours too (contract 8.4).
const REFERENCE: &str = "openfaas";
/// Types of secrets that let an image be pulled.
const PULL_TYPES: [&str; 2] = ["kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"];
/// The type of those that we make.
const OPAQUE: &str = "Opaque";
/// How many secrets of a deploy are looked up at a time.
const LOOKUPS: usize = 8;
/// How many secrets are listed with one request.
const PAGE: u32 = 500;

/// A function's secrets, told apart by what they are for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SecretRefs {
    /// Those that it reads.
    pub(super) mounted: Vec<String>,
    /// Those that let its image be pulled.
    pub(super) pull: Vec<String>,
}

/// Looks up the secrets that a function names. A missing one is an error.
pub(super) async fn resolve(
    client: &Client,
    namespace: &str,
    function: &Function,
) -> Result<SecretRefs> {
    let api: Api<Object> = Api::namespaced(client.clone(), namespace);
    let api = &api;
    let look = |name: String| async move {
        match asked(&what(&name), api.get_opt(&name)).await? {
            Some(secret) => Ok((name, secret.type_.unwrap_or_default())),
            None => Err(missing(&name, function)),
        }
    };
    let names: Vec<String> = function.secrets.clone();
    let found: Vec<(String, String)> =
        stream::iter(names).map(look).buffered(LOOKUPS).try_collect().await?;
    Ok(sorted(found))
}

/// Names by type, each once, in the function's order.
fn sorted(found: Vec<(String, String)>) -> SecretRefs {
    let mut refs = SecretRefs::default();
    for (name, kind) in found {
        let list = match PULL_TYPES.contains(&kind.as_str()) {
            true => &mut refs.pull,
            false => &mut refs.mounted,
        };
        if !list.contains(&name) {
            list.push(name);
        }
    }
    refs
}

fn missing(name: &str, function: &Function) -> Error {
    let namespace = function.name().map_or(String::new(), |name| name.namespace().to_owned());
    let reason = format!(
        "there is no secret {name:?} in namespace {namespace}; `faas secret create {name}` makes it"
    );
    Error::invalid("secrets", reason)
}

fn what(name: &str) -> String {
    format!("secret {name}")
}

/// The secrets of a cluster that functions can mount.
pub(super) struct ClusterSecrets {
    client: Client,
    scope: Arc<Scope>,
}

impl ClusterSecrets {
    /// Those of the namespaces that are ours.
    pub(super) fn new(client: Client, scope: Arc<Scope>) -> Self {
        Self { client, scope }
    }

    /// The secrets of a namespace of the API.
    fn api(&self, namespace: &str) -> Result<Api<Object>> {
        let namespace = self.scope.cluster_namespace(namespace)?;
        Ok(Api::namespaced(self.client.clone(), &namespace))
    }

    /// The metadata of one that we may change.
    async fn managed(&self, api: &Api<Object>, name: &str) -> Result<ObjectMeta> {
        check_secret_name(name)?;
        let found = asked(&what(name), api.get_metadata(name)).await?;
        if is_managed(&found.metadata) {
            return Ok(found.metadata);
        }
        Err(Error::Conflict(format!(
            "secret {name} was not made through the gateway: change it where it was made, or label \
             it {MANAGED_BY}={MANAGER}"
        )))
    }
}

/// The names of the secrets of a namespace of the cluster that we manage, sorted.
pub(super) async fn names(client: &Client, namespace: &str) -> Result<Vec<String>> {
    let api: Api<Object> = Api::namespaced(client.clone(), namespace);
    let labels = format!("{MANAGED_BY} in ({MANAGER},{REFERENCE})");
    let mut params = ListParams::default().labels(&labels).limit(PAGE);
    let mut names = Vec::new();
    loop {
        let page = asked("the list of secrets", api.list_metadata(&params)).await?;
        names.extend(page.items.into_iter().filter_map(|secret| secret.metadata.name));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn is_managed(metadata: &ObjectMeta) -> bool {
    let manager = metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY));
    manager.is_some_and(|manager| manager == MANAGER || manager == REFERENCE)
}

/// The object of a new secret.
fn object(name: &str, value: Vec<u8>) -> Object {
    Object {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some([(MANAGED_BY.to_owned(), MANAGER.to_owned())].into()),
            ..ObjectMeta::default()
        },
        type_: Some(OPAQUE.to_owned()),
        data: Some(BTreeMap::from([(name.to_owned(), ByteString(value))])),
        ..Object::default()
    }
}

#[async_trait]
impl Secrets for ClusterSecrets {
    async fn list(&self, namespace: &str) -> Result<Vec<Secret>> {
        let cluster = self.scope.cluster_namespace(namespace)?;
        let namespace = Name::new("x", namespace)?.namespace().to_owned();
        let listed = |name| Secret { name, namespace: namespace.clone(), ..Secret::default() };
        Ok(names(&self.client, &cluster).await?.into_iter().map(listed).collect())
    }

    async fn create(&self, secret: &Secret) -> Result<()> {
        check_secret_name(&secret.name)?;
        let api = self.api(&secret.namespace)?;
        let object = object(&secret.name, secret.bytes()?);
        let params =
            PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        asked(&what(&secret.name), api.create(&params, &object)).await.map(drop)
    }

    async fn update(&self, secret: &Secret) -> Result<()> {
        let name = &secret.name;
        let api = self.api(&secret.namespace)?;
        self.managed(&api, name).await?;
        let data = BTreeMap::from([(name, ByteString(secret.bytes()?))]);
        let params =
            PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({ "data": data }));
        asked(&what(name), api.patch_metadata(name, &params, &patch)).await.map(drop)
    }

    async fn remove(&self, name: &str, namespace: &str) -> Result<()> {
        let api = self.api(namespace)?;
        let found = self.managed(&api, name).await?;
        // The one that was looked at, and not one that took its place.
        let preconditions = Preconditions { uid: found.uid, resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        asked(&what(name), api.delete(name, &params)).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_registries_are_told_apart() {
        let found =
            [("a", OPAQUE), ("r", PULL_TYPES[0]), ("t", "kubernetes.io/tls"), ("a", OPAQUE)];
        let refs = sorted(found.map(|(n, t)| (n.to_owned(), t.to_owned())).to_vec());
        assert_eq!((refs.mounted, refs.pull), (vec!["a".into(), "t".into()], vec!["r".into()]));
    }

    #[test]
    fn a_secret_has_one_key_and_says_who_manages_it() {
        let object = object("key", vec![0, 255]);
        assert_eq!(object.data.unwrap()["key"].0, [0, 255]);
        assert!(is_managed(&object.metadata));
        assert!(!is_managed(&ObjectMeta::default()));
    }
}
