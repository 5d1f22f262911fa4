//! An archive on its way into the store.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::disk::{Temp, at};
use super::entries::bad;
use super::share::Base;
use super::store::{Store, UNPACKED_TEMP};
use super::{Digest, unpack::unpack};
use crate::Result;

/// The archive's name in a temporary folder.
const ARCHIVE: &str = "archive";

/// What became of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The bundle is new.
    Created,
    /// It was here already.
    Existed,
}

/// An archive on its way into the store. Dropped before [`Upload::finish`] it leaves nothing.
#[derive(Debug)]
pub struct Upload {
    store: Arc<Store>,
    digest: Digest,
    file: File,
    sha256: Sha256,
    received: u64,
    base: Option<Digest>,
    temp: Temp,
}

impl Upload {
    pub(super) fn new(store: Arc<Store>, digest: Digest) -> Result<Self> {
        let temp = store.temp()?;
        let path = temp.join(ARCHIVE);
        let file = File::create(&path).map_err(at(&path))?;
        Ok(Self { store, digest, file, sha256: Sha256::new(), received: 0, base: None, temp })
    }

    /// Shares files with this bundle, an earlier version of the same function, where they are the
    /// same. When it is not here, nothing is shared.
    #[must_use]
    pub fn based_on(self, base: Digest) -> Self {
        Self { base: Some(base), ..self }
    }

    /// Takes in the next bytes.
    ///
    /// # Errors
    /// When the archive is larger than it may be, or the disk is full.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let limit = self.store.limits().archive_bytes;
        self.received += bytes.len() as u64;
        if self.received > limit {
            return Err(bad(format!("is larger than {limit} bytes")));
        }
        self.sha256.update(bytes);
        self.file.write_all(bytes).map_err(at(&self.temp.join(ARCHIVE)))
    }

    /// Checks the digest, unpacks the archive, and makes it part of the store.
    ///
    /// # Errors
    /// When the digest is another, the archive is none or unsafe, or the disk is full.
    pub fn finish(self) -> Result<Put> {
        let digest = Digest::new(self.sha256.clone().finalize().into());
        if digest != self.digest {
            let wanted = self.digest;
            return Err(bad(format!("was announced as {wanted}, but what arrived is {digest}")));
        }
        let archive = self.temp.join(ARCHIVE);
        let (flushed, unpacked) = std::thread::scope(|scope| {
            let flushing = scope.spawn(|| self.file.sync_all());
            let unpacked = self.unpacked(&archive);
            let lost = |_| Err(std::io::Error::other("the thread that flushes it ended"));
            (flushing.join().unwrap_or_else(lost), unpacked)
        });
        let unpacked = unpacked?;
        flushed.map_err(at(&archive))?;
        self.store.place(digest, &archive, unpacked.as_deref())
    }

    /// The unpacked archive; `None` when it is in the store already, and was checked before.
    fn unpacked(&self, archive: &Path) -> Result<Option<PathBuf>> {
        if self.store.is_unpacked(self.digest) {
            return Ok(None);
        }
        prepare(&self.store, (archive, self.base), &self.temp).map(Some)
    }
}

/// Unpacks an archive in a temporary folder; returns what can be moved to its place.
pub(super) fn prepare(
    store: &Store,
    (archive, base): (&Path, Option<Digest>),
    temp: &Temp,
) -> Result<PathBuf> {
    let unpacked = temp.join(UNPACKED_TEMP);
    let tree = store.begin_unpacked(&unpacked)?;
    let file = File::open(archive).map_err(at(archive))?;
    let base = base.and_then(|base| Base::open(&store.tree(base)));
    unpack(file, (&tree, base), store.limits())?;
    Ok(unpacked)
}
