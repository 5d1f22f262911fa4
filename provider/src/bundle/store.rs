//! The bundles that a gateway keeps: archives, and the folders they unpack to.
//!
//! ```text
//! <state>/bundles/archives/<hex>.tar.zst
//!                 unpacked/<hex>/tree/    what functions run in
//!                 unpacked/<hex>/boot     when it was unpacked
//!                 temp/                   what is not finished; emptied at the start
//!                 versions.json           which bundles a name had last
//! ```
//!
//! The archive is what counts, and is on the disk before it gets its name. Its folder can always
//! be made again, so it is not flushed to the disk: after a power cut it is made again instead.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::disk::{Temp, absent_is_fine, at, make_dir, refused, sync_dir};
use super::unpack::read_config;
use super::upload::{Put, Upload, prepare};
use super::users::{GRACE, Users};
use super::{Config, Digest};
use crate::{Error, Result};

/// Ends an archive's file name.
const ARCHIVE_SUFFIX: &str = ".tar.zst";
/// The unpacked bundle, in its folder of the store.
const TREE: &str = "tree";
/// Tells when it was unpacked, next to it.
const BOOT: &str = "boot";
/// Where an archive is unpacked to, in a temporary folder.
pub(super) const UNPACKED_TEMP: &str = "unpacked";
/// Changes when the machine starts.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The most that a bundle may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of an archive.
    pub archive_bytes: u64,
    /// Bytes of the tar stream in it: files and their headers.
    pub unpacked_bytes: u64,
    /// Files, links and folders in it.
    pub files: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { archive_bytes: 512 << 20, unpacked_bytes: 2 << 30, files: 100_000 }
    }
}

/// One bundle of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The archive's digest.
    pub digest: Digest,
    /// Bytes of the archive.
    pub size: u64,
    /// When it was put here last.
    pub created_at: Timestamp,
    /// The functions that it is or was a version of.
    pub names: Vec<String>,
}

/// The bundles of one state directory. Every method may wait for the disk.
pub struct Store {
    root: PathBuf,
    limits: Limits,
    boot: String,
    users: Mutex<Users>,
    temps: AtomicU64,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens `<state_dir>/bundles`, which only this process may use, and removes what an earlier
    /// one did not finish.
    pub fn open(state_dir: &Path, limits: Limits) -> Result<Arc<Self>> {
        let root = state_dir.join("bundles");
        make_dir(&root, 0o755)?;
        make_dir(&root.join("archives"), 0o700)?;
        make_dir(&root.join("unpacked"), 0o755)?;
        let temp = root.join("temp");
        absent_is_fine(fs::remove_dir_all(&temp)).map_err(at(&temp))?;
        make_dir(&temp, 0o700)?;
        let users = Mutex::new(Users::open(root.join("versions.json"))?);
        let boot = fs::read_to_string(BOOT_ID).unwrap_or_default();
        let store = Self { root, limits, boot, users, temps: AtomicU64::new(0) };
        store.repair()?;
        Ok(Arc::new(store))
    }

    /// The most that a bundle may be.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Begins to take in an archive.
    pub fn begin(self: &Arc<Self>, digest: Digest) -> Result<Upload> {
        Upload::new(self.clone(), digest)
    }

    /// Whether the bundle is here. Whoever asks has an hour to use it before it is collected.
    pub fn contains(&self, digest: Digest) -> Result<bool> {
        let mut users = self.users();
        let there = self.has_archive(digest)?;
        if there {
            users.asked(digest);
        }
        Ok(there)
    }

    /// The folder of the unpacked bundle; it is unpacked when it is not yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] of the field `image` when the bundle is not here.
    pub fn folder(&self, digest: Digest) -> Result<PathBuf> {
        if !self.contains(digest)? {
            return Err(missing(digest));
        }
        if !self.is_unpacked(digest) {
            self.unpack_again(digest)?;
        }
        Ok(self.tree(digest))
    }

    /// How the bundle is run.
    ///
    /// # Errors
    /// As for [`Store::folder`].
    pub fn config(&self, digest: Digest) -> Result<Config> {
        read_config(&self.folder(digest)?)
    }

