//! Secrets: files that only the gateway's user can read.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::files::{at, disk, private_dir};
use super::namespaces::NamespaceSet;
use crate::secret::check_secret_name;
use crate::{Error, Name, Result, Secret, Secrets};

/// Begins the names of files that are being written. No secret's name can.
const UNFINISHED: &str = ".new-";

/// The secrets, as `<root>/<namespace>/<name>`.
pub(super) struct SecretFiles {
    root: PathBuf,
    namespaces: Arc<NamespaceSet>,
    /// One writer: "is it there" and "write it" are one step.
    writer: Mutex<()>,
}

impl SecretFiles {
    pub(super) fn open(state_dir: &Path, namespaces: Arc<NamespaceSet>) -> Result<Self> {
        let root = state_dir.join("secrets");
        private_dir(&root)?;
        Ok(Self { root, namespaces, writer: Mutex::default() })
    }

    /// The values of some secrets. An error names the first that is missing.
    pub(super) fn read(&self, namespace: &str, names: &[String]) -> Result<Vec<(String, Vec<u8>)>> {
        let read = |name: &String| {
            let path = self.root.join(namespace).join(name);
            match fs::read(&path) {
                Ok(value) => Ok((name.clone(), value)),
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    let reason = format!("there is no secret {name:?} in namespace {namespace}");
                    Err(Error::invalid("secrets", reason))
                }
                Err(e) => Err(at(&path)(e)),
            }
        };
        names.iter().map(read).collect()
    }

    /// Names of a namespace's secrets, sorted.
    pub(super) fn names(&self, namespace: &str) -> Result<Vec<String>> {
        names_in(&self.root.join(namespace))
    }

    /// Where a secret is, and whether it is there.
    async fn locate(&self, name: &str, namespace: &str) -> Result<(PathBuf, bool)> {
        check_secret_name(name)?;
        let namespace = self.namespace(namespace).await?;
        let path = self.root.join(namespace).join(name);
        let exists = path.try_exists().map_err(at(&path))?;
        Ok((path, exists))
    }

    async fn namespace(&self, namespace: &str) -> Result<String> {
        let namespace = Name::new("x", namespace)?.namespace().to_owned();
        self.namespaces.check(&namespace).await?;
        Ok(namespace)
    }
}

#[async_trait]
impl Secrets for SecretFiles {
    async fn list(&self, namespace: &str) -> Result<Vec<Secret>> {
        let namespace = self.namespace(namespace).await?;
        let listed = |name| Secret { name, namespace: namespace.clone(), ..Secret::default() };
        Ok(self.names(&namespace)?.into_iter().map(listed).collect())
    }

    async fn create(&self, secret: &Secret) -> Result<()> {
        let _writer = self.writer.lock().await;
        let (path, exists) = self.locate(&secret.name, &secret.namespace).await?;
        if exists {
            return Err(Error::Exists(format!("secret {}", secret.name)));
        }
        write(path, secret.bytes()?).await
    }

    async fn update(&self, secret: &Secret) -> Result<()> {
        let _writer = self.writer.lock().await;
        let (path, exists) = self.locate(&secret.name, &secret.namespace).await?;
        if !exists {
            return Err(Error::NotFound(format!("secret {}", secret.name)));
        }
        write(path, secret.bytes()?).await
    }

    async fn remove(&self, name: &str, namespace: &str) -> Result<()> {
        let _writer = self.writer.lock().await;
        let (path, _) = self.locate(name, namespace).await?;
        match fs::remove_file(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err(Error::NotFound(format!("secret {name}")));
            }
            other => other.map_err(at(&path))?,
        }
        // The namespace's folder goes with its last secret; it stays while it holds any.
        let _still_in_use = path.parent().map(fs::remove_dir);
        Ok(())
    }
}

fn names_in(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(at(dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(at(dir))?.file_name().to_string_lossy().into_owned();
        if !name.starts_with(UNFINISHED) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Writes a file so that a crash leaves the old value or the new one, never half of one.
async fn write(path: PathBuf, value: Vec<u8>) -> Result<()> {
    let written = tokio::task::spawn_blocking(move || write_atomic(&path, &value)).await;
    written.map_err(|e| disk(e.to_string()))?
}

fn write_atomic(path: &Path, value: &[u8]) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let dir = path.parent().unwrap_or(path);
    private_dir(dir)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = dir.join(format!("{UNFINISHED}{name}"));
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished);
    let written = file.and_then(|mut file| file.write_all(value).and_then(|()| file.sync_all()));
    let renamed = written.and_then(|()| fs::rename(&unfinished, path));
    if renamed.is_err() {
        let _none_was_begun = fs::remove_file(&unfinished);
    }
    renamed.and_then(|()| fs::File::open(dir)?.sync_all()).map_err(at(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_value_is_replaced_whole_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ns/key");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        fs::write(dir.path().join("ns/.new-other"), b"").unwrap();
        assert_eq!(names_in(path.parent().unwrap()).unwrap(), ["key"]);
        fs::create_dir(dir.path().join("ns/taken")).unwrap();
        write_atomic(&dir.path().join("ns/taken"), b"3").unwrap_err();
        assert!(!dir.path().join("ns/.new-taken").exists(), "no value lies about");
    }
}
