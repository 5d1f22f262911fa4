//! A function's Deployment and its Service.

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::labels::{Map, annotations, annotations_of_deployment, of_object, selector};
use super::{Deploy, HTTP_PORT, Place, ProfileSpec, pod};
use crate::Result;

/// How many old templates are kept, to go back to (contract 8.2).
const REVISIONS: i32 = 10;

/// The Deployment. How many replicas there are is not said: that is scaling's.
pub(super) fn deployment(
    deploy: &Deploy,
    place: &Place<'_>,
    profile: &ProfileSpec,
) -> Result<Deployment> {
    let selector = LabelSelector { match_labels: Some(selector(deploy)), match_expressions: None };
    let spec = DeploymentSpec {
        selector,
        template: pod::template(deploy, place, profile)?,
        strategy: Some(profile.strategy.clone().unwrap_or_else(rolling)),
        revision_history_limit: Some(REVISIONS),
        ..DeploymentSpec::default()
    };
    let annotations = annotations_of_deployment(deploy)?;
    Ok(Deployment {
        metadata: metadata(deploy, place, annotations),
        spec: Some(spec),
        status: None,
    })
}

/// The Service: a name and an address for whoever calls the function past the gateway.
pub(super) fn service(deploy: &Deploy, place: &Place<'_>) -> Service {
    let port = ServicePort {
        name: Some("http".to_owned()),
        protocol: Some("TCP".to_owned()),
        port: HTTP_PORT,
        target_port: Some(IntOrString::Int(HTTP_PORT)),
        ..ServicePort::default()
    };
    let spec = ServiceSpec {
        type_: Some("ClusterIP".to_owned()),
        selector: Some(selector(deploy)),
        ports: Some(vec![port]),
        ..ServiceSpec::default()
    };
    Service {
        metadata: metadata(deploy, place, annotations(deploy)),
        spec: Some(spec),
        status: None,
    }
}

/// What all objects of a function have.
pub(super) fn metadata(deploy: &Deploy, place: &Place<'_>, annotations: Map) -> ObjectMeta {
    ObjectMeta {
        name: Some(deploy.name.function().to_owned()),
        namespace: Some(place.namespace.to_owned()),
        labels: Some(of_object(deploy)),
        annotations: (!annotations.is_empty()).then_some(annotations),
        owner_references: place.owner.clone().map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

/// A new pod is ready before an old one goes.
fn rolling() -> DeploymentStrategy {
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_unavailable: Some(IntOrString::Int(0)),
            max_surge: Some(IntOrString::Int(1)),
        }),
    }
}
