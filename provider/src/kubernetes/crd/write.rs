//! What the API does to a function's object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::super::core::{Core, asked, written};
use super::super::error::is_not_found;
use super::super::read;
use super::super::render::{Deploy, GENERATION, MANAGED_BY, MANAGER};
use super::super::state::Key;
use super::{FINALIZER, Group, KIND, Look, is_going, is_held, is_not_served, look, owner, spec};
use crate::{Error, Function, Name, Result};

/// What an object asks for.
pub(in super::super) struct Wish {
    pub(in super::super) function: Function,
    /// The generation that the deploy which wrote it was promised.
    pub(in super::super) generation: Option<u64>,
    /// The object, as the owner of what is made.
    pub(in super::super) owner: Option<OwnerReference>,
}

impl Core {
    /// Whether a deploy has an object to write.
    ///
    /// # Errors
    /// When another one describes the function, which only its author may change, or the object is
    /// on its way out.
    pub(in super::super) async fn has_object(&self, key: &Key) -> Result<bool> {
        if !self.has_sound_objects().await? {
            return Ok(false);
        }
        let of = |group| look(&self.client, group, &key.namespace, &key.function);
        match of(Group::Flint).await? {
            Look::Found(found) if is_going(&found.metadata) => Err(Error::Conflict(format!(
                "{} is being removed; deploy it again when it is gone",
                Group::Flint.what(&key.function)
            ))),
            Look::Found(_) => Ok(true),
            other => match of(Group::OpenFaas).await? {
                Look::Found(_) => Err(described_by_theirs(key)),
                _ => Ok(matches!(other, Look::Absent)),
            },
        }
    }

    /// Writes the object of a deploy, which says what its generation will be: so whoever makes the
    /// cluster be as it says makes the same.
    pub(in super::super) async fn declare(
        &self,
        key: &Key,
        deploy: &Deploy,
    ) -> Result<Option<OwnerReference>> {
        let group = Group::Flint;
        let object = json!({
            "apiVersion": group.resource().api_version,
            "kind": KIND,
            "metadata": {
                "name": key.function,
                "namespace": key.namespace,
                "labels": { MANAGED_BY: MANAGER },
                "annotations": { GENERATION: deploy.generation.to_string() },
            },
            "spec": spec::of(&deploy.function),
        });
        let api = group.api(&self.client, Some(&key.namespace));
        let params = PatchParams::apply(MANAGER);
        let patch = Patch::Apply(&object);
        let what = group.what(&key.function);
        let applied = written(&what, || api.patch(&key.function, &params, &patch)).await?;
        Ok(owner(group, &applied.metadata))
    }

    /// What the object of a function asks for now; `None` when there is none, or it is on its way
    /// out.
    pub(in super::super) async fn wish(
        &self,
        group: Group,
        key: &Key,
        name: &Name,
    ) -> Result<Option<Wish>> {
        let Key { namespace, function } = key;
        let Look::Found(object) = look(&self.client, group, namespace, function).await? else {
            return Ok(None);
        };
        if is_going(&object.metadata) {
            return Ok(None);
        }
        if group == Group::OpenFaas
            && let Look::Found(_) = look(&self.client, Group::Flint, namespace, function).await?
        {
            return Err(Error::Conflict(format!(
                "{} describes this function too: delete one of the two",
                Group::Flint.what(function)
            )));
        }
        Ok(Some(Wish {
            function: spec::function(&object, name.namespace())?,
            generation: Some(read::generation(&object.metadata)).filter(|promised| *promised > 0),
            owner: owner(group, &object.metadata),
        }))
    }

    /// Deletes the object of a function. Returns whether there was one.
    ///
    /// # Errors
    /// When another one describes the function, which only its author may delete.
    pub(in super::super) async fn withdraw(&self, key: &Key) -> Result<bool> {
        if !self.has_sound_objects().await? {
            return Ok(false);
        }
        let Key { namespace, function } = key;
        let theirs = look(&self.client, Group::OpenFaas, namespace, function).await?;
        if matches!(&theirs, Look::Found(found) if !is_going(&found.metadata)) {
            return Err(described_by_theirs(key));
        }
        let api = Group::Flint.api(&self.client, Some(namespace));
        let params = DeleteParams::background();
        let gone = async {
            match api.delete(function, &params).await {
                Err(error) if is_not_found(&error) || is_not_served(&error) => Ok(false),
                other => other.map(|_| true),
            }
        };
        asked(&Group::Flint.what(function), gone).await
    }

    /// Lets go of an object that is on its way out: what it described is gone.
    pub(in super::super) async fn release(&self, key: &Key) -> Result<()> {
        let group = Group::Flint;
        let api = group.api(&self.client, Some(&key.namespace));
        let released = || async {
            let Some(found) = api.get_opt(&key.function).await? else { return Ok(()) };
            if !is_going(&found.metadata) || !is_held(&found.metadata) {
                return Ok(());
            }
            let mut left = found.metadata.finalizers.unwrap_or_default();
            left.retain(|finalizer| finalizer != FINALIZER);
            let version = found.metadata.resource_version;
            let patch = json!({"metadata": {"finalizers": left, "resourceVersion": version}});
            match api.patch(&key.function, &PatchParams::default(), &Patch::Merge(patch)).await {
                Err(error) if is_not_found(&error) => Ok(()),
                other => other.map(drop),
            }
        };
        written(&group.what(&key.function), released).await
    }
}

/// The reference product's objects are only read.
fn described_by_theirs(key: &Key) -> Error {
    Error::Conflict(format!(
        "{} describes this function: change it there, or delete that object, which removes the \
         function",
        Group::OpenFaas.what(&key.function)
    ))
}
