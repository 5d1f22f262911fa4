//! Between a function and the spec of its object (contract 8.6). No IO.

use kube::core::DynamicObject;
use serde_json::{Map, Value};

use crate::{Error, Function, Result};

/// Keys of a deploy request, and what they are called in a spec.
const RENAMED: [(&str, &str); 2] = [("service", "name"), ("envVars", "environment")];
/// The keys that are called the same in both.
const SAME: [&str; 9] = [
    "image",
    "envProcess",
    "constraints",
    "secrets",
    "labels",
    "annotations",
    "limits",
    "requests",
    "readOnlyRootFilesystem",
];
/// Keys whose values are amounts; an empty one says nothing.
const AMOUNTS: [&str; 2] = ["limits", "requests"];
/// The variable that says the process where there is no key for it.
const PROCESS: &str = "fprocess";

/// The spec that says what the function does. What says nothing is left out, so that two specs are
/// the same exactly if they mean the same.
pub(super) fn of(function: &Function) -> Value {
    let Ok(Value::Object(mut all)) = serde_json::to_value(function) else { return Value::Null };
    all.remove("namespace");
    for (key, renamed) in RENAMED {
        if let Some(value) = all.remove(key) {
            all.insert(renamed.to_owned(), value);
        }
    }
    for key in AMOUNTS {
        if let Some(amounts) = all.get_mut(key).and_then(Value::as_object_mut) {
            amounts.retain(|_, amount| amount.as_str() != Some(""));
        }
    }
    all.retain(|_, value| !is_nothing(value));
    Value::Object(all)
}

/// Whether two functions mean the same.
pub(super) fn is_same(one: &Function, other: &Function) -> bool {
    let of = |function: &Function| {
        let mut spec = of(function);
        // The process is a variable in the end, wherever it was said.
        if let Some(all) = spec.as_object_mut()
            && let Some(process) = all.remove("envProcess")
        {
            let environment = all.entry("environment").or_insert_with(|| Map::new().into());
            if let Some(environment) = environment.as_object_mut() {
                environment.entry(PROCESS).or_insert(process);
            }
        }
        spec
    };
    of(one) == of(other)
}

/// The function that an object describes, in a namespace of the API. An error names the field.
pub(super) fn function(object: &DynamicObject, namespace: &str) -> Result<Function> {
    let Some(Value::Object(spec)) = object.data.get("spec") else {
        return Err(Error::invalid("spec", "is missing"));
    };
    let mut request = spec.clone();
    for (key, renamed) in RENAMED {
        if let Some(value) = request.remove(renamed) {
            request.insert(key.to_owned(), value);
        }
    }
    request.insert("namespace".to_owned(), namespace.into());
    let body = Value::Object(request).to_string();
    let function = Function::from_json(body.as_bytes()).map_err(in_spec)?;
    let name = object.metadata.name.as_deref().unwrap_or_default();
    if function.service == name {
        return Ok(function);
    }
    let reason = format!("{:?} is not the object's own name, {name:?}", function.service);
    Err(Error::invalid("spec.name", reason))
}

/// Calls the field as the object does.
fn in_spec(error: Error) -> Error {
    let Error::Invalid { field, reason } = error else { return error };
    let end = field.find('.').unwrap_or(field.len());
    let (first, rest) = field.split_at(end);
    let renamed = RENAMED.iter().find(|(key, _)| *key == first).map(|(_, renamed)| *renamed);
    let field = match renamed {
        Some(renamed) => format!("spec.{renamed}{rest}"),
        None if SAME.contains(&first) => format!("spec.{field}"),
        None if field == "body" => "spec".to_owned(),
        // The name of a label or an annotation.
        None => field,
    };
    Error::Invalid { field, reason }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(all) => all.is_empty(),
        Value::Array(all) => all.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(name: &str, spec: &Value) -> DynamicObject {
        let metadata = json!({"name": name});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn everything() -> Function {
        let body = br#"{"service":"echo","image":"i","namespace":"dev","envProcess":"cat",
            "envVars":{"a":"b"},"constraints":["a=b"],"secrets":["key"],"labels":{"l":"1"},
            "annotations":{"flint.dev/timeout":"5s"},"limits":{"memory":"1Mi","nvidia.com/gpu":"1"},
            "requests":{"cpu":"1m"},"readOnlyRootFilesystem":true}"#;
        Function::from_json(body).unwrap()
    }

    #[test]
    fn what_is_written_reads_back() {
        let written = of(&everything());
        assert_eq!(written["name"], "echo");
        assert_eq!(written["environment"]["a"], "b");
        assert!(written.get("namespace").is_none());
        assert_eq!(function(&object("echo", &written), "dev").unwrap(), everything());
    }

    #[test]
    fn what_says_nothing_is_left_out() {
        let body = br#"{"service":"echo","image":"i","limits":{"memory":""}}"#;
        let bare = Function::from_json(body).unwrap();
        assert_eq!(of(&bare), json!({"name": "echo", "image": "i"}));
        let other = Function { limits: None, namespace: "other".to_owned(), ..bare.clone() };
        assert!(is_same(&bare, &other));
        assert!(!is_same(&bare, &Function { image: "j".to_owned(), ..bare.clone() }));
    }

    #[test]
    fn the_process_is_the_same_wherever_it_is_said() {
        let spec = json!({"name": "echo", "image": "i", "environment": {"fprocess": "cat"}});
        let variable = function(&object("echo", &spec), "dev").unwrap();
        let mut field = Function { env_process: "cat".to_owned(), ..variable.clone() };
        field.env_vars.clear();
        assert!(is_same(&variable, &field));
        field.env_process = "tac".to_owned();
        assert!(!is_same(&variable, &field));
    }

    #[test]
    fn errors_name_the_field_of_the_object() {
        for (spec, field) in [
            (json!({"name": "other", "image": "i"}), "spec.name"),
            (json!({"name": "Echo", "image": "i"}), "spec.name"),
            (json!({"name": "echo", "image": ""}), "spec.image"),
            (json!({"name": "echo", "image": "i", "environment": {"a": 1}}), "spec.environment.a"),
            (json!({"name": "echo", "image": "i", "limits": {"cpu": "x"}}), "spec.limits.cpu"),
            (
                json!({"name": "echo", "image": "i", "annotations": {"flint.dev/timeout": "x"}}),
                "flint.dev/timeout",
            ),
            (json!("none"), "spec"),
        ] {
            let error = function(&object("echo", &spec), "dev").unwrap_err().to_string();
            assert!(error.starts_with(&format!("{field}: ")), "{error}");
        }
    }
}
