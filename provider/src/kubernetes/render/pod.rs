//! A function's pods.

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, LocalObjectReference, PodSpec, PodTemplateSpec,
    TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::labels::{annotations_of_pods, is_subdomain, of_pods, selector};
use super::placement::Nodes;
use super::probes::probes;
use super::resources::resources;
use super::volumes::volumes;
use super::{Deploy, HTTP_PORT, Place, ProfileSpec, security};
use crate::{Error, Function, Result};

/// The service account of the pods (contract 8.2).
pub(in super::super) const SERVICE_ACCOUNT: &str = "com.openfaas.serviceaccount";

/// The template of its pods.
pub(super) fn template(
    deploy: &Deploy,
    place: &Place<'_>,
    profile: &ProfileSpec,
) -> Result<PodTemplateSpec> {
    let metadata = ObjectMeta {
        labels: Some(of_pods(deploy)),
        annotations: Some(annotations_of_pods(deploy)),
        ..ObjectMeta::default()
    };
    Ok(PodTemplateSpec { metadata: Some(metadata), spec: Some(spec(deploy, place, profile)?) })
}

fn spec(deploy: &Deploy, place: &Place<'_>, profile: &ProfileSpec) -> Result<PodSpec> {
    let function = &deploy.function;
    let nodes = Nodes::of(function)?;
    let account = service_account(function)?;
    let security = security::of_pod(profile.pod_security_context.as_ref());
    let mut container = container(deploy, place, profile)?;
    container.security_context = Some(security::of_container(function, place.settings, &security));
    let (volumes, mounts): (Vec<_>, Vec<_>) = volumes(deploy, place).into_iter().unzip();
    container.volume_mounts = some(mounts);
    Ok(PodSpec {
        containers: vec![container],
        volumes: some(volumes),
        image_pull_secrets: some(place.pull_secrets.iter().map(|name| reference(name)).collect()),
        // A token is of use to those only who ask for an account.
        automount_service_account_token: account.is_none().then_some(false),
        service_account_name: account,
        enable_service_links: Some(false),
        security_context: Some(security),
        termination_grace_period_seconds: Some(grace_seconds(function, place)),
        restart_policy: Some("Always".to_owned()),
        affinity: nodes.affinity(profile.affinity.clone()),
        node_selector: nodes.selector,
        tolerations: profile.tolerations.clone(),
        topology_spread_constraints: spread(deploy, profile),
        runtime_class_name: profile.runtime_class_name.clone(),
        priority_class_name: profile.priority_class_name.clone(),
        dns_policy: Some(profile.dns_policy.clone().unwrap_or_else(|| "ClusterFirst".to_owned())),
        dns_config: profile.dns_config.clone(),
        ..PodSpec::default()
    })
}

fn container(deploy: &Deploy, place: &Place<'_>, profile: &ProfileSpec) -> Result<Container> {
    let (function, settings) = (&deploy.function, place.settings);
    let probes = probes(function, settings)?;
    let policy = function.pull_policy()?.unwrap_or(settings.image_pull_policy);
    let port = ContainerPort {
        name: Some("http".to_owned()),
        container_port: HTTP_PORT,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    Ok(Container {
        name: deploy.name.function().to_owned(),
        image: Some(function.image.clone()),
        image_pull_policy: Some(policy.word().to_owned()),
        ports: Some(vec![port]),
        env: Some(environment(function)),
        resources: resources(function, profile.resources.as_ref())?,
        startup_probe: Some(probes.startup),
        readiness_probe: Some(probes.readiness),
        liveness_probe: Some(probes.liveness),
        // The last lines of one that fails come with its end, and cost no look at its log.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    })
}

/// How long a pod that is told to end takes calls of whoever has not heard of it yet, by way of its
/// Service for one. The watchdog's own default is the time of a whole call: a pod that has nothing
/// to do would stay for that long.
const INTERVAL: (&str, &str) = ("healthcheck_interval", "5s");

/// Sorted, so that the same function always gives the same pod.
fn environment(function: &Function) -> Vec<EnvVar> {
    let variable = |(name, value)| EnvVar { name, value: Some(literal(value)), value_from: None };
    let mut all = function.environment();
    all.entry(INTERVAL.0.to_owned()).or_insert_with(|| INTERVAL.1.to_owned());
    all.into_iter().map(variable).collect()
}

/// A value as it has to be written: Kubernetes replaces `$(NAME)`, and `$$` by one dollar.
fn literal(value: String) -> String {
    if value.contains("$$") || value.contains("$(") { value.replace('$', "$$") } else { value }
}

/// The account that the function names. An error names the annotation.
fn service_account(function: &Function) -> Result<Option<String>> {
    let name = function.annotations.get(SERVICE_ACCOUNT).map(|name| name.trim());
    match name.filter(|name| !name.is_empty()) {
        Some(name) if !is_subdomain(name) => {
            let reason = format!("{name:?} is not the name of a service account");
            Err(Error::invalid(SERVICE_ACCOUNT, reason))
        }
        name => Ok(name.map(str::to_owned)),
    }
}

/// As long as a call may take and a little for the end itself, in whole seconds.
fn grace_seconds(function: &Function, place: &Place<'_>) -> i64 {
    let grace = function.stop_grace(place.settings.default_timeout);
    i64::try_from(grace.as_secs()).unwrap_or(i64::MAX) + i64::from(grace.subsec_nanos() > 0)
}

/// A profile is for many functions: where it does not say whose pods are to be spread, these are.
fn spread(deploy: &Deploy, profile: &ProfileSpec) -> Option<Vec<TopologySpreadConstraint>> {
    let pods = || LabelSelector { match_labels: Some(selector(deploy)), match_expressions: None };
    let complete = |constraint: TopologySpreadConstraint| TopologySpreadConstraint {
        label_selector: constraint.label_selector.or_else(|| Some(pods())),
        ..constraint
    };
    let all = profile.topology_spread_constraints.clone()?;
    Some(all.into_iter().map(complete).collect())
}

fn reference(name: &str) -> LocalObjectReference {
    LocalObjectReference { name: name.to_owned() }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
