//! Wishes that a cluster cannot meet as one machine does.
//!
//! What a function relies on to be safe, or cannot start without, is refused. What only makes it
//! slower or costlier is a warning: the same function should go to every backend.

use crate::bundle::Reference;
use crate::function::label;
use crate::{Error, Function, Result, annotation};

/// Refuses what cannot be. An error names the field.
pub(super) fn check(function: &Function) -> Result<()> {
    if function.needs_sandbox()? {
        let reason = "a cluster's container runtime isolates functions, and this gateway cannot \
                      tell how well: leave the annotation out, and name a profile with the \
                      runtimeClassName of a sandbox";
        return Err(Error::invalid(annotation::SANDBOX, reason));
    }
    if Reference::from_image(&function.image)?.is_some() {
        let reason = "this gateway runs images, not bundles: build one with `faas build` and push \
                      it to a registry that the cluster reaches";
        return Err(Error::invalid("image", reason));
    }
    if function.service.starts_with(|c: char| c.is_ascii_digit()) {
        let reason = "must start with a letter: a Kubernetes Service gets this name";
        return Err(Error::invalid("service", reason));
    }
    Ok(())
}

/// What is not as the function asks for, though it works.
pub(in super::super) fn warnings(function: &Function) -> Vec<String> {
    let mut all = Vec::new();
    for (field, resources) in [("limits", &function.limits), ("requests", &function.requests)] {
        if resources.as_ref().is_some_and(|r| r.pids.as_ref().is_some_and(|p| !p.is_empty())) {
            all.push(format!(
                "{field}.pids is not enforced: on Kubernetes the kubelet's podPidsLimit counts"
            ));
        }
    }
    let scale = function.scale().unwrap_or_default();
    if scale.prepared > 0 {
        let key = label::SCALE_PREPARED;
        all.push(format!("{key} has no effect: Kubernetes prepares no replicas"));
    }
    let key = label::SCALE_FREEZE_AFTER;
    if function.labels.contains_key(key) && scale.freeze_after.is_some() {
        all.push(format!("{key} has no effect: Kubernetes freezes no replicas"));
    }
    if function.has_network().is_ok_and(|networked| !networked) {
        all.push(format!(
            "{}=none is a NetworkPolicy: it holds if the cluster's network enforces those",
            annotation::NETWORK
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(body: &str) -> Function {
        Function::from_json(body.as_bytes()).unwrap()
    }

    #[test]
    fn what_a_function_relies_on_is_refused() {
        let digest = "0".repeat(64);
        let bundle = format!(r#"{{"service":"f","image":"bundle:f@sha256:{digest}"}}"#);
        for (body, field) in [
            (
                r#"{"service":"f","image":"i","annotations":{"flint.dev/sandbox":"required"}}"#,
                "flint.dev/sandbox: ",
            ),
            (bundle.as_str(), "image: "),
            (r#"{"service":"1f","image":"i"}"#, "service: "),
        ] {
            let error = check(&function(body)).unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
        assert!(check(&function(r#"{"service":"f1","image":"i"}"#)).is_ok());
    }

    #[test]
    fn what_is_only_less_is_told() {
        let plain =
            function(r#"{"service":"f","image":"i","labels":{"com.openfaas.scale.zero":"true"}}"#);
        assert!(warnings(&plain).is_empty());
        let wishes = function(
            r#"{"service":"f","image":"i","limits":{"pids":"9"},
                "annotations":{"flint.dev/network":"none"},
                "labels":{"flint.dev/scale.prepared":"1","flint.dev/scale.freeze-after":"5s"}}"#,
        );
        let told = warnings(&wishes).join("\n");
        for key in ["limits.pids", "scale.prepared", "scale.freeze-after", "flint.dev/network"] {
            assert!(told.contains(key), "{key}: {told}");
        }
    }
}
