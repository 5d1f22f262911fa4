//! Labels that tie engine objects to functions.

use std::collections::HashMap;

use crate::replicas::deploy::Deploy;
use crate::{Error, Function, Name, Result, label};

/// The network, and so the gateway, that an object belongs to.
pub(super) const NETWORK: &str = "dev.flint.network";
/// The namespace of a container's function, or the one that a volume stands for.
pub(super) const NAMESPACE: &str = "dev.flint.namespace";
/// The whole function as JSON, without credentials.
pub(super) const FUNCTION: &str = "dev.flint.function";
/// The deploy that made it, in milliseconds since 1970; grows strictly.
pub(super) const GENERATION: &str = "dev.flint.generation";
/// When the function was first deployed.
pub(super) const CREATED: &str = "dev.flint.created";
/// The replica's id; the container has it as its name too, until it is being removed.
pub(super) const REPLICA: &str = "dev.flint.replica";
/// Labels and annotations of a namespace, as JSON.
pub(super) const METADATA: &str = "dev.flint.metadata";

/// Ends the name of a container whose function was removed: durable, and seen in `docker ps`.
pub(super) const REMOVED_SUFFIX: &str = ".removed";

impl Deploy {
    /// The labels of a replica's container; a user's own never override them.
    pub(super) fn labels(&self, network: &str, replica: &str) -> Result<HashMap<String, String>> {
        let json = serde_json::to_string(&self.function)
            .map_err(|e| Error::invalid("body", e.to_string()))?;
        let ours = [
            (NETWORK, network.to_owned()),
            (NAMESPACE, self.name.namespace().to_owned()),
            (FUNCTION, json),
            (GENERATION, self.generation.to_string()),
            (CREATED, self.created_at.to_string()),
            (REPLICA, replica.to_owned()),
            (label::FUNCTION, self.name.function().to_owned()),
        ];
        let mut all: HashMap<_, _> = self.function.labels.clone().into_iter().collect();
        all.extend(ours.map(|(key, value)| (key.to_owned(), value)));
        Ok(all)
    }

    /// Reads back what [`Deploy::labels`] wrote; `None` when it is not one of ours.
    pub(super) fn from_labels(labels: &HashMap<String, String>) -> Option<Self> {
        let function = Function::from_json(labels.get(FUNCTION)?.as_bytes()).ok()?;
        Some(Self {
            name: function.name().ok()?,
            function,
            generation: labels.get(GENERATION)?.parse().ok()?,
            created_at: labels.get(CREATED)?.parse().ok()?,
        })
    }
}

/// The name and the replica that an event's attributes, which are the labels, speak of.
pub(super) fn replica_of(attributes: &HashMap<String, String>) -> Option<(Name, String)> {
    let function = attributes.get(label::FUNCTION)?;
    let name = Name::new(function, attributes.get(NAMESPACE)?).ok()?;
    Some((name, attributes.get(REPLICA)?.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deploy() -> Deploy {
        let body = br#"{"service":"echo","image":"i","labels":{
            "team":"a","dev.flint.network":"stolen","dev.flint.generation":"1"}}"#;
        let function = Function::from_json(body).unwrap();
        Deploy {
            name: function.name().unwrap(),
            function,
            generation: 1_767_323_045_000,
            created_at: "2026-01-02T03:04:05Z".parse().unwrap(),
        }
    }

    #[test]
    fn labels_hold_the_whole_deploy() {
        let labels = deploy().labels("flint", "echo.1").unwrap();
        let back = Deploy::from_labels(&labels).unwrap();
        assert_eq!(back.function, deploy().function);
        assert_eq!((back.generation, back.created_at), (1_767_323_045_000, deploy().created_at));
        assert_eq!(labels["team"], "a");
        assert_eq!(labels[NETWORK], "flint");
        assert_eq!(replica_of(&labels).unwrap().1, "echo.1");
    }
}
