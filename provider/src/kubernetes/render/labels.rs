//! Labels and annotations of a function's objects.

use std::collections::BTreeMap;

use super::Deploy;
use crate::{Error, Result, label};

/// Who manages an object.
pub(in super::super) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Our name as a manager.
pub(in super::super) const MANAGER: &str = "flint";
/// The whole function as JSON, without credentials.
pub(in super::super) const FUNCTION: &str = "flint.dev/function";
/// The deploy that made it, in milliseconds since 1970; grows strictly.
pub(in super::super) const GENERATION: &str = "flint.dev/generation";
/// Whether Prometheus asks the pods: the gateway tells it all there is (contract 8.2).
pub(in super::super) const SCRAPE: (&str, &str) = ("prometheus.io.scrape", "false");

/// Labels of pods that belong to the controllers.
const CONTROLLERS_LABELS: [&str; 2] = ["pod-template-hash", "controller-revision-hash"];
/// Prefixes of annotations that belong to controllers and to kubectl.
const OTHERS_ANNOTATIONS: [&str; 2] = ["deployment.kubernetes.io/", "kubectl.kubernetes.io/"];
/// Most bytes of all annotations of an object that Kubernetes takes.
const MAX_ANNOTATIONS_BYTES: usize = 256 * 1024;

/// Longest prefix of a key, a DNS subdomain.
const MAX_PREFIX: usize = 253;
/// Longest name of a key, and longest value of a label.
const MAX_PART: usize = 63;

/// Text by key.
pub(super) type Map = BTreeMap<String, String>;

/// What selects a function's pods.
pub(super) fn selector(deploy: &Deploy) -> Map {
    [(label::FUNCTION.to_owned(), deploy.name.function().to_owned())].into()
}

/// Labels of a function's objects.
pub(super) fn of_object(deploy: &Deploy) -> Map {
    let mut labels = selector(deploy);
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

/// Labels of its pods: the function's own as far as Kubernetes takes them.
///
/// The others are kept with the function; they steer scaling, which reads them from there.
pub(super) fn of_pods(deploy: &Deploy) -> Map {
    let own = deploy.function.labels.iter().filter(|(key, value)| {
        is_key(key) && is_label_value(value) && !CONTROLLERS_LABELS.contains(&key.as_str())
    });
    own.map(|(key, value)| (key.clone(), value.clone())).chain(selector(deploy)).collect()
}

/// The function's own annotations as far as Kubernetes takes them.
pub(super) fn annotations(deploy: &Deploy) -> Map {
    let own = deploy.function.annotations.iter().filter(|(key, _)| {
        is_key(key) && !is_others(key) && ![FUNCTION, GENERATION].contains(&key.as_str())
    });
    let scrape = (SCRAPE.0.to_owned(), SCRAPE.1.to_owned());
    [scrape].into_iter().chain(own.map(|(key, value)| (key.clone(), value.clone()))).collect()
}

/// Annotations of pods, which tell what deploy they belong to.
pub(super) fn annotations_of_pods(deploy: &Deploy) -> Map {
    let mut all = annotations(deploy);
    all.insert(GENERATION.to_owned(), deploy.generation.to_string());
    all
}

/// Annotations of the Deployment, which hold the whole function.
pub(super) fn annotations_of_deployment(deploy: &Deploy) -> Result<Map> {
    let function = serde_json::to_string(&deploy.function)
        .map_err(|error| Error::invalid("body", error.to_string()))?;
    let mut all = annotations_of_pods(deploy);
    all.insert(FUNCTION.to_owned(), function);
    let bytes: usize = all.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > MAX_ANNOTATIONS_BYTES {
        let reason = format!(
            "the function with its annotations takes {bytes} bytes, and Kubernetes keeps \
             {MAX_ANNOTATIONS_BYTES}: move large values into a secret"
        );
        return Err(Error::invalid("body", reason));
    }
    Ok(all)
}

/// Whether an annotation belongs to a controller or to kubectl.
pub(in super::super) fn is_others(key: &str) -> bool {
    OTHERS_ANNOTATIONS.iter().any(|prefix| key.starts_with(prefix))
}

/// Whether Kubernetes takes a key: `name`, or `prefix/name` with a DNS subdomain.
fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_key_name(name),
        None => is_key_name(key),
    }
}

/// Whether Kubernetes takes a label's value.
fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_key_name(value)
}

/// Letters, digits, `-`, `_` and `.`, with a letter or digit at both ends.
fn is_key_name(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
    let edge = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    text.len() <= MAX_PART
        && bytes.iter().copied().all(inner)
        && edge(bytes.first())
        && edge(bytes.last())
}

/// Whether it is a DNS subdomain, as the names of most objects are.
pub(super) fn is_subdomain(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let label = |part: &str| {
        !part.is_empty()
            && part.bytes().all(inner)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    text.len() <= MAX_PREFIX && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_those_of_kubernetes() {
        for good in ["a", "com.openfaas.scale.min", "flint.dev/timeout", "A_b-c.d"] {
            assert!(is_key(good), "{good}");
        }
        for bad in
            ["", "a b", "-a", "a-", "/a", "a/", "A.dev/x", "a..b/x", "a/b/c", &"a".repeat(64)]
        {
            assert!(!is_key(bad), "{bad}");
        }
        for good in ["", "5", "true", "5m", "a_B.c"] {
            assert!(is_label_value(good), "{good}");
        }
        for bad in ["* 8-19 * * * = 5", "a/b", "-1", "ü"] {
            assert!(!is_label_value(bad), "{bad}");
        }
    }
}
