//! The objects of functions as text, for `kubectl apply` and for repositories of manifests. No IO.

use super::profiles::named;
use super::render::{Deploy, Place, Settings, objects};
use crate::{Error, Function, Result};

/// What a gateway with these settings would apply for a function: YAML, a document for each object.
///
/// What only a cluster knows is not in it: all secrets are mounted, since whether one lets an image be
/// pulled is said by its type, and profiles are an error.
pub fn manifests(function: Function, settings: &Settings) -> Result<String> {
    if let Some((annotation, name)) = named(&function)?.first() {
        let reason = format!(
            "what the profile {name:?} says stands in the cluster; deploy the function by the gateway, or as \
             an object of flint.dev/v1"
        );
        return Err(Error::invalid(*annotation, reason));
    }
    let namespace = function.namespace.clone();
    let secrets = function.secrets.clone();
    // Not deployed by a gateway: the next deploy by one is newer.
    let deploy = Deploy { name: function.name()?, function, generation: 0 };
    let place = Place {
        namespace: &namespace,
        settings,
        pull_secrets: &[],
        mounted_secrets: &secrets,
        profiles: &[],
        owner: None,
    };
    objects(&deploy, &place)?
        .yaml()
        .map_err(|error| Error::Backend { backend: "Kubernetes", reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(function: &str) -> Result<String> {
        let settings = Settings { network_policies: true, ..Settings::default() };
        manifests(Function::from_json(function.as_bytes()).unwrap(), &settings)
    }

    #[test]
    fn all_objects_are_written_into_the_functions_namespace() {
        let text = rendered(r#"{"service":"echo","image":"i","namespace":"dev"}"#).unwrap();
        let documents: Vec<_> = text.split("---\n").collect();
        for (document, kind) in documents.iter().zip(["Deployment", "Service", "NetworkPolicy"]) {
            assert!(document.contains(&format!("kind: {kind}\n")), "{document}");
            assert!(document.contains("\n  namespace: dev\n"), "{document}");
        }
        assert_eq!(documents.len(), 3);
    }

    #[test]
    fn every_secret_is_mounted() {
        let text = rendered(r#"{"service":"echo","image":"i","secrets":["a","b"]}"#).unwrap();
        assert!(text.contains("/var/openfaas/secrets") && !text.contains("imagePullSecrets"));
        assert!(text.contains("name: a\n") && text.contains("name: b\n"), "{text}");
    }

    #[test]
    fn what_only_the_cluster_knows_is_an_error() {
        let body = r#"{"service":"a","image":"i","annotations":{"com.openfaas.profile":"gpu"}}"#;
        let error = rendered(body).unwrap_err().to_string();
        assert!(
            error.starts_with("com.openfaas.profile: ") && error.contains("\"gpu\""),
            "{error}"
        );
    }
}
