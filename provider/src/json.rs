//! JSON as the contract's clients write it: keys in any case, `null` for absent, unknown keys.

use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_json::{Map, Value};

use crate::{Error, Result};

/// Reads a JSON object whose keys may differ from `keys` in case; the first spelling wins.
///
/// An error names the field.
pub fn from_json<T: DeserializeOwned>(body: &[u8], keys: &[&str]) -> Result<T> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|e| Error::invalid("body", format!("bad JSON: {e}")))?;
    let Value::Object(object) = value else {
        return Err(Error::invalid("body", "must be a JSON object"));
    };
    let object = canonical(object, keys);
    serde_path_to_error::deserialize(Value::Object(object)).map_err(|e| {
        let path = e.path().to_string();
        let field = if path == "." { "body".to_owned() } else { path };
        Error::invalid(field, e.into_inner().to_string())
    })
}

fn canonical(object: Map<String, Value>, keys: &[&str]) -> Map<String, Value> {
    let mut out = Map::with_capacity(object.len());
    for (key, value) in object {
        let known = keys.iter().find(|known| known.eq_ignore_ascii_case(&key));
        let key = known.map_or(key, |known| (*known).to_owned());
        if !value.is_null() {
            out.insert(key, value);
        }
    }
    out
}

/// For fields that clients send as `null` when they have nothing to say.
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
