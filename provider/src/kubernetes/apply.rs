//! Deploying: objects for the API server, and then as many replicas as are wanted.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::core::{Core, asked, not_found, written};
use super::crd::Group;
use super::error::{is_forbidden, is_not_found};
use super::render::{self, Deploy, MANAGER, Objects, Place, ProfileSpec};
use super::secrets::SecretRefs;
use super::state::{Key, Known, World};
use super::{adopt, profiles, secrets};
use crate::{Error, Function, Result, Status};

/// Longest wait for a function of the same name to be gone that is being removed. A request of the API
/// is answered after 50 s at the latest.
const GOING_TIMEOUT: Duration = Duration::from_secs(45);

/// Longest wait for the cluster to find well what serves already.
const AGREE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a function names, as it is in the cluster.
struct Named {
    secrets: SecretRefs,
    profiles: Vec<ProfileSpec>,
    /// The object of the function, which owns the others.
    owner: Option<OwnerReference>,
}

/// What a deploy finds there.
struct Before {
    /// The generation that is there.
    generation: u64,
    /// How many replicas there are to be.
    count: u32,
    /// Whether there is a Deployment that another manager made.
    is_foreign: bool,
}

impl Core {
    /// Deploys a function; see [`crate::Provider::apply`].
    ///
    /// Where functions are objects of the cluster, that object is written first: it is the wish.
    /// So what the API server would not take is asked for beforehand, without being done.
    pub(super) async fn apply(self: Arc<Self>, function: Function) -> Result<Status> {
        function.validate()?;
        let name = function.name()?;
        let key = self.key(&name)?;
        let _turn = self.turns.lock(&name).await;
        self.wait_for_the_end(&key).await?;
        let before = self.before(&key, &function)?;
        let generation = self.next_generation(before.generation);
        let function = Function { registry_auth: String::new(), ..function };
        let deploy = Deploy { name: name.clone(), function, generation };
        let mut named = self.look_up(&key, &deploy.function).await?;
        let mut objects = self.render(&key, &deploy, &named)?;
        if self.has_object(&key).await? {
            self.ask_about(&key, &objects, before.is_foreign).await?;
            named.owner = self.declare(&key, &deploy).await?;
            objects = self.render(&key, &deploy, &named)?;
        }
        self.carry_out(&key, &before, &objects).await?;
        self.feed.get(&name).ok_or_else(|| not_found(&name))
    }

    /// Makes the cluster be as the object of a function says, unless it is so already.
    ///
    /// The object is read again when it is this function's turn: whoever removes a function
    /// through the API deletes the object first, and nothing may come back after that.
    pub(super) async fn realize(self: Arc<Self>, group: Group, key: &Key) -> Result<()> {
        let Some(name) = self.scope.name(&key.namespace, &key.function) else { return Ok(()) };
        let _turn = self.turns.lock(&name).await;
        self.wait_for_the_end(key).await?;
        let Some(wish) = self.wish(group, key, &name).await? else { return Ok(()) };
        if self.is_as(key, &wish.function) {
            return Ok(());
        }
        let before = self.before(key, &wish.function)?;
        let promised = wish.generation.filter(|promised| *promised > before.generation);
        let generation = promised.unwrap_or_else(|| self.next_generation(before.generation));
        let deploy = Deploy { name, function: wish.function, generation };
        let named = Named { owner: wish.owner, ..self.look_up(key, &deploy.function).await? };
        let objects = self.render(key, &deploy, &named)?;
        self.carry_out(key, &before, &objects).await
    }

    /// Writes the objects, and as many replicas as are wanted.
    async fn carry_out(
        self: &Arc<Self>,
        key: &Key,
        before: &Before,
        objects: &Objects,
    ) -> Result<()> {
        self.agree(key).await;
        self.write(key, objects, before.is_foreign).await?;
        if self.read(key, Known::desired) == before.count {
            return Ok(());
        }
        self.resize(key, before.count).await
    }

    /// A Deployment that is being removed takes what is applied to it along.
    async fn wait_for_the_end(&self, key: &Key) -> Result<()> {
        let going = |known: &Known| known.deployment.as_ref().is_some_and(|wanted| wanted.is_going);
        if self.until(GOING_TIMEOUT, |world| !world.functions.get(key).is_some_and(going)).await {
            return Ok(());
        }
        Err(Error::Conflict(format!(
            "function {} is being removed and still has pods; deploy it again when they are gone",
            key.function
        )))
    }

    /// Waits until the cluster knows of the pods that serve: what it takes for unhealthy it stops as
    /// soon as there is something new, ready or not.
    async fn agree(&self, key: &Key) {
        let agreed = |world: &World| world.functions.get(key).is_none_or(Known::is_agreed);
        if !self.until(AGREE_TIMEOUT, agreed).await {
            tracing::info!(function = %key.function, "the kubelet does not find well what answers us");
        }
    }

