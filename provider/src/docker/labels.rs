//! Labels that tie engine objects to functions, and the names made of them.

use std::collections::HashMap;

use jiff::Timestamp;

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

/// One deploy of one function.
#[derive(Clone, Debug)]
pub(super) struct Deploy {
    /// The function, without credentials.
    pub(super) function: Function,
    /// Its name.
    pub(super) name: Name,
    /// Grows with every deploy.
    pub(super) generation: u64,
    /// When the function was first deployed.
    pub(super) created_at: Timestamp,
}

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

    /// The id of a replica: readable, unique on the machine, and a container's name.
    pub(super) fn replica_id(&self, number: usize) -> String {
        format!("{}.{}.{number}", self.name, base36(self.generation))
    }
}

/// The name and the replica that an event's attributes, which are the labels, speak of.
pub(super) fn replica_of(attributes: &HashMap<String, String>) -> Option<(Name, String)> {
    let function = attributes.get(label::FUNCTION)?;
    let name = Name::new(function, attributes.get(NAMESPACE)?).ok()?;
    Some((name, attributes.get(REPLICA)?.clone()))
}

/// A number in digits and small letters: short, and sorted like the number for ages.
pub(super) fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize]);
        number /= 36;
        if number == 0 {
            break;
        }
    }
    digits.iter().rev().map(|digit| char::from(*digit)).collect()
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

    #[test]
    fn names_are_readable_and_fit_the_engine() {
        assert_eq!(deploy().replica_id(1), "echo.openfaas-fn.mjwaid1k.1");
        assert_eq!(base36(0), "0");
        assert_eq!(base36(35), "z");
        assert_eq!(base36(36), "10");
    }
}
