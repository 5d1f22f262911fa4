//! What the API server says, in our words.

use kube::core::Status;

use crate::Error;

/// What this backend is called in errors.
pub(super) const BACKEND: &str = "Kubernetes";
/// The reason of a cause that names another manager of a field.
const CONFLICT: &str = "FieldManagerConflict";
/// How many fields of a conflict are named.
const MOST_FIELDS: usize = 8;

/// The error for whoever asked. `what` is the object that it was about.
pub(super) fn error(what: &str, error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) => refusal(what, &status),
        other => away(innermost(&other)),
    }
}

/// The API server does not answer.
pub(super) fn away(reason: impl Into<String>) -> Error {
    Error::Unavailable { backend: BACKEND, reason: reason.into() }
}

/// It refused for a reason of its own.
pub(super) fn refused(reason: impl Into<String>) -> Error {
    Error::Backend { backend: BACKEND, reason: reason.into() }
}

/// Whether an error says that there is no such object.
pub(super) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether an error says that this process lacks a right.
pub(super) fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

/// Whether the same write may well succeed when it is sent again.
pub(super) fn is_passing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && managers(status).is_empty()
        && !status.is_already_exists())
}

fn refusal(what: &str, status: &Status) -> Error {
    let message = status.message.as_str();
    match status.code {
        403 if message.contains("exceeded quota") => Error::Conflict(format!(
            "{what}: {message}; let the namespace's ResourceQuota allow more, or remove something"
        )),
        // A namespace that is going takes nothing in.
        403 if message.contains("because it is being terminated") => {
            Error::invalid("namespace", message)
        }
        403 if message.contains("is forbidden: User") => refused(format!(
            "{message}; the gateway's service account lacks this right: give it a Role (or, for \
             all namespaces, a ClusterRole) that has it"
        )),
        404 if is_about(status, "namespaces") => {
            Error::invalid("namespace", format!("{message}; create it first"))
        }
        404 => Error::NotFound(what.to_owned()),
        409 if status.is_already_exists() => Error::Exists(what.to_owned()),
        409 => conflict(what, status),
        // The server is there and cannot serve now.
        429 | 500.. => away(message),
        400 | 422 => invalid(status),
        _ => refused(format!("{what}: {message}")),
    }
}

fn is_about(status: &Status, kind: &str) -> bool {
    status.details.as_ref().is_some_and(|details| details.kind == kind)
}

/// What parts of a pod are called in a request.
const REQUESTED: [(&str, &str); 2] = [(".env[", "envVars"), (".nodeSelector", "constraints")];

/// Names the field as the request calls it, or else as Kubernetes does.
fn invalid(status: &Status) -> Error {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut named = causes.filter(|cause| !cause.field.is_empty());
    match named.next() {
        Some(cause) => {
            let mut requested = REQUESTED.iter().filter(|(part, _)| cause.field.contains(part));
            let field = requested.next().map_or(cause.field.as_str(), |(_, field)| field);
            Error::invalid(field, cause.message.as_str())
        }
        None => Error::invalid("body", format!("Kubernetes does not take it: {}", status.message)),
    }
}

/// Who else manages which fields.
fn managers(status: &Status) -> Vec<(&str, &str)> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let conflicts = causes.filter(|cause| cause.reason == CONFLICT);
    conflicts.map(|cause| (manager(&cause.message), cause.field.as_str())).collect()
}

/// `conflict with "kubectl" using apps/v1` names `kubectl`.
fn manager(message: &str) -> &str {
    message.split('"').nth(1).unwrap_or(message)
}

fn conflict(what: &str, status: &Status) -> Error {
    let managers = managers(status);
    if managers.is_empty() {
        return Error::Conflict(format!("{what}: {}", status.message));
    }
    let named = managers.iter().take(MOST_FIELDS);
    let mut fields: Vec<_> = named.map(|(manager, field)| format!("{field} ({manager})")).collect();
    if managers.len() > MOST_FIELDS {
        fields.push(format!("and {} more", managers.len() - MOST_FIELDS));
    }
    Error::Conflict(format!(
        "{what} was changed by somebody else, who holds {}: undo that change there, or remove the \
         function and deploy it again",
        fields.join(", ")
    ))
}

