//! From a function to the objects of a cluster. No IO.
//!
//! The same function at the same place always gives the same objects, to the byte.

mod labels;
mod network;
mod placement;
mod pod;
mod probes;
mod profile;
mod resources;
mod security;
mod service;
mod settings;
#[cfg(test)]
mod snapshot_tests;
mod unsupported;
mod volumes;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

pub(super) use self::labels::{FUNCTION, GENERATION, MANAGED_BY, MANAGER, SCRAPE, is_others};
pub(super) use self::pod::SERVICE_ACCOUNT;
pub(super) use self::probes::readiness_path;
pub(super) use self::profile::ProfileSpec;
pub use self::settings::{ProbeTimes, Settings};
pub(super) use self::unsupported::warnings;
pub(super) use self::volumes::SECRETS_SUFFIX;
use crate::{Function, Name, Result};

/// Where a function listens (contract 8.2).
pub(super) const HTTP_PORT: i32 = 8080;

/// One deploy of a function.
#[derive(Clone, Debug)]
pub(super) struct Deploy {
    /// Its name.
    pub(super) name: Name,
    /// What is wanted.
    pub(super) function: Function,
    /// When, in milliseconds since 1970; grows strictly from deploy to deploy.
    pub(super) generation: u64,
}

/// What a deploy's objects depend on besides the function.
pub(super) struct Place<'a> {
    /// The cluster's namespace.
    pub(super) namespace: &'a str,
    /// What the gateway says of all its functions.
    pub(super) settings: &'a Settings,
    /// The function's secrets that let its image be pulled.
    pub(super) pull_secrets: &'a [String],
    /// Those that it reads.
    pub(super) mounted_secrets: &'a [String],
    /// The profiles that it names, in its order.
    pub(super) profiles: &'a [ProfileSpec],
    /// The object that all of these go with.
    pub(super) owner: Option<OwnerReference>,
}

/// A function's objects, all of its name.
///
/// They say everything that we want. An object that another program made is to be replaced by
/// them and not only merged with them, or what that program said besides would stay: variables
/// that were dropped, for one.
#[derive(Debug)]
pub(super) struct Objects {
    /// Its pods. It does not say how many.
    pub(super) deployment: Deployment,
    /// Its address in the cluster.
    pub(super) service: Service,
    /// What bounds its network; where there is none, one of this name must go.
    pub(super) network_policy: Option<NetworkPolicy>,
}

impl Objects {
    /// Them as YAML, a document each.
    pub(super) fn yaml(&self) -> serde_yaml::Result<String> {
        let mut documents =
            vec![serde_yaml::to_string(&self.deployment)?, serde_yaml::to_string(&self.service)?];
        if let Some(policy) = &self.network_policy {
            documents.push(serde_yaml::to_string(policy)?);
        }
        Ok(documents.join("---\n"))
    }
}

/// The objects of a deploy. An error names the field or the annotation.
pub(super) fn objects(deploy: &Deploy, place: &Place<'_>) -> Result<Objects> {
    unsupported::check(&deploy.function)?;
    let profile = ProfileSpec::merged(place.profiles);
    Ok(Objects {
        deployment: service::deployment(deploy, place, &profile)?,
        service: service::service(deploy, place),
        network_policy: network::policy(deploy, place)?,
    })
}