    /// The archive and its size in bytes; `None` when the bundle is not here.
    pub fn archive(&self, digest: Digest) -> Result<Option<(File, u64)>> {
        if !self.contains(digest)? {
            return Ok(None);
        }
        let path = self.archive_path(digest);
        let opened = File::open(&path).and_then(|file| {
            let size = file.metadata()?.len();
            Ok((file, size))
        });
        match opened {
            Ok(opened) => Ok(Some(opened)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path)(error)),
        }
    }

    /// All bundles, by digest.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let users = self.users();
        let mut all = Vec::new();
        for digest in self.archives()? {
            let (size, created_at) = self.archive_seen(digest)?;
            all.push(Entry { digest, size, created_at, names: users.names(digest) });
        }
        all.sort_by_key(|entry| entry.digest);
        Ok(all)
    }

    /// Removes a bundle.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not here, [`Error::Conflict`] when it is used, by whom.
    pub fn remove(&self, digest: Digest) -> Result<()> {
        let temp = self.temp()?;
        let mut users = self.users();
        if !self.has_archive(digest)? {
            return Err(Error::NotFound(format!("bundle {digest}")));
        }
        let holders = users.holders(digest);
        if !holders.is_empty() {
            let holders = holders.join(", ");
            return Err(Error::Conflict(format!(
                "bundle {digest} is used by {holders}; remove or update that first"
            )));
        }
        self.take_out(digest, &temp)?;
        users.forget(digest);
        Ok(())
    }

    /// Notes that `user`, a replica, uses the bundle from now on, and that the bundle is the newest
    /// version of the function `name`. A user has one bundle at a time.
    ///
    /// # Errors
    /// As for [`Store::folder`]; once this is done, the bundle stays.
    pub fn hold(&self, user: &str, digest: Digest, name: &str) -> Result<()> {
        let mut users = self.users();
        if !self.has_archive(digest)? {
            return Err(missing(digest));
        }
        users.hold(user, digest, name);
        Ok(())
    }

    /// Notes that `user` uses no bundle any more.
    pub fn release(&self, user: &str) {
        self.users().release(user);
    }

    /// Removes the bundles that nobody uses, and returns them. It keeps the last three versions of
    /// each name that anybody uses, and those that were put or asked for within an hour.
    ///
    /// Only for when everybody who uses a bundle has said so.
    pub fn collect(&self) -> Result<Vec<Digest>> {
        let temp = self.temp()?;
        let mut users = self.users();
        let kept = users.kept();
        let mut removed = Vec::new();
        for digest in self.archives()? {
            let (_, created_at) = self.archive_seen(digest)?;
            // A clock that was set back makes a bundle younger, not older.
            let young =
                Timestamp::now().duration_since(created_at).as_secs() < GRACE.as_secs() as i64;
            if young || kept.contains(&digest) || users.was_asked_lately(digest) {
                continue;
            }
            self.take_out(digest, &temp)?;
            users.forget(digest);
            removed.push(digest);
        }
        Ok(removed)
    }

    /// A new folder for what is not finished yet.
    pub(super) fn temp(&self) -> Result<Temp> {
        let number = self.temps.fetch_add(1, Relaxed);
        Temp::new(self.root.join("temp").join(number.to_string()))
    }

    /// Whether the bundle's folder is there.
    pub(crate) fn is_unpacked(&self, digest: Digest) -> bool {
        self.tree(digest).is_dir()
    }

    /// Where the bundle is unpacked, when it is.
    pub(super) fn tree(&self, digest: Digest) -> PathBuf {
        self.unpacked(digest).join(TREE)
    }

    /// Prepares a folder to be unpacked into; returns where.
    pub(super) fn begin_unpacked(&self, path: &Path) -> Result<PathBuf> {
        let tree = path.join(TREE);
        make_dir(path, 0o755)?;
        make_dir(&tree, 0o755)?;
        let boot = path.join(BOOT);
        fs::write(&boot, &self.boot).map_err(at(&boot))?;
        Ok(tree)
    }

    /// Gives a finished archive, and its folder if there is none yet, their names.
    pub(super) fn place(
        &self,
        digest: Digest,
        archive: &Path,
        unpacked: Option<&Path>,
    ) -> Result<Put> {
        let users = self.users();
        let put = if self.has_archive(digest)? { Put::Existed } else { Put::Created };
        let path = self.archive_path(digest);
        fs::rename(archive, &path).map_err(at(&path))?;
        sync_dir(&self.root.join("archives"))?;
        let placed = unpacked.map_or(Ok(()), |unpacked| self.place_folder(digest, unpacked));
        drop(users);
        placed.map(|()| put)
    }

    fn place_folder(&self, digest: Digest, unpacked: &Path) -> Result<()> {
        let path = self.unpacked(digest);
        if self.is_unpacked(digest) {
            return Ok(());
        }
        fs::rename(unpacked, &path).map_err(at(&path))
    }

    /// Unpacks an archive that lost its folder. One that was damaged meanwhile is removed.
    fn unpack_again(&self, digest: Digest) -> Result<()> {
        let temp = self.temp()?;
        let Some((mut file, _)) = self.archive(digest)? else { return Err(missing(digest)) };
        let path = self.archive_path(digest);
        if digest_of(&mut file).map_err(at(&path))? != digest {
            tracing::error!(path = %path.display(), "a damaged bundle is removed");
            let _users = self.users();
            self.take_out(digest, &temp)?;
            return Err(Error::invalid(
                "image",
                format!(
                    "bundle {digest} was damaged on the gateway's disk; `faas up` sends it again"
                ),
            ));
        }
        let unpacked = prepare(self, (&path, None), &temp)?;
        let _users = self.users();
        if !self.has_archive(digest)? {
            return Err(missing(digest));
        }
        self.place_folder(digest, &unpacked)
    }

    /// Takes a bundle out of the store. The folder goes first: one without its archive is what
    /// nobody expects.
    fn take_out(&self, digest: Digest, temp: &Temp) -> Result<()> {
        let (from, to) = (self.unpacked(digest), temp.join(&digest.hex()));
        absent_is_fine(fs::rename(&from, to)).map_err(at(&from))?;
        let archive = self.archive_path(digest);
        absent_is_fine(fs::remove_file(&archive)).map_err(at(&archive))
    }

    /// Removes folders that may not be whole: those of before the machine's last start, and those
    /// whose archive is gone.
    fn repair(&self) -> Result<()> {
        let temp = self.temp()?;
        let unpacked = self.root.join("unpacked");
        for entry in fs::read_dir(&unpacked).map_err(at(&unpacked))? {
            let name = entry.map_err(at(&unpacked))?.file_name();
            let path = unpacked.join(&name);
            let boot = fs::read_to_string(path.join(BOOT)).unwrap_or_default();
            let digest = name.to_str().and_then(from_hex);
            let has_archive = digest.map_or(Ok(false), |digest| self.has_archive(digest))?;
            if boot == self.boot && has_archive && path.join(TREE).is_dir() {
                continue;
            }
            fs::rename(&path, temp.join(&name.to_string_lossy())).map_err(at(&path))?;
        }
        Ok(())
    }

    fn has_archive(&self, digest: Digest) -> Result<bool> {
        let path = self.archive_path(digest);
        path.try_exists().map_err(at(&path))
    }

    /// Size and time of an archive.
    fn archive_seen(&self, digest: Digest) -> Result<(u64, Timestamp)> {
        let path = self.archive_path(digest);
        let metadata = fs::metadata(&path).map_err(at(&path))?;
        let modified = metadata.modified().map_err(at(&path))?;
        let modified = Timestamp::try_from(modified).map_err(|error| refused(error.to_string()))?;
        Ok((metadata.len(), modified))
    }

    /// The digests of all archives.
    fn archives(&self) -> Result<Vec<Digest>> {
        let dir = self.root.join("archives");
        let mut all = Vec::new();
        for entry in fs::read_dir(&dir).map_err(at(&dir))? {
            let name = entry.map_err(at(&dir))?.file_name();
            all.extend(
                name.to_str().and_then(|n| n.strip_suffix(ARCHIVE_SUFFIX)).and_then(from_hex),
            );
        }
        Ok(all)
    }

    fn archive_path(&self, digest: Digest) -> PathBuf {
        self.root.join("archives").join(digest.hex() + ARCHIVE_SUFFIX)
    }

    fn unpacked(&self, digest: Digest) -> PathBuf {
        self.root.join("unpacked").join(digest.hex())
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest_of(file: &mut File) -> io::Result<Digest> {
    let (mut sha256, mut buffer) = (Sha256::new(), vec![0; 256 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::new(sha256.finalize().into())),
            len => sha256.update(&buffer[..len]),
        }
    }
}

fn from_hex(hex: &str) -> Option<Digest> {
    format!("sha256:{hex}").parse().ok()
}

fn missing(digest: Digest) -> Error {
    Error::invalid(
        "image",
        format!("the gateway has no bundle {digest}; `faas up` builds and sends it"),
    )
}
