//! What is seen: a function and its replicas (contract 1.6).

use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::{Function, Name};

/// A function as it is seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// What is wanted.
    pub function: Function,
    /// How many replicas are wanted; 0 while the function sleeps.
    pub desired: u32,
    /// Its replicas, those of an older generation that still serve among them.
    pub replicas: Vec<Replica>,
    /// The generation that is wanted; grows with each deploy.
    pub generation: u64,
    /// When the function was first deployed.
    pub created_at: Timestamp,
    /// Why it is not as wanted, in words for a person. Empty when all is well.
    pub reason: String,
    /// What is not as it should be though the function works, such as a limit that this machine
    /// cannot enforce.
    pub warnings: Vec<String>,
}

/// One replica of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replica {
    /// Its name at the backend; the `instance` of log lines.
    pub id: String,
    /// Where it answers, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// What it is doing.
    pub state: State,
    /// The generation it belongs to.
    pub generation: u64,
    /// How often it was started again after it ended by itself.
    #[serde(default)]
    pub restarts: u32,
    /// How it ended the last time, such as `exit code 1` or `out of memory`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_exit: String,
    /// What is known to keep it from getting ready though it runs, such as that it never listened.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub trouble: String,
}

/// What a replica is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It runs, or is about to, and takes no calls yet.
    Starting,
    /// It takes calls.
    Ready,
    /// It is in memory and gets no processor time.
    Frozen,
    /// It finishes its calls and takes no new ones.
    Draining,
    /// It does not run.
    Stopped,
}

/// Where a replica answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Address {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A unix socket of this machine.
    Unix(PathBuf),
}

impl Status {
    /// The function's name. It was checked when the function was deployed.
    pub fn name(&self) -> Option<Name> {
        self.function.name().ok()
    }

    /// Replicas that take calls.
    pub fn ready(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(|r| r.state == State::Ready)
    }

    /// Replicas of the wanted generation that take calls.
    pub fn updated(&self) -> usize {
        self.ready().filter(|r| r.generation == self.generation).count()
    }

    /// Whether the wanted generation runs with as many replicas as wanted, and nothing else does.
    pub fn is_settled(&self) -> bool {
        self.updated() >= self.desired as usize
            && self.replicas.iter().all(|r| r.generation == self.generation)
    }
}

/// The keys that a status has beyond its function's.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    #[serde(default)]
    replicas: u32,
    #[serde(default)]
    available_replicas: u32,
    #[serde(default)]
    updated_replicas: u32,
    #[serde(default)]
    generation: u64,
    #[serde(default)]
    created_at: Timestamp,
    #[serde(default)]
    instances: Vec<Replica>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let seen = Seen {
            replicas: self.desired,
            available_replicas: self.ready().count() as u32,
            updated_replicas: self.updated() as u32,
            generation: self.generation,
            created_at: self.created_at,
            instances: self.replicas.clone(),
            reason: self.reason.clone(),
            warnings: self.warnings.clone(),
        };
        let mut all = object(&self.function).map_err(S::Error::custom)?;
        let name = all.remove("service").unwrap_or_default();
        all.insert("name".to_owned(), name);
        all.append(&mut object(&seen).map_err(S::Error::custom)?);
        all.serialize(serializer)
    }
}

fn object(value: &impl Serialize) -> serde_json::Result<Map<String, Value>> {
    match serde_json::to_value(value)? {
        Value::Object(object) => Ok(object),
        _ => Ok(Map::new()),
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut all = Map::<String, Value>::deserialize(deserializer)?;
        let name = all.remove("name").unwrap_or_default();
        all.insert("service".to_owned(), name);
        all.retain(|_, value| !value.is_null());
        let seen: Seen =
            serde_json::from_value(Value::Object(all.clone())).map_err(D::Error::custom)?;
        let function = serde_json::from_value(Value::Object(all)).map_err(D::Error::custom)?;
        Ok(Self {
            function,
            desired: seen.replicas,
            replicas: seen.instances,
            generation: seen.generation,
            created_at: seen.created_at,
            reason: seen.reason,
            warnings: seen.warnings,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        let body = br#"{"service":"echo","image":"i","labels":{"a":"b"}}"#;
        let replica = Replica {
            id: "echo-1".to_owned(),
            address: Some(Address::Tcp(([127, 0, 0, 1], 8080).into())),
            state: State::Ready,
            generation: 7,
            restarts: 0,
            last_exit: String::new(),
            trouble: String::new(),
        };
        Status {
            function: Function::from_json(body).unwrap(),
            desired: 1,
            replicas: vec![replica],
            generation: 7,
            created_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            reason: String::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn the_wire_has_the_contracts_names() {
        let json = serde_json::to_value(status()).unwrap();
        assert_eq!(json["name"], "echo");
        assert_eq!(json["namespace"], "openfaas-fn");
        assert_eq!(json["replicas"], 1);
        assert_eq!(json["availableReplicas"], 1);
        assert_eq!(json["createdAt"], "2026-01-02T03:04:05Z");
        assert_eq!(json["labels"]["a"], "b");
        assert!(json.get("service").is_none());
    }

    #[test]
    fn what_is_written_reads_back() {
        let text = serde_json::to_string(&status()).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status());
    }

    #[test]
    fn a_status_of_the_reference_product_is_read() {
        let text = r#"{"name":"echo","image":"i","namespace":"openfaas-fn","labels":null}"#;
        let status: Status = serde_json::from_str(text).unwrap();
        assert_eq!((status.desired, status.function.service.as_str()), (0, "echo"));
    }

    #[test]
    fn settled_means_only_the_new_generation_runs() {
        let mut status = status();
        assert!(status.is_settled());
        status.generation = 8;
        assert!(!status.is_settled());
    }
}
