//! The state folder, and the one gateway that may use it.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Held by the gateway that uses the folder; holds its pid.
const LOCK_FILE: &str = "gateway.lock";
/// Holds the number of the form that the folder's content has.
const VERSION_FILE: &str = "version";
/// The form that this gateway writes, and the newest that it reads.
const VERSION: u32 = 1;

/// A folder that only this process uses, as long as this is not dropped.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: File,
}

/// A state folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another gateway uses it.
    #[error(
        "the state folder {} is in use by the gateway with pid {pid}; \
         give this one its own with --state-dir, or its place with --takeover", path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The other's process, as it wrote it down.
        pid: String,
    },
    /// A newer gateway used it.
    #[error(
        "the state folder {} has version {found}, and this gateway ({}) knows versions up to \
         {VERSION}: a newer one used it; run that one again, or give this one a folder of its own \
         with --state-dir", path.display(), env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// The folder.
        path: PathBuf,
        /// What is written there.
        found: String,
    },
}

impl StateDir {
    /// Makes the folder when it is missing, closes it to others, and takes hold of it. One that a
    /// newer gateway used is left as it is.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let io = |source| StateError::Io { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(io)?;
        let lock_path = path.join(LOCK_FILE);
        let io = |source| StateError::Io { path: lock_path.clone(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut lock = options.open(&lock_path).map_err(io)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            lock.read_to_string(&mut pid).map_err(io)?;
            return Err(StateError::InUse { path: path.to_owned(), pid: pid.trim().to_owned() });
        }
        take_version(path)?;
        let mut write = || {
            lock.set_len(0)?;
            lock.rewind()?;
            writeln!(lock, "{}", std::process::id())
        };
        write().map_err(io)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Whether this gateway can read what is in the folder, which another one may be using.
    ///
    /// # Errors
    /// When a newer gateway wrote it.
    pub fn check(path: &Path) -> Result<(), StateError> {
        read_version(path).map(|_| ())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Notes our version when the folder's is older or it has none.
fn take_version(dir: &Path) -> Result<(), StateError> {
    if read_version(dir)? == Some(VERSION) {
        return Ok(());
    }
    let path = dir.join(VERSION_FILE);
    let io = |source| StateError::Io { path: path.clone(), source };
    let temp = dir.join(format!("{VERSION_FILE}.new"));
    let write = || {
        let mut file = File::create(&temp)?;
        writeln!(file, "{VERSION}")?;
        file.sync_all()?;
        std::fs::rename(&temp, &path)
    };
    write().map_err(io)
}

/// The version that the folder has, if any. One that is newer than ours is an error.
fn read_version(dir: &Path) -> Result<Option<u32>, StateError> {
    let path = dir.join(VERSION_FILE);
    let found = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StateError::Io { path, source }),
    };
    match found.parse::<u32>() {
        Ok(version @ ..=VERSION) => Ok(Some(version)),
        // Empty is what a power cut may leave of a file.
        Err(_) if found.is_empty() => Ok(None),
        _ => Err(StateError::Newer { path: dir.to_owned(), found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_a_newer_gateway_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let version = dir.path().join(VERSION_FILE);
        drop(StateDir::open(dir.path()).unwrap());
        assert_eq!(std::fs::read_to_string(&version).unwrap(), "1\n");
        for old in ["0\n", "", "1"] {
            std::fs::write(&version, old).unwrap();
            drop(StateDir::open(dir.path()).unwrap());
        }
        for newer in ["2\n", "2.1", "99999999999999999999"] {
            std::fs::write(&version, newer).unwrap();
            let error = StateDir::open(dir.path()).unwrap_err().to_string();
            let wanted = format!("has version {}, and", newer.trim());
            for part in [&wanted, "up to 1", "--state-dir", env!("CARGO_PKG_VERSION")] {
                assert!(error.contains(part), "{error}");
            }
            assert_eq!(std::fs::read_to_string(&version).unwrap(), newer);
        }
    }

    #[test]
    fn a_second_gateway_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDir::open(dir.path()).unwrap();
        let error = StateDir::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {};", std::process::id())), "{error}");
        drop(first);
        StateDir::open(dir.path()).unwrap();
    }
}
