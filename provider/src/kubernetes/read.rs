//! From a Deployment back to what was deployed. No IO.
//!
//! Ours hold the whole function. Those of the reference product are read from their spec, so that
//! they are served, listed and updated as if they had been deployed here (contract 8.2).

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::render::{FUNCTION, GENERATION, SCRAPE, SECRETS_SUFFIX, SERVICE_ACCOUNT, is_others};
use crate::{Function, Resources, label};

/// The label by which the reference product makes pods roll.
const ROLL_LABEL: &str = "uid";
/// The variable that the process of a function becomes.
const PROCESS: &str = "fprocess";
/// Variables that every backend gives.
const GIVEN: [&str; 2] = ["OPENFAAS_NAME", "OPENFAAS_NAMESPACE"];
/// The account of pods that name none.
const DEFAULT_ACCOUNT: &str = "default";

/// What a Deployment tells of a function.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    /// What was deployed. Its namespace is what whoever deployed it called it, or empty.
    pub(super) function: Function,
    /// When; 0 if it was not deployed here.
    pub(super) generation: u64,
    /// When it was first deployed.
    pub(super) created_at: Timestamp,
    /// How many replicas are wanted.
    pub(super) desired: u32,
}

/// What a Deployment tells of a function; an error says why that is none.
pub(super) fn found(deployment: &Deployment) -> Result<Found, String> {
    let metadata = &deployment.metadata;
    let spec = deployment.spec.as_ref().ok_or("it has no spec")?;
    let function = match stored(metadata) {
        Some(function) => function,
        None => adopted(metadata, &spec.template)?,
    };
    let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
    Ok(Found {
        function,
        generation: generation(metadata),
        created_at: created.unwrap_or(Timestamp::UNIX_EPOCH),
        // As Kubernetes, which takes no number for one.
        desired: spec.replicas.map_or(1, |replicas| u32::try_from(replicas).unwrap_or(0)),
    })
}

