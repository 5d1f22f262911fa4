//! A function as a gateway shows it (contract 1.6).

use anyhow::Result;
use provider::Status;
use serde::Deserialize;
use serde_json::Value;

/// A [`Status`] with what only the gateway counts, and with the counts of gateways that do not
/// tell of each replica.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The function and its replicas.
    pub status: Status,
    /// Replicas that take calls.
    pub available: u64,
    /// Replicas of the newest generation that take calls; `None` where generations are not told.
    pub updated: Option<u64>,
    /// Calls so far; absent on the wire is zero.
    pub invocations: u64,
    /// What it uses, when asked for and known.
    pub usage: Option<Usage>,
    /// The answer as it came.
    pub raw: Value,
}

/// What a function uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Usage {
    /// Thousandths of a core.
    pub cpu: f64,
    /// Memory of all replicas, in bytes.
    pub total_memory_bytes: f64,
}

impl Seen {
    /// Reads one function's object.
    pub fn from_value(raw: Value) -> Result<Self> {
        let status = Status::deserialize(&raw)?;
        let count = |key: &str| raw.get(key).and_then(Value::as_f64).map(|n| n.max(0.0) as u64);
        let usage = raw.get("usage").filter(|usage| usage.is_object());
        Ok(Self {
            status,
            available: count("availableReplicas").unwrap_or(0),
            updated: count("updatedReplicas"),
            invocations: count("invocationCount").unwrap_or(0),
            usage: usage.and_then(|usage| Usage::deserialize(usage).ok()),
            raw,
        })
    }

    /// Its name, without the namespace.
    pub fn name(&self) -> &str {
        &self.status.function.service
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_reference_leaves_out_is_zero() {
        let seen = Seen::from_value(json!({"name": "a", "image": "i", "labels": null})).unwrap();
        assert_eq!((seen.name(), seen.available, seen.invocations), ("a", 0, 0));
        assert_eq!(seen.updated, None);
        assert_eq!(seen.usage, None);
    }

    #[test]
    fn counts_may_be_floats() {
        let raw = json!({"name": "a", "invocationCount": 3.0, "availableReplicas": 2,
            "updatedReplicas": 1, "usage": {"cpu": 1.5}});
        let seen = Seen::from_value(raw).unwrap();
        assert_eq!((seen.invocations, seen.available, seen.updated), (3, 2, Some(1)));
        assert_eq!(seen.usage, Some(Usage { cpu: 1.5, total_memory_bytes: 0.0 }));
    }
}
