//! The directories that replicas share with the gateway.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::confine::{Layout, SOCKET};
use crate::{Error, Result};

/// Every replica's directories, under the state directory.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    root: PathBuf,
}

/// One replica's directories.
#[derive(Clone, Debug)]
pub(crate) struct ReplicaFiles {
    /// The directory around them, which only the gateway's user can enter.
    pub(crate) dir: PathBuf,
    /// Shared with the replica, which writes its socket there.
    pub(crate) run: PathBuf,
    /// The replica's copies of its secrets; it can only read them.
    pub(crate) secrets: PathBuf,
}

impl Files {
    /// Sees to it that `<state_dir>/replicas` is there and that nobody else can enter it.
    pub(crate) fn open(state_dir: &Path) -> Result<Self> {
        let root = state_dir.join("replicas");
        private_dir(&root)?;
        Ok(Self { root })
    }

    /// Where a replica's directories are.
    pub(crate) fn of(&self, replica: &str) -> ReplicaFiles {
        let layout = Layout::new(&self.root.join(replica));
        ReplicaFiles { run: layout.run(), secrets: layout.secrets(), dir: layout.dir }
    }

    /// Makes a replica's directories. Its user is unknown, so all may write to `run`; the
    /// directory around them keeps everybody else of this machine out. After a failure nothing of
    /// them is left.
    pub(crate) fn create(&self, replica: &str, secrets: &[(String, Vec<u8>)]) -> Result<()> {
        let files = self.of(replica);
        make_dir(&files.dir, 0o700)?;
        Self::fill(&files, secrets).inspect_err(|_| {
            let _the_next_start_removes_it = fs::remove_dir_all(&files.dir);
        })
    }

    fn fill(files: &ReplicaFiles, secrets: &[(String, Vec<u8>)]) -> Result<()> {
        make_dir(&files.run, 0o777)?;
        make_dir(&files.secrets, 0o755)?;
        for (name, value) in secrets {
            let path = files.secrets.join(name);
            let written = fs::write(&path, value)
                .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o444)));
            written.map_err(at(&path))?;
        }
        Ok(())
    }

    /// Removes what a run that ended badly left, so that nobody takes it for a sign of life.
    pub(crate) fn remove_socket(&self, replica: &str) -> Result<()> {
        let path = self.of(replica).run.join(SOCKET);
        absent_is_fine(fs::remove_file(&path)).map_err(at(&path))
    }

    /// Removes a replica's directories.
    pub(crate) fn remove(&self, replica: &str) -> Result<()> {
        let path = self.root.join(replica);
        absent_is_fine(fs::remove_dir_all(&path)).map_err(at(&path))
    }

    /// Removes the directories of replicas that are gone.
    pub(crate) fn retain(&self, replicas: &HashSet<String>) -> Result<()> {
        for entry in fs::read_dir(&self.root).map_err(at(&self.root))? {
            let name = entry.map_err(at(&self.root))?.file_name();
            let Some(replica) = name.to_str().filter(|name| !replicas.contains(*name)) else {
                continue;
            };
            tracing::info!(replica, "removing the directory of a replica that is gone");
            if let Err(error) = self.remove(replica) {
                tracing::warn!(replica, %error, "it cannot be removed; remove it by hand");
            }
        }
        Ok(())
    }
}

/// Makes a directory and those above it, for this user only.
pub(crate) fn private_dir(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o700))).map_err(at(path))
}

/// The mode is set in a second step, since the umask cuts the first.
fn make_dir(path: &Path, mode: u32) -> Result<()> {
    let made = DirBuilder::new().mode(0o700).create(path);
    made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode))).map_err(at(path))
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// An IO error with its path.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |error| disk(format!("{}: {error}", path.display()))
}

/// An error of the machine that keeps the state directory.
pub(crate) fn disk(reason: impl Into<String>) -> Error {
    Error::Backend { backend: "disk", reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_replica_can_write_its_run_directory_and_read_its_secrets_only() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        files.create("a.1", &[("key".to_owned(), b"v".to_vec())]).unwrap();
        let of = files.of("a.1");
        assert_eq!((mode(&of.run), mode(&of.secrets)), (0o777, 0o755));
        assert_eq!(mode(&of.secrets.join("key")), 0o444);
        assert_eq!(mode(&dir.path().join("replicas")), 0o700);
        files.remove("a.1").unwrap();
        files.remove("a.1").unwrap();
        assert_eq!(fs::read_dir(dir.path().join("replicas")).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_made_whole_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        let unwritable = [("no-such-folder/key".to_owned(), b"v".to_vec())];
        files.create("a.1", &unwritable).unwrap_err();
        assert_eq!(fs::read_dir(dir.path().join("replicas")).unwrap().count(), 0);
    }

    #[test]
    fn directories_of_replicas_that_are_gone_go() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        // Nobody's directory, and no reason to go no further.
        fs::write(dir.path().join("replicas/a.0"), "").unwrap();
        files.create("a.1", &[]).unwrap();
        files.create("a.2", &[]).unwrap();
        files.retain(&HashSet::from(["a.2".to_owned()])).unwrap();
        assert!(!files.of("a.1").run.exists());
        assert!(files.of("a.2").run.exists());
    }
}
