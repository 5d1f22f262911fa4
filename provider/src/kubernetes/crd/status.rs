//! The status of a function's object (contract 8.6). No IO.

use jiff::Timestamp;
use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::super::profiles::named;
use crate::{Error, Status};

/// Longest message of a condition, in characters.
const MAX_MESSAGE: usize = 1024;

/// One condition: its type, whether it holds, why in a word, and in words.
struct Condition(&'static str, bool, &'static str, String);

/// The status that an object should have; `None` when it has it. Profiles are in a namespace of their own.
pub(super) fn changed(
    object: &DynamicObject,
    seen: Option<&Status>,
    refusal: Option<&Error>,
    profiles_namespace: &str,
) -> Option<Value> {
    let generation = object.metadata.generation.unwrap_or_default();
    let old = object.data.get("status");
    let conditions: Vec<_> = conditions(seen, refusal)
        .into_iter()
        .map(|condition| written(condition, generation, old))
        .collect();
    let desired = seen.map_or(0, |seen| seen.desired);
    let available = seen.map_or(0, |seen| seen.ready().count() as u32);
    let new = json!({
        "observedGeneration": generation,
        "replicas": desired,
        "availableReplicas": available,
        "unavailableReplicas": desired.saturating_sub(available),
        "profiles": profiles(seen, profiles_namespace),
        "conditions": conditions,
    });
    let is_there =
        |(key, value): (&String, &Value)| old.and_then(|old| old.get(key)) == Some(value);
    let all_there = new.as_object().is_some_and(|new| new.iter().all(is_there));
    (!all_there).then_some(new)
}

/// The profiles of what runs.
fn profiles(seen: Option<&Status>, namespace: &str) -> Value {
    let named = seen.and_then(|seen| named(&seen.function).ok()).unwrap_or_default();
    let one = |(_, name)| json!({"profileRef": {"name": name, "namespace": namespace}});
    named.into_iter().map(one).collect()
}

/// The conditions. None has an empty message: there are API servers that take one for none at all.
fn conditions(seen: Option<&Status>, refusal: Option<&Error>) -> [Condition; 4] {
    let settled = seen.is_some_and(Status::is_settled);
    let reason = seen.map_or("", |seen| seen.reason.as_str());
    let or = |usual: &str| if reason.is_empty() { usual } else { reason }.to_owned();
    let (available, desired) = seen.map_or((0, 0), |seen| (seen.ready().count(), seen.desired));
    let healthy = match (available, desired) {
        (0, 0) if seen.is_some() => {
            Condition("Healthy", true, "ScaledToZero", "no replica is wanted".to_owned())
        }
        (0, _) => Condition("Healthy", false, "Unavailable", or("no replica is ready yet")),
        _ => Condition("Healthy", true, "Available", "replicas take calls".to_owned()),
    };
    let [ready, reconciling, stalled] = match (refusal, settled) {
        (Some(error), _) => {
            let (word, text) = (word(error), error.to_string());
            [
                Condition("Ready", false, word, text.clone()),
                Condition("Reconciling", false, word, text.clone()),
                Condition("Stalled", true, word, text),
            ]
        }
        (None, true) => [
            Condition("Ready", true, "Settled", "what runs is what the object says".to_owned()),
            Condition("Reconciling", false, "Settled", "nothing is left to be done".to_owned()),
            accepted(),
        ],
        (None, false) => {
            let text = or("replicas are on their way");
            [
                Condition("Ready", false, "Rollout", text.clone()),
                Condition("Reconciling", true, "Rollout", text),
                accepted(),
            ]
        }
    };
    [ready, healthy, reconciling, stalled]
}

fn accepted() -> Condition {
    Condition("Stalled", false, "Accepted", "the object was accepted".to_owned())
}

/// Why an object was refused, in a word.
fn word(error: &Error) -> &'static str {
    match error {
        Error::Invalid { .. } | Error::Unsupported(_) => "Invalid",
        Error::Conflict(_) | Error::Exists(_) => "Conflict",
        Error::Image { .. } => "Image",
        Error::NotFound(_) | Error::Unavailable { .. } | Error::Backend { .. } => "Failed",
    }
}

/// The condition as it is written; it became so now, unless it was so before.
fn written(condition: Condition, generation: i64, old: Option<&Value>) -> Value {
    let Condition(kind, holds, reason, message) = condition;
    let status = if holds { "True" } else { "False" };
    let before =
        old.and_then(|old| old.get("conditions")?.as_array()?.iter().find(|c| c["type"] == kind));
    let since = before.filter(|before| before["status"] == status);
    let since = since.and_then(|before| before["lastTransitionTime"].as_str()).map(str::to_owned);
    json!({
        "type": kind,
        "status": status,
        "observedGeneration": generation,
        "lastTransitionTime": since.unwrap_or_else(now),
        "reason": reason,
        "message": message.chars().take(MAX_MESSAGE).collect::<String>(),
    })
}

