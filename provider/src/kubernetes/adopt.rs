//! Taking over an object that another program made.
//!
//! What is applied is merged with what others manage, so variables that were dropped would stay for
//! ever, and what is changed would be a conflict. So the first time all that others manage becomes
//! ours; what we then do not apply goes. The number of replicas stays whosever it is.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::{Value, json};

use super::render::MANAGER;

/// How objects are written that are applied.
const APPLY: &str = "Apply";
/// The manager of what the cluster itself writes, such as the status.
const CONTROLLERS: &str = "kube-controller-manager";
/// What never becomes ours: who scales, and what is seen.
const NEVER: [&[&str]; 2] = [&["f:spec", "f:replicas"], &["f:status"]];

/// A patch that makes what others manage of an object ours; `None` when they manage nothing.
pub(super) fn patch(entries: &[ManagedFieldsEntry], version: Option<&str>) -> Option<Value> {
    let is_ours = |entry: &ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(MANAGER) && entry.operation.as_deref() == Some(APPLY)
    };
    let stays = |entry: &ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(CONTROLLERS) || entry.subresource.is_some()
    };
    let (left, taken): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| stays(entry));
    if taken.iter().all(|entry| is_ours(entry)) {
        return None;
    }
    let mut fields = json!({});
    for entry in &taken {
        if let Some(FieldsV1(more)) = &entry.fields_v1 {
            join(&mut fields, more);
        }
    }
    NEVER.iter().for_each(|path| drop_field(&mut fields, path));
    let ours = ManagedFieldsEntry {
        api_version: taken.first().and_then(|entry| entry.api_version.clone()),
        fields_type: Some("FieldsV1".to_owned()),
        fields_v1: Some(FieldsV1(fields)),
        manager: Some(MANAGER.to_owned()),
        operation: Some(APPLY.to_owned()),
        ..ManagedFieldsEntry::default()
    };
    let all: Vec<_> = left.into_iter().chain([&ours]).collect();
    Some(json!({"metadata": {"managedFields": all, "resourceVersion": version}}))
}

/// Adds fields to fields; each is an object of those below it.
fn join(into: &mut Value, more: &Value) {
    let (Some(into), Some(more)) = (into.as_object_mut(), more.as_object()) else { return };
    for (field, below) in more {
        join(into.entry(field).or_insert_with(|| json!({})), below);
    }
}

fn drop_field(fields: &mut Value, path: &[&str]) {
    let Some((last, above)) = path.split_last() else { return };
    let parent = above.iter().try_fold(fields, |at, field| at.get_mut(*field));
    if let Some(parent) = parent.and_then(Value::as_object_mut) {
        parent.remove(*last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str, fields: &Value) -> ManagedFieldsEntry {
        serde_json::from_value(json!({
            "manager": manager, "operation": operation, "apiVersion": "apps/v1",
            "fieldsType": "FieldsV1", "fieldsV1": fields,
        }))
        .unwrap()
    }

    #[test]
    fn what_others_manage_becomes_ours_but_not_the_number_of_replicas() {
        let env = json!({"f:spec": {"f:replicas": {}, "f:template": {"f:env": {}}}});
        let image = json!({"f:spec": {"f:template": {"f:image": {}}}});
        let status = json!({"f:status": {"f:replicas": {}}});
        let entries = [
            entry("faas-netes", "Update", &env),
            entry("kubectl-set", "Update", &image),
            entry(CONTROLLERS, "Update", &status),
        ];
        let patch = patch(&entries, Some("7")).unwrap();
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        let all = &patch["metadata"]["managedFields"];
        assert_eq!((all[0]["manager"].as_str(), &all[0]["fieldsV1"]), (Some(CONTROLLERS), &status));
        assert_eq!(
            (all[1]["manager"].as_str(), all[1]["operation"].as_str()),
            (Some("flint"), Some("Apply"))
        );
        let want = json!({"f:spec": {"f:template": {"f:env": {}, "f:image": {}}}});
        assert_eq!((&all[1]["fieldsV1"], all.as_array().unwrap().len()), (&want, 2));
    }

    #[test]
    fn what_is_all_ours_needs_no_patch() {
        assert!(patch(&[entry("flint", "Apply", &json!({"f:spec": {}}))], None).is_none());
        assert!(patch(&[], None).is_none());
    }
}
