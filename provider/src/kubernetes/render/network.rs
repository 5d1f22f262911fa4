//! Whom a function's pods reach, and who reaches them.
//!
//! Policies only ever allow: what a function needs besides is another NetworkPolicy that selects
//! its pods. They work where the cluster's network enforces them.

use std::net::Ipv6Addr;

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::labels::{Map, selector};
use super::service::metadata;
use super::{Deploy, HTTP_PORT, Place, Settings};
use crate::Result;

/// The label that Kubernetes gives each namespace, since 1.21.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// Port of name servers.
const DNS: u16 = 53;

/// The policy of a function, if it needs one.
pub(super) fn policy(deploy: &Deploy, place: &Place<'_>) -> Result<Option<NetworkPolicy>> {
    let (settings, networked) = (place.settings, deploy.function.has_network()?);
    if networked && !settings.network_policies {
        return Ok(None);
    }
    let fenced = settings.network_policies;
    let types = fenced.then_some("Ingress").into_iter().chain(["Egress"]);
    let spec = NetworkPolicySpec {
        pod_selector: Some(labelled(selector(deploy))),
        policy_types: Some(types.map(str::to_owned).collect()),
        ingress: fenced.then(|| vec![from_gateway(settings)]),
        egress: networked.then(|| vec![to_dns(), to_gateway(settings), to_outside(settings)]),
    };
    let metadata = metadata(deploy, place, Map::new());
    Ok(Some(NetworkPolicy { metadata, spec: Some(spec) }))
}

fn from_gateway(settings: &Settings) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from: Some(vec![gateway(settings)]),
        ports: Some(vec![port("TCP", HTTP_PORT)]),
    }
}

fn to_gateway(settings: &Settings) -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule {
        to: Some(vec![gateway(settings)]),
        ports: Some(vec![port("TCP", settings.gateway_port.into())]),
    }
}

/// Name servers are pods, nodes or others: any that listens at their port.
fn to_dns() -> NetworkPolicyEgressRule {
    let ports = ["UDP", "TCP"].map(|protocol| port(protocol, DNS.into()));
    NetworkPolicyEgressRule { to: None, ports: Some(ports.to_vec()) }
}

/// Everything but the networks inside.
fn to_outside(settings: &Settings) -> NetworkPolicyEgressRule {
    let (six, four): (Vec<_>, Vec<_>) =
        settings.internal_networks.iter().cloned().partition(|network| is_v6(network));
    let block = |all: &str, except: Vec<String>| NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: all.to_owned(),
            except: (!except.is_empty()).then_some(except),
        }),
        ..NetworkPolicyPeer::default()
    };
    NetworkPolicyEgressRule {
        to: Some(vec![block("0.0.0.0/0", four), block("::/0", six)]),
        ports: None,
    }
}

fn is_v6(network: &str) -> bool {
    network.split('/').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

fn gateway(settings: &Settings) -> NetworkPolicyPeer {
    let label = (NAMESPACE_NAME.to_owned(), settings.gateway_namespace.clone());
    NetworkPolicyPeer {
        namespace_selector: Some(labelled([label].into())),
        ..NetworkPolicyPeer::default()
    }
}

fn labelled(labels: Map) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

fn port(protocol: &str, number: i32) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(number)),
        end_port: None,
    }
}
