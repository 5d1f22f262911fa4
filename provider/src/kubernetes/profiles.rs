//! Profiles: settings of pods that functions ask for by name (contract 8.6).
//!
//! A profile is a Profile of `flint.dev` or `openfaas.com`, or, where those are not installed, a
//! ConfigMap that holds the same as YAML. A change of one reaches a function at its next deploy.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use kube::{Api, Client};
use serde_json::Value;

use super::core::asked;
use super::render::ProfileSpec;
use crate::{Error, Function, Result};

/// Annotations that name profiles, each a list with commas.
const ANNOTATIONS: [&str; 2] = ["com.openfaas.profile", "flint.dev/profile"];
/// Groups that have profiles; the first one that has it counts.
const GROUPS: [&str; 2] = ["flint.dev", "openfaas.com"];
/// The key of a ConfigMap that is a profile.
const KEY: &str = "profile";
/// Most profiles of a function.
const MAX_PROFILES: usize = 16;

/// What looking for an object came to.
enum Look {
    Found(Value),
    Absent,
    /// The gateway may not look there.
    Forbidden,
}

/// The profiles that a function names, in its order. A missing one is an error that names the
/// annotation.
pub(super) async fn load(
    client: &Client,
    namespace: &str,
    function: &Function,
) -> Result<Vec<ProfileSpec>> {
    let mut all = Vec::new();
    for (annotation, name) in named(function)? {
        let invalid = |reason: String| Error::invalid(annotation, reason);
        let spec = find(client, namespace, &name).await?.map_err(invalid)?;
        all.push(parsed(spec).map_err(|e| invalid(format!("profile {name:?}: {e}")))?);
    }
    Ok(all)
}

/// The names, each once, and the annotation that has it.
pub(super) fn named(function: &Function) -> Result<Vec<(&'static str, String)>> {
    let mut all: Vec<(&'static str, String)> = Vec::new();
    for annotation in ANNOTATIONS {
        let text = function.annotations.get(annotation).map_or("", String::as_str);
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)) {
                return Err(Error::invalid(annotation, format!("{name:?} is no profile's name")));
            }
            if !all.iter().any(|(_, known)| known == name) {
                all.push((annotation, name.to_owned()));
            }
        }
    }
    if let Some((annotation, _)) = all.get(MAX_PROFILES) {
        let reason = format!("more than {MAX_PROFILES} profiles are named");
        return Err(Error::invalid(*annotation, reason));
    }
    Ok(all)
}

/// The spec of a profile, or why there is none.
async fn find(client: &Client, namespace: &str, name: &str) -> Result<Result<Value, String>> {
    let mut forbidden = Vec::new();
    for group in GROUPS {
        match object(client, group, namespace, name).await? {
            Look::Found(spec) => return Ok(Ok(spec)),
            Look::Absent => {}
            Look::Forbidden => forbidden.push(format!("profiles.{group}")),
        }
    }
    match config_map(client, namespace, name).await? {
        Look::Found(Value::String(yaml)) => return Ok(checked(&yaml)),
        Look::Found(_) => {
            return Ok(Err(format!(
                "the ConfigMap {name:?} in namespace {namespace} has no key {KEY:?}, so it is no \
                 profile"
            )));
        }
        Look::Absent => {}
        Look::Forbidden => forbidden.push("configmaps".to_owned()),
    }
    let rights = match forbidden.is_empty() {
        true => String::new(),
        false => format!("; the gateway may not read {}", forbidden.join(" and ")),
    };
    Ok(Err(format!(
        "there is no profile {name:?} in namespace {namespace}, neither a Profile nor a \
         ConfigMap{rights}"
    )))
}

async fn object(client: &Client, group: &str, namespace: &str, name: &str) -> Result<Look> {
    let resource = ApiResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        api_version: format!("{group}/v1"),
        kind: "Profile".to_owned(),
        plural: "profiles".to_owned(),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let spec = |found: DynamicObject| found.data.get("spec").cloned().unwrap_or_default();
    look(name, async { api.get(name).await.map(spec) }).await
}

async fn config_map(client: &Client, namespace: &str, name: &str) -> Result<Look> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let yaml = |found: ConfigMap| {
        let text = found.data.and_then(|mut data| data.remove(KEY));
        text.map_or(Value::Null, Value::String)
    };
    look(name, async { api.get(name).await.map(yaml) }).await
}

/// Without its CRD a kind is not found either.
async fn look(name: &str, get: impl Future<Output = kube::Result<Value>>) -> Result<Look> {
    let code = |error: &kube::Error| match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    };
    asked(&format!("profile {name}"), async {
        match get.await {
            Ok(found) => Ok(Look::Found(found)),
            Err(error) if code(&error) == 404 => Ok(Look::Absent),
            Err(error) if code(&error) == 403 => Ok(Look::Forbidden),
            Err(error) => Err(error),
        }
    })
    .await
}

/// The YAML of a ConfigMap, whose keys no API server has checked.
fn checked(yaml: &str) -> Result<Value, String> {
    let value: Value = serde_yaml::from_str(yaml).map_err(|error| error.to_string())?;
    let known = serde_json::to_value(ProfileSpec::every_key()).unwrap_or_default();
    let unknown = value.as_object().and_then(|all| all.keys().find(|key| known.get(key).is_none()));
    match unknown {
        Some(key) => Err(format!("{key:?} is no key of a profile")),
        None => Ok(value),
    }
}

fn parsed(spec: Value) -> Result<ProfileSpec, String> {
    if spec.is_null() {
        return Ok(ProfileSpec::default());
    }
    serde_path_to_error::deserialize(spec).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(annotations: &[(&str, &str)]) -> Function {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Function { annotations: annotations.iter().map(pair).collect(), ..Function::default() }
    }

    #[test]
    fn names_come_from_both_annotations_each_once() {
        let both = function(&[(ANNOTATIONS[0], "a, b,"), (ANNOTATIONS[1], "b,c")]);
        let names: Vec<_> = named(&both).unwrap().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert!(named(&function(&[])).unwrap().is_empty());
        for bad in [
            "../x",
            &["a"; 17]
                .iter()
                .enumerate()
                .map(|(i, a)| format!("{a}{i}"))
                .collect::<Vec<_>>()
                .join(","),
        ] {
            let error = named(&function(&[(ANNOTATIONS[1], bad)])).unwrap_err().to_string();
            assert!(error.starts_with("flint.dev/profile: "), "{error}");
        }
    }

    #[test]
    fn a_config_map_is_checked_as_the_api_server_checks_objects() {
        let spec = checked("runtimeClassName: kata\ntolerations: [{key: a}]").unwrap();
        assert_eq!(
            parsed(spec),
            parsed(serde_json::json!({"runtimeClassName": "kata", "tolerations": [{"key": "a"}]}))
        );
        assert!(checked("runtimeclass: kata").unwrap_err().contains("runtimeclass"));
        assert!(checked("a: [").is_err());
        let error = parsed(serde_json::json!({"tolerations": [{"tolerationSeconds": "soon"}]}));
        assert!(error.unwrap_err().contains("tolerations[0]"));
        assert_eq!(parsed(checked("").unwrap()).unwrap(), ProfileSpec::default());
    }
}