/// The deploy that an object belongs to: a Deployment's, or a pod's. 0 if it was made elsewhere.
pub(super) fn generation(metadata: &ObjectMeta) -> u64 {
    let text = metadata.annotations.as_ref().and_then(|all| all.get(GENERATION));
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The function that we wrote there. One that somebody broke is read from the spec.
fn stored(metadata: &ObjectMeta) -> Option<Function> {
    let text = metadata.annotations.as_ref()?.get(FUNCTION)?;
    let function = Function::from_json(text.as_bytes()).ok()?;
    (Some(&function.service) == metadata.name.as_ref()).then_some(function)
}

/// The function that another program deployed.
fn adopted(metadata: &ObjectMeta, template: &PodTemplateSpec) -> Result<Function, String> {
    let service = metadata.name.clone().unwrap_or_default();
    let pod = template.spec.as_ref().ok_or("it has no pods")?;
    let container = pod.containers.iter().find(|container| container.name == service);
    let container = container.or(pod.containers.first()).ok_or("its pods have no container")?;
    let (env_process, env_vars) = environment(container);
    let resources = container.resources.as_ref();
    let security = container.security_context.as_ref();
    let function = Function {
        image: container.image.clone().unwrap_or_default(),
        env_process,
        env_vars,
        constraints: constraints(pod),
        secrets: secrets(pod),
        labels: labels(template),
        annotations: annotations(template, pod),
        limits: resources.and_then(|r| r.limits.as_ref()).and_then(amounts),
        requests: resources.and_then(|r| r.requests.as_ref()).and_then(amounts),
        read_only_root_filesystem: security
            .and_then(|security| security.read_only_root_filesystem)
            .unwrap_or(false),
        service,
        ..Function::default()
    };
    function.validate().map_err(|error| error.to_string())?;
    Ok(function)
}

/// The process and the other variables; those whose value stands elsewhere are left out.
fn environment(container: &Container) -> (String, BTreeMap<String, String>) {
    let plain = container.env.iter().flatten().filter(|variable| variable.value_from.is_none());
    let mut all: BTreeMap<_, _> = plain
        .filter(|variable| !GIVEN.contains(&variable.name.as_str()))
        .map(|v| (v.name.clone(), v.value.clone().unwrap_or_default().replace("$$", "$")))
        .collect();
    (all.remove(PROCESS).unwrap_or_default(), all)
}

fn constraints(pod: &PodSpec) -> Vec<String> {
    pod.node_selector.iter().flatten().map(|(key, value)| format!("{key}={value}")).collect()
}

/// Secrets that are files, and those that let the image be pulled.
fn secrets(pod: &PodSpec) -> Vec<String> {
    let ours = |volume: &&Volume| volume.name.ends_with(SECRETS_SUFFIX);
    let volumes = pod.volumes.iter().flatten().filter(ours);
    let sources = volumes.filter_map(|v| v.projected.as_ref()?.sources.as_ref()).flatten();
    let mounted = sources.filter_map(|source| Some(source.secret.as_ref()?.name.clone()));
    let pull = pod.image_pull_secrets.iter().flatten().map(|secret| secret.name.clone());
    let mut all: Vec<_> = mounted.chain(pull).filter(|name| !name.is_empty()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn labels(template: &PodTemplateSpec) -> BTreeMap<String, String> {
    let mut all = metadata_of(template).labels.clone().unwrap_or_default();
    for key in [label::FUNCTION, ROLL_LABEL] {
        all.remove(key);
    }
    all
}

fn annotations(template: &PodTemplateSpec, pod: &PodSpec) -> BTreeMap<String, String> {
    let mut all = metadata_of(template).annotations.clone().unwrap_or_default();
    all.retain(|key, value| {
        (key.as_str(), value.as_str()) != SCRAPE && key != GENERATION && !is_others(key)
    });
    let account = pod.service_account_name.clone().filter(|account| account != DEFAULT_ACCOUNT);
    if let Some(account) = account.filter(|account| !account.is_empty()) {
        all.entry(SERVICE_ACCOUNT.to_owned()).or_insert(account);
    }
    all
}

fn metadata_of(template: &PodTemplateSpec) -> ObjectMeta {
    template.metadata.clone().unwrap_or_default()
}

/// `None` when there is nothing that a function could have said.
fn amounts(all: &BTreeMap<String, Quantity>) -> Option<Resources> {
    let of = |key: &str| all.get(key).map(|amount| amount.0.clone());
    let resources = Resources {
        memory: of("memory"),
        cpu: of("cpu"),
        pids: None,
        nvidia_gpu: of("nvidia.com/gpu"),
        amd_gpu: of("amd.com/gpu"),
        intel_gpu: of("intel.com/gpu"),
    };
    (resources != Resources::default()).then_some(resources)
}

#[cfg(test)]
mod tests {
    use super::super::render::{Deploy, Place, Settings, objects};
    use super::*;

    /// As the reference product makes them.
    const ADOPTED: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata:
  name: figlet
  namespace: openfaas-fn
  creationTimestamp: "2026-01-02T03:04:05Z"
  labels: {faas_function: figlet}
  annotations: {prometheus.io.scrape: "false", topic: art}
spec:
  replicas: 3
  selector: {matchLabels: {faas_function: figlet}}
  template:
    metadata:
      labels: {faas_function: figlet, uid: "123456789", com.openfaas.scale.max: "9"}
      annotations:
        prometheus.io.scrape: "false"
        topic: art
        kubectl.kubernetes.io/restartedAt: "2026-02-02T03:04:05Z"
    spec:
      serviceAccountName: painter
      nodeSelector: {disk: ssd}
      imagePullSecrets: [{name: registry}]
      containers:
      - name: sidecar
        image: proxy:1
      - name: figlet
        image: ghcr.io/openfaas/figlet:latest
        env:
        - {name: fprocess, value: figlet}
        - {name: write_timeout, value: 60s}
        - {name: price, value: "$$5"}
        - {name: OPENFAAS_NAME, value: figlet}
        - {name: node, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        resources: {limits: {memory: 128Mi}, requests: {cpu: 100m}}
        securityContext: {readOnlyRootFilesystem: true}
        volumeMounts: [{name: figlet-projected-secrets, mountPath: /var/openfaas/secrets}]
      volumes:
      - name: temp
        emptyDir: {}
      - name: figlet-projected-secrets
        projected: {sources: [{secret: {name: key}}, {secret: {name: api}}]}
"#;

    fn adopted() -> Deployment {
        serde_yaml::from_str(ADOPTED).unwrap()
    }

    #[test]
    fn what_the_reference_product_deployed_is_read() {
        let found = found(&adopted()).unwrap();
        let want = r#"{"service":"figlet","image":"ghcr.io/openfaas/figlet:latest",
            "envProcess":"figlet","envVars":{"write_timeout":"60s","price":"$5"},
            "constraints":["disk=ssd"],"secrets":["api","key","registry"],
            "labels":{"com.openfaas.scale.max":"9"},
            "annotations":{"topic":"art","com.openfaas.serviceaccount":"painter"},
            "limits":{"memory":"128Mi"},"requests":{"cpu":"100m"},"readOnlyRootFilesystem":true}"#;
        let want = Function::from_json(want.as_bytes()).unwrap();
        assert_eq!(found.function, Function { namespace: String::new(), ..want });
        assert_eq!((found.generation, found.desired), (0, 3));
        assert_eq!(found.created_at.to_string(), "2026-01-02T03:04:05Z");
    }

    #[test]
    fn what_we_deployed_is_read_back_whole() {
        let body = r#"{"service":"echo","image":"i","namespace":"dev","secrets":["b","a"],
            "envVars":{"fprocess":"cat"},"labels":{"flint.dev/scale.schedule":"* * * * * = 2"}}"#;
        let function = Function::from_json(body.as_bytes()).unwrap();
        let deploy = Deploy { name: function.name().unwrap(), function, generation: 7 };
        let place = Place {
            namespace: "dev",
            settings: &Settings::default(),
            pull_secrets: &[],
            mounted_secrets: &[],
            profiles: &[],
            owner: None,
        };
        let mut deployment = objects(&deploy, &place).unwrap().deployment;
        assert_eq!(deployment.spec.as_ref().unwrap().replicas, None, "scaling says how many");
        let read = found(&deployment).unwrap();
        assert_eq!((read.function, read.generation, read.desired), (deploy.function, 7, 1));
        let pod = deployment.spec.as_mut().unwrap().template.metadata.take().unwrap();
        assert_eq!(generation(&pod), 7);
    }

    #[test]
    fn what_somebody_broke_is_read_from_the_spec() {
        let image = "ghcr.io/openfaas/figlet:latest";
        for broken in ["{", r#"{"service":"other","image":"i"}"#] {
            let mut deployment = adopted();
            let annotations = deployment.metadata.annotations.as_mut().unwrap();
            annotations.insert(FUNCTION.to_owned(), broken.to_owned());
            assert_eq!(found(&deployment).unwrap().function.image, image);
        }
    }

    #[test]
    fn what_is_no_function_says_why() {
        let mut deployment = adopted();
        let pod = deployment.spec.as_mut().unwrap().template.spec.as_mut().unwrap();
        pod.containers.clear();
        assert!(found(&deployment).unwrap_err().contains("no container"));
        assert!(found(&Deployment::default()).unwrap_err().contains("no spec"));
    }
}