/// What a chain of errors began with: `connection refused` says more than `service error`.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(status: Value) -> Error {
        let status: Status = serde_json::from_value(status).unwrap();
        error("Deployment echo", kube::Error::Api(status.boxed()))
    }

    #[test]
    fn a_conflict_names_the_other_manager_and_the_field() {
        let cause = json!({
            "reason": "FieldManagerConflict",
            "message": "conflict with \"kubectl-set\" using apps/v1",
            "field": ".spec.template.spec.containers[name=\"echo\"].image",
        });
        let status = json!({"code": 409, "reason": "Conflict", "message": "Apply failed",
            "details": {"causes": [cause]}});
        let error = told(status.clone());
        assert!(
            matches!(&error, Error::Conflict(text)
            if text.contains("kubectl-set") && text.contains("image")),
            "{error}"
        );
        let status: Status = serde_json::from_value(status).unwrap();
        assert!(!is_passing(&kube::Error::Api(status.boxed())), "sending it again changes nothing");
    }

    #[test]
    fn a_missing_right_is_named() {
        let message = "deployments.apps \"echo\" is forbidden: User \"system:serviceaccount:a:b\" \
                       cannot patch resource \"deployments\" in API group \"apps\" in the namespace \"c\"";
        let error = told(json!({"code": 403, "reason": "Forbidden", "message": message}));
        assert!(
            matches!(&error, Error::Backend { reason, .. }
            if reason.contains("cannot patch resource") && reason.contains("Role")),
            "{error}"
        );
    }

    #[test]
    fn a_quota_is_a_conflict_and_not_a_missing_right() {
        let message = "deployments.apps \"echo\" is forbidden: exceeded quota: small, requested: \
                       count/deployments.apps=1, used: count/deployments.apps=1, limited: 1";
        let error = told(json!({"code": 403, "reason": "Forbidden", "message": message}));
        assert!(matches!(&error, Error::Conflict(text) if text.contains("exceeded quota: small")));
    }

    #[test]
    fn an_invalid_field_is_named() {
        let cause = json!({"reason": "FieldValueInvalid", "message": "must be less than or equal to memory limit",
            "field": "spec.template.spec.containers[0].resources.requests"});
        let error =
            told(json!({"code": 422, "reason": "Invalid", "message": "Deployment is invalid",
            "details": {"causes": [cause]}}));
        assert!(matches!(&error, Error::Invalid { field, reason }
            if field.ends_with("resources.requests") && reason.contains("memory limit")));
        let variable = json!({"message": "a valid environment variable name must",
            "field": "spec.template.spec.containers[0].env[3].name"});
        let details = json!({"causes": [variable]});
        let error =
            told(json!({"code": 422, "reason": "Invalid", "message": "", "details": details}));
        assert!(matches!(error, Error::Invalid { field, .. } if field == "envVars"));
    }

    #[test]
    fn what_is_not_there_is_the_namespace_or_the_object() {
        let namespace = told(json!({"code": 404, "message": "namespaces \"x\" not found",
            "details": {"kind": "namespaces", "name": "x"}}));
        assert!(matches!(namespace, Error::Invalid { field, .. } if field == "namespace"));
        let object = told(json!({"code": 404, "message": "deployments.apps \"echo\" not found"}));
        assert!(matches!(object, Error::NotFound(what) if what == "Deployment echo"));
    }

    #[test]
    fn who_is_overloaded_is_away_for_now() {
        assert!(matches!(told(json!({"code": 503, "message": "x"})), Error::Unavailable { .. }));
        assert!(matches!(told(json!({"code": 429, "message": "x"})), Error::Unavailable { .. }));
    }

    #[test]
    fn a_write_that_met_another_one_is_sent_again() {
        let passing = |status: Value| {
            let status: Status = serde_json::from_value(status).unwrap();
            is_passing(&kube::Error::Api(status.boxed()))
        };
        assert!(passing(json!({"code": 409, "reason": "Conflict", "message": "modified"})));
        assert!(!passing(json!({"code": 409, "reason": "AlreadyExists", "message": "there"})));
    }
}
