//! The secrets of a function that runs alone: files in `.secrets`, as in the reference.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context as _, Result};
use provider::confine::Layout;

use crate::error::{caused, usage};

/// The folder that holds them, one a file.
const FOLDER: &str = ".secrets";

/// Names and values.
pub(super) type Secrets = Vec<(String, Vec<u8>)>;

/// Reads the secrets that a function names.
pub(super) fn read(project: &Path, names: &[String]) -> Result<Secrets> {
    let one = |name: &String| {
        let path = project.join(FOLDER).join(name);
        let value = fs::read(&path).map_err(|error| {
            let hint = format!("write its value into {FOLDER}/{name}");
            caused(format!("secret {name} cannot be read"), hint, error)
        })?;
        Ok((name.clone(), value))
    };
    let leads_away = |name: &&String| name.contains('/') || name.starts_with('.');
    if let Some(name) = names.iter().find(leads_away) {
        return Err(usage(format!("{name:?} is not a secret's name"), "correct `secrets:`"));
    }
    names.iter().map(one).collect()
}

/// Puts them where the replica gets them from.
pub(super) fn write(layout: &Layout, secrets: &Secrets) -> Result<()> {
    let folder = layout.secrets();
    let shown = || folder.display().to_string();
    fs::DirBuilder::new().mode(0o700).create(&folder).with_context(shown)?;
    for (name, value) in secrets {
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(folder.join(name)).with_context(shown)?;
        file.write_all(value).with_context(shown)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_files_of_the_project() {
        let project = tempfile::tempdir().unwrap();
        fs::create_dir(project.path().join(FOLDER)).unwrap();
        fs::write(project.path().join(FOLDER).join("key"), b"v\0\xff").unwrap();
        let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let secrets = read(project.path(), &names(&["key"])).unwrap();
        let replica = tempfile::tempdir().unwrap();
        let layout = Layout::new(replica.path());
        write(&layout, &secrets).unwrap();
        assert_eq!(fs::read(layout.secrets().join("key")).unwrap(), b"v\0\xff");
        let error = read(project.path(), &names(&["none"])).unwrap_err();
        let text = crate::error::render(&error);
        assert!(text.contains("hint: write its value into .secrets/none"), "{text}");
        assert!(read(project.path(), &names(&["../key"])).is_err());
    }
}