    fn before(&self, key: &Key, function: &Function) -> Result<Before> {
        let scale = function.scale()?;
        Ok(self.read(key, |known| {
            let generations = known.pods.values().map(|member| member.seen.generation);
            let wanted = known.wanted();
            let newest = wanted.map_or(0, |wanted| wanted.found.generation);
            Before {
                generation: generations.fold(newest, u64::max),
                // An update does not take replicas away, and wakes what sleeps.
                count: scale.clamp(known.desired()).max(scale.initial()),
                is_foreign: wanted.is_some_and(|wanted| !wanted.is_ours),
            }
        }))
    }

    /// What the function names. What the cluster does not have is an error.
    async fn look_up(&self, key: &Key, function: &Function) -> Result<Named> {
        let secrets = secrets::resolve(&self.client, &key.namespace, function).await?;
        let profiles = profiles::load(&self.client, &self.profiles_namespace, function).await?;
        Ok(Named { secrets, profiles, owner: None })
    }

    /// The objects of a deploy.
    fn render(&self, key: &Key, deploy: &Deploy, named: &Named) -> Result<Objects> {
        let place = Place {
            namespace: &key.namespace,
            settings: &self.settings,
            pull_secrets: &named.secrets.pull,
            mounted_secrets: &named.secrets.mounted,
            profiles: &named.profiles,
            owner: named.owner.clone(),
        };
        render::objects(deploy, &place)
    }

    /// Asks the API server whether it would take the Deployment.
    async fn ask_about(&self, key: &Key, objects: &Objects, force: bool) -> Result<()> {
        let api = self.deployments(key);
        let params = PatchParams { dry_run: true, force, ..PatchParams::apply(MANAGER) };
        let patch = Patch::Apply(&objects.deployment);
        let what = what("Deployment", key);
        written(&what, || api.patch(&key.function, &params, &patch)).await.map(drop)
    }

    /// Writes the objects, the Deployment first: it is what makes the wish durable.
    async fn write(self: &Arc<Self>, key: &Key, objects: &Objects, force: bool) -> Result<()> {
        let deployment = &objects.deployment;
        let applied = self.put(key, deployment, force).await?;
        self.wrote(&applied);
        self.put(key, &objects.service, force).await?;
        match &objects.network_policy {
            Some(policy) => self.put(key, policy, force).await.map(drop),
            None => self.delete::<NetworkPolicy>(key).await,
        }
    }

    /// Applies one object. What others manage of it is left to them, or is an error.
    async fn put<K>(&self, key: &Key, object: &K, force: bool) -> Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + Serialize + DeserializeOwned,
    {
        let api = Api::<K>::namespaced(self.client.clone(), &key.namespace);
        let what = what(&K::kind(&()), key);
        if force {
            self.adopt(&api, &what, &key.function).await?;
        }
        let params = PatchParams { force, ..PatchParams::apply(MANAGER) };
        let patch = Patch::Apply(object);
        written(&what, || api.patch(&key.function, &params, &patch)).await
    }

    /// Makes ours what others manage of an object, if it is there.
    async fn adopt<K>(&self, api: &Api<K>, what: &str, name: &str) -> Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let adopted = || async {
            let Some(found) = api.get_opt(name).await? else { return Ok(()) };
            let meta = found.meta();
            let entries = meta.managed_fields.as_deref().unwrap_or_default();
            match adopt::patch(entries, meta.resource_version.as_deref()) {
                None => Ok(()),
                Some(patch) => {
                    let params = PatchParams::default();
                    api.patch(name, &params, &Patch::Merge(patch)).await.map(drop)
                }
            }
        };
        // Somebody else may have changed it between the look and the patch.
        written(what, adopted).await
    }

    /// Deletes one object, if it is there; what belongs to it goes in the background.
    pub(super) async fn delete<K>(&self, key: &Key) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned,
    {
        let api = Api::<K>::namespaced(self.client.clone(), &key.namespace);
        let params = kube::api::DeleteParams::background();
        let optional = K::kind(&()) == NetworkPolicy::kind(&());
        let gone = async {
            match api.delete(&key.function, &params).await {
                // Who may not delete such objects has made none.
                Err(e) if is_not_found(&e) || is_forbidden(&e) && optional => Ok(()),
                other => other.map(drop),
            }
        };
        asked(&what(&K::kind(&()), key), gone).await
    }
}

/// An object in words.
pub(super) fn what(kind: &str, key: &Key) -> String {
    format!("{kind} {} in namespace {}", key.function, key.namespace)
}
