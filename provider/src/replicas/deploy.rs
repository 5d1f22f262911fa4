//! One deploy of one function, and the ids made of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Function, Name};

/// One deploy of one function.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Deploy {
    /// The function, without credentials.
    pub(crate) function: Function,
    /// Its name.
    pub(crate) name: Name,
    /// Grows with every deploy.
    pub(crate) generation: u64,
    /// When the function was first deployed.
    pub(crate) created_at: Timestamp,
}

impl Deploy {
    /// The id of a replica: readable, unique on the machine, and a container's name.
    pub(crate) fn replica_id(&self, number: usize) -> String {
        format!("{}.{}.{number}", self.name, base36(self.generation))
    }
}

/// A number in digits and small letters: short, and sorted like the number for ages.
pub(crate) fn base36(mut number: u64) -> String {
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

    #[test]
    fn ids_are_readable_and_fit_an_engine() {
        let function = Function::from_json(br#"{"service":"echo","image":"i"}"#).unwrap();
        let name = function.name().unwrap();
        let generation = 1_767_323_045_000;
        let deploy = Deploy { function, name, generation, created_at: Timestamp::UNIX_EPOCH };
        assert_eq!(deploy.replica_id(1), "echo.openfaas-fn.mjwaid1k.1");
        assert_eq!((base36(0), base36(35), base36(36)), ("0".into(), "z".into(), "10".into()));
    }
}
