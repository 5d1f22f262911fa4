//! The objects of some functions, compared to files.
//!
//! `FLINT_RENEW_SNAPSHOTS=1 cargo test -p flint-provider --features kubernetes snapshot` writes the
//! files anew. What they have become is to be read before it is committed: each change makes every
//! function of that kind roll at its next deploy.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::PullPolicy;

/// Set to write the files instead of comparing to them.
const RENEW: &str = "FLINT_RENEW_SNAPSHOTS";

#[derive(Default)]
struct Case {
    settings: Settings,
    pull: Vec<String>,
    mounted: Vec<String>,
    profiles: Vec<ProfileSpec>,
    owner: Option<OwnerReference>,
}

impl Case {
    fn objects(&self, function: &str) -> Result<Objects> {
        let function = Function::from_json(function.as_bytes())?;
        let name = function.name()?;
        let deploy = Deploy { name, function, generation: 1_767_225_600_000 };
        let place = Place {
            namespace: "fns",
            settings: &self.settings,
            pull_secrets: &self.pull,
            mounted_secrets: &self.mounted,
            profiles: &self.profiles,
            owner: self.owner.clone(),
        };
        objects(&deploy, &place)
    }

    fn check(&self, name: &str, function: &str) {
        let text = self.objects(function).unwrap().yaml().unwrap();
        let again = self.objects(function).unwrap().yaml().unwrap();
        assert_eq!(text, again, "always the same");
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("src/kubernetes/render/snapshots")
            .join(format!("{name}.yaml"));
        if std::env::var_os(RENEW).is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, kept, "{name}.yaml is not what is rendered; {RENEW}=1 writes it anew");
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn snapshot_of_the_least() {
    Case::default().check("least", r#"{"service":"echo","image":"flint/echo:1"}"#);
}

#[test]
fn snapshot_of_everything() {
    let owner = OwnerReference {
        api_version: "flint.dev/v1".to_owned(),
        kind: "Function".to_owned(),
        name: "resize".to_owned(),
        uid: "7a0e4d1c-0000-0000-0000-000000000000".to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    let case = Case {
        pull: names(&["registry"]),
        mounted: names(&["api-key", "tls"]),
        owner: Some(owner),
        ..Case::default()
    };
    case.check(
        "everything",
        r#"{"service":"resize","namespace":"media",
            "image":"ghcr.io/acme/resize@sha256:0f34d2bdfbb8f1d3f4ba22e4c33dc9e0ebb4b9a8bbd7a2c3f6f1a1c9d7c0b1a2",
            "envProcess":"python3 index.py","envVars":{"LEVEL":"debug","PRICE":"$$5 $(LEVEL)"},
            "constraints":["disk=ssd","node.platform.arch == x86_64","zone != a"],
            "secrets":["api-key","registry","tls"],
            "labels":{"com.openfaas.scale.min":"2","team":"media","bad key":"x",
                      "flint.dev/scale.schedule":"* 8-19 * * Mon-Fri = 5"},
            "annotations":{"flint.dev/timeout":"2m30s","topic":"images",
                           "com.openfaas.serviceaccount":"resizer",
                           "com.openfaas.ready.http.path":"/_/ready",
                           "com.openfaas.health.http.initialDelaySeconds":"5",
                           "flint.dev/image-pull-policy":"Always"},
            "limits":{"memory":"512m","cpu":"1.5","nvidia.com/gpu":"1"},
            "requests":{"memory":"64Mi","cpu":"100m"},
            "readOnlyRootFilesystem":true}"#,
    );
}

#[test]
fn snapshot_of_the_restricted_level_with_network_policies() {
    let settings = Settings {
        set_nonroot_user: true,
        http_probe: true,
        network_policies: true,
        image_pull_policy: PullPolicy::Never,
        default_timeout: Duration::from_millis(1500),
        ..Settings::default()
    };
    let case = Case { settings, ..Case::default() };
    case.check("restricted", r#"{"service":"echo","image":"flint/echo:1"}"#);
}

#[test]
fn snapshot_of_a_function_without_a_network() {
    let body = r#"{"service":"echo","image":"i","annotations":{"flint.dev/network":"none"}}"#;
    Case::default().check("no-network", body);
}

#[test]
fn snapshot_of_profiles() {
    let profile = |yaml: &str| serde_yaml::from_str::<ProfileSpec>(yaml).unwrap();
    let profiles = vec![
        profile(
            "tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}]\n\
             runtimeClassName: nvidia\n\
             podSecurityContext: {runAsUser: 1000, fsGroup: 2000}\n\
             topologySpreadConstraints:\n\
             - {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}",
        ),
        profile(
            "priorityClassName: high\ndnsPolicy: None\ndnsConfig: {nameservers: [192.0.2.1]}\n\
             resources: {limits: {memory: 1Gi}}\nstrategy: {type: Recreate}\n\
             affinity:\n  podAntiAffinity:\n    \
             preferredDuringSchedulingIgnoredDuringExecution:\n    - weight: 1\n      \
             podAffinityTerm: {topologyKey: kubernetes.io/hostname}",
        ),
    ];
    let case = Case { profiles, ..Case::default() };
    case.check("profiles", r#"{"service":"train","image":"i","limits":{"cpu":"2"}}"#);
}

#[test]
fn annotations_of_a_user_do_not_replace_ours() {
    let body = r#"{"service":"echo","image":"i","labels":{"faas_function":"other"},
        "annotations":{"flint.dev/generation":"1","flint.dev/function":"{}",
                       "deployment.kubernetes.io/revision":"9","prometheus.io.scrape":"true"}}"#;
    let deployment = Case::default().objects(body).unwrap().deployment;
    let annotations = deployment.metadata.annotations.unwrap();
    assert_eq!(annotations[GENERATION], "1767225600000");
    assert!(annotations[FUNCTION].contains("echo"));
    assert!(!annotations.contains_key("deployment.kubernetes.io/revision"));
    assert_eq!(annotations[SCRAPE.0], "true");
    let labels = deployment.spec.unwrap().template.metadata.unwrap().labels.unwrap();
    assert_eq!(labels["faas_function"], "echo");
}

#[test]
fn what_does_not_fit_into_annotations_is_refused_beforehand() {
    let value = "x".repeat(300 * 1024);
    let body = format!(r#"{{"service":"echo","image":"i","envVars":{{"big":"{value}"}}}}"#);
    let error = Case::default().objects(&body).unwrap_err().to_string();
    assert!(error.starts_with("body: ") && error.contains("secret"), "{error}");
}

#[test]
fn long_names_give_volumes_that_kubernetes_takes() {
    let service = "f".repeat(63);
    let case = Case { mounted: names(&["key"]), ..Case::default() };
    let body = format!(r#"{{"service":"{service}","image":"i","secrets":["key"]}}"#);
    let pod = case.objects(&body).unwrap().deployment.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.volumes.unwrap()[0].name, "projected-secrets");
}

#[test]
fn a_service_account_has_a_name_that_can_be() {
    let body =
        r#"{"service":"echo","image":"i","annotations":{"com.openfaas.serviceaccount":"A B"}}"#;
    let error = Case::default().objects(body).unwrap_err().to_string();
    assert!(error.starts_with("com.openfaas.serviceaccount: "), "{error}");
}
