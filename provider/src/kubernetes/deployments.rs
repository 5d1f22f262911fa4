//! A Deployment as it is seen.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition};

use super::read;
use super::render::{MANAGED_BY, MANAGER};
use super::state::{Key, Wanted};
use crate::function::label;

/// What is wanted of the function that a Deployment is of; `None` when it is of none.
pub(super) fn wanted(deployment: &Deployment) -> Option<(Key, Wanted)> {
    let meta = &deployment.metadata;
    let (labels, name) = (meta.labels.as_ref()?, meta.name.as_ref()?);
    let key =
        Key { namespace: meta.namespace.clone()?, function: labels.get(label::FUNCTION)?.clone() };
    if key.function != *name {
        tracing::debug!(deployment = %name, function = %key.function, "not the Deployment of a function");
        return None;
    }
    let found = match read::found(deployment) {
        Ok(found) => found,
        Err(reason) => {
            tracing::warn!(deployment = %name, namespace = %key.namespace, %reason, "cannot be read");
            return None;
        }
    };
    let wanted = Wanted {
        uid: meta.uid.clone().unwrap_or_default(),
        version: version(meta.resource_version.as_deref()),
        found,
        is_ours: labels.get(MANAGED_BY).is_some_and(|manager| manager == MANAGER),
        is_going: meta.deletion_timestamp.is_some(),
        available: available(deployment),
        failure: failure(deployment),
        is_fresh: false,
    };
    Some((key, wanted))
}

/// Versions are numbers that grow; where they should not be, the last one that comes counts.
fn version(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(u64::MAX)
}

fn available(deployment: &Deployment) -> u32 {
    let available = deployment.status.as_ref().and_then(|status| status.available_replicas);
    available.unwrap_or(0).max(0).unsigned_abs()
}

/// Why its pods cannot be made, such as an exceeded quota.
fn failure(deployment: &Deployment) -> String {
    let status = deployment.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let failed = |c: &&DeploymentCondition| c.type_ == "ReplicaFailure" && c.status == "True";
    let failed = conditions.and_then(|all| all.iter().find(failed));
    failed.and_then(|condition| condition.message.clone()).unwrap_or_default()
}