/// The time in whole seconds, as Kubernetes writes it.
fn now() -> String {
    let seconds = Timestamp::now().as_second();
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Function, Replica, State};

    fn object(status: &Value) -> DynamicObject {
        let metadata = json!({"name": "echo", "generation": 3});
        serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap()
    }

    fn seen(desired: u32, states: &[State]) -> Status {
        let replica = |state: &State| Replica {
            id: format!("echo-{state:?}"),
            address: None,
            state: *state,
            generation: 7,
            restarts: 0,
            last_exit: String::new(),
            trouble: String::new(),
        };
        Status {
            function: Function { service: "echo".into(), ..Function::default() },
            desired,
            replicas: states.iter().map(replica).collect(),
            generation: 7,
            created_at: Timestamp::UNIX_EPOCH,
            reason: "generation 7 is not ready: no node takes it".to_owned(),
            warnings: Vec::new(),
        }
    }

    fn held(status: &Value) -> Vec<(&str, &str)> {
        let all = status["conditions"].as_array().unwrap();
        assert!(all.iter().all(|c| c["message"].as_str().is_some_and(|text| !text.is_empty())));
        all.iter().map(|c| (c["type"].as_str().unwrap(), c["status"].as_str().unwrap())).collect()
    }

    #[test]
    fn a_rollout_is_told_with_its_reason_until_it_is_settled() {
        let rolling =
            changed(&object(&Value::Null), Some(&seen(2, &[State::Starting])), None, "ns").unwrap();
        let want = [
            ("Ready", "False"),
            ("Healthy", "False"),
            ("Reconciling", "True"),
            ("Stalled", "False"),
        ];
        assert_eq!(held(&rolling), want);
        assert!(rolling["conditions"][0]["message"].as_str().unwrap().contains("no node takes it"));
        assert_eq!((&rolling["replicas"], &rolling["unavailableReplicas"]), (&json!(2), &json!(2)));
        let settled =
            changed(&object(&rolling), Some(&seen(1, &[State::Ready])), None, "ns").unwrap();
        let want = [
            ("Ready", "True"),
            ("Healthy", "True"),
            ("Reconciling", "False"),
            ("Stalled", "False"),
        ];
        assert_eq!(held(&settled), want);
        assert_eq!(
            (&settled["observedGeneration"], &settled["availableReplicas"]),
            (&json!(3), &json!(1))
        );
    }

    #[test]
    fn what_is_there_is_not_written_again() {
        let seen = seen(1, &[State::Ready]);
        let mut status = changed(&object(&Value::Null), Some(&seen), None, "ns").unwrap();
        for condition in status["conditions"].as_array_mut().unwrap() {
            condition["lastTransitionTime"] = json!("2026-01-02T03:04:05Z");
        }
        assert_eq!(changed(&object(&status), Some(&seen), None, "ns"), None);
        let refusal = Error::invalid("spec.image", "is required");
        let refused = changed(&object(&status), Some(&seen), Some(&refusal), "ns").unwrap();
        let condition = |kind: &str| {
            let all = refused["conditions"].as_array().unwrap();
            all.iter().find(|c| c["type"] == kind).unwrap().clone()
        };
        assert_eq!(condition("Stalled")["message"], "spec.image: is required");
        assert_ne!(condition("Stalled")["lastTransitionTime"], "2026-01-02T03:04:05Z");
        assert_eq!(condition("Healthy")["lastTransitionTime"], "2026-01-02T03:04:05Z");
    }

    #[test]
    fn a_sleeping_function_is_well_and_one_that_never_ran_is_not() {
        let asleep = changed(&object(&Value::Null), Some(&seen(0, &[])), None, "ns").unwrap();
        assert_eq!(held(&asleep)[..2], [("Ready", "True"), ("Healthy", "True")]);
        let never = changed(&object(&Value::Null), None, None, "ns").unwrap();
        assert_eq!(
            held(&never)[..3],
            [("Ready", "False"), ("Healthy", "False"), ("Reconciling", "True")]
        );
    }

    #[test]
    fn the_profiles_of_what_runs_are_named() {
        let mut seen = seen(1, &[State::Ready]);
        let none = changed(&object(&Value::Null), Some(&seen), None, "ns").unwrap();
        assert_eq!(none["profiles"], json!([]));
        seen.function.annotations.insert("flint.dev/profile".into(), "gold, gpu".into());
        let two = changed(&object(&Value::Null), Some(&seen), None, "ns").unwrap();
        let one = |name| json!({"profileRef": {"name": name, "namespace": "ns"}});
        assert_eq!(two["profiles"], json!([one("gold"), one("gpu")]));
    }
}
