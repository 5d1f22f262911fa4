//! The files that `environment_file` names.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::merge::texts;
use super::{Function, Stack, StackError};

/// A file of variables: a mapping under `environment`.
#[derive(Deserialize)]
struct File {
    #[serde(default, deserialize_with = "texts")]
    environment: Option<BTreeMap<String, String>>,
}

/// The variables of all files of the function; the later ones win.
pub(super) fn read(
    stack: &Stack,
    function: &Function,
) -> Result<BTreeMap<String, String>, StackError> {
    let mut all = BTreeMap::new();
    for (index, path) in function.environment_file.iter().enumerate() {
        let variables = read_one(Path::new(path)).map_err(|reason| {
            let key = format!("functions.{}.environment_file[{index}]", function.name);
            StackError::new(&stack.file, key, format!("{path}: {reason}"))
        })?;
        all.extend(variables);
    }
    Ok(all)
}

fn read_one(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let file: File = serde_path_to_error::deserialize(serde_yaml::Deserializer::from_str(&text))
        .map_err(|error| error.to_string())?;
    file.environment.ok_or_else(|| "has no `environment:` mapping".to_owned())
}
