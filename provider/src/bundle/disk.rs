//! Files of the store: errors with their path, temporary folders that do not stay.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The store's name in errors.
const BACKEND: &str = "bundle store";

/// An error of the store's own.
pub(super) fn refused(reason: impl Into<String>) -> Error {
    Error::Backend { backend: BACKEND, reason: reason.into() }
}

/// An IO error with its path, and what to do when the disk is full.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    move |error| match error.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => refused(format!(
            "no space left on the disk of {}: free some, or choose another with --state-dir \
             ({error})",
            path.display()
        )),
        _ => refused(format!("{}: {error}", path.display())),
    }
}

/// Makes a folder and those above it. The mode is set in a second step, since the umask cuts the
/// first.
pub(super) fn make_dir(path: &Path, mode: u32) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode))).map_err(at(path))
}

/// Makes the names in a folder outlive a power cut.
pub(super) fn sync_dir(path: &Path) -> Result<()> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(at(path))
}

/// Writes a file so that it is there whole or as it was before. Callers take turns.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let temp = path.with_extension("new");
    let written = File::create(&temp)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temp, path));
    if written.is_err() {
        let _ = fs::remove_file(&temp);
    }
    written.map_err(at(path))
}

/// No error when it is not there.
pub(super) fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A folder that is removed, with all in it, when this is dropped.
#[derive(Debug)]
pub(super) struct Temp(PathBuf);

impl Temp {
    /// Makes it.
    pub(super) fn new(path: PathBuf) -> Result<Self> {
        make_dir(&path, 0o700)?;
        Ok(Self(path))
    }

    /// What is called so in it.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if let Err(error) = absent_is_fine(fs::remove_dir_all(&self.0)) {
            let path = self.0.display();
            tracing::warn!(%path, %error, "a temporary folder of the bundle store stays");
        }
    }
}
