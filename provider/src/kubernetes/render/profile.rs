//! What a profile adds to the pods of the functions that name it (contract 8.6).

use k8s_openapi::DeepMerge;
use k8s_openapi::api::apps::v1::DeploymentStrategy;
use k8s_openapi::api::core::v1::{
    Affinity, PodDNSConfig, PodSecurityContext, ResourceRequirements, Toleration,
    TopologySpreadConstraint,
};
use serde::{Deserialize, Serialize};

/// The spec of a profile. Each key is that of a pod, or of a Deployment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in super::super) struct ProfileSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tolerations: Option<Vec<Toleration>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) affinity: Option<Affinity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) topology_spread_constraints: Option<Vec<TopologySpreadConstraint>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) runtime_class_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pod_security_context: Option<PodSecurityContext>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dns_policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dns_config: Option<PodDNSConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) priority_class_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resources: Option<ResourceRequirements>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) strategy: Option<DeploymentStrategy>,
}

impl ProfileSpec {
    /// All profiles of a function as one.
    ///
    /// Where two say the same, the later one wins. Tolerations and spread constraints add up, and
    /// what a security context or resources leave open is taken from those before.
    pub(super) fn merged(profiles: &[Self]) -> Self {
        profiles.iter().cloned().fold(Self::default(), Self::and)
    }

    /// One that says something of everything, so that its keys are all that there are.
    pub(in super::super) fn every_key() -> Self {
        Self {
            tolerations: Some(Vec::new()),
            affinity: Some(Affinity::default()),
            topology_spread_constraints: Some(Vec::new()),
            runtime_class_name: Some(String::new()),
            pod_security_context: Some(PodSecurityContext::default()),
            dns_policy: Some(String::new()),
            dns_config: Some(PodDNSConfig::default()),
            priority_class_name: Some(String::new()),
            resources: Some(ResourceRequirements::default()),
            strategy: Some(DeploymentStrategy::default()),
        }
    }

    fn and(self, later: Self) -> Self {
        Self {
            tolerations: joined(self.tolerations, later.tolerations),
            affinity: later.affinity.or(self.affinity),
            topology_spread_constraints: joined(
                self.topology_spread_constraints,
                later.topology_spread_constraints,
            ),
            runtime_class_name: later.runtime_class_name.or(self.runtime_class_name),
            pod_security_context: merged(self.pod_security_context, later.pod_security_context),
            dns_policy: later.dns_policy.or(self.dns_policy),
            dns_config: later.dns_config.or(self.dns_config),
            priority_class_name: later.priority_class_name.or(self.priority_class_name),
            resources: merged(self.resources, later.resources),
            strategy: later.strategy.or(self.strategy),
        }
    }
}

fn joined<T>(first: Option<Vec<T>>, then: Option<Vec<T>>) -> Option<Vec<T>> {
    match (first, then) {
        (Some(first), Some(then)) => Some(first.into_iter().chain(then).collect()),
        (first, then) => first.or(then),
    }
}

fn merged<T: DeepMerge>(mut first: Option<T>, then: Option<T>) -> Option<T> {
    first.merge_from(then);
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(yaml: &str) -> ProfileSpec {
        serde_yaml::from_str(yaml).unwrap()
    }

    #[test]
    fn the_later_profile_wins_and_lists_add_up() {
        let first = profile(
            "tolerations: [{key: a}]\nruntimeClassName: kata\npriorityClassName: low\n\
             podSecurityContext: {runAsUser: 1, fsGroup: 2}",
        );
        let second = profile(
            "tolerations: [{key: b}]\npriorityClassName: high\npodSecurityContext: {runAsUser: 3}",
        );
        let both = ProfileSpec::merged(&[first, second]);
        let keys: Vec<_> = both.tolerations.unwrap().into_iter().map(|t| t.key.unwrap()).collect();
        assert_eq!(keys, ["a", "b"]);
        assert_eq!(both.runtime_class_name.unwrap(), "kata");
        assert_eq!(both.priority_class_name.unwrap(), "high");
        let context = both.pod_security_context.unwrap();
        assert_eq!((context.run_as_user, context.fs_group), (Some(3), Some(2)));
    }
}
