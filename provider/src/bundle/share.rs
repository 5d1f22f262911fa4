//! Files that a bundle has in common with an earlier one.
//!
//! Making a file costs far more than giving one another name. So files that an earlier version of
//! the function has, too, become names of the same file: those whose kind, mode, owner, time, size
//! and every byte are the same. Nobody writes into an unpacked bundle, neither this store nor the
//! replicas, to whom it is read-only; so what happens to one of the bundles happens to no other.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, linkat, openat, statat, unlinkat,
};
use rustix::process::geteuid;

use super::disk::refused;
use super::entries::{Entries, Entry, Kind};
use super::unpack::open_dir;
use crate::Result;

/// The unpacked bundle that files are shared with.
pub(super) struct Base {
    root: OwnedFd,
    /// The folder of the last file: the next one is often in it, too.
    last: Option<(Vec<Vec<u8>>, OwnedFd)>,
}

/// A file of the base that looks like the wanted one.
pub(super) struct Alike {
    dir: OwnedFd,
    name: Vec<u8>,
    file: File,
    stat: Stat,
}

/// What was read of a file that cannot be shared.
#[derive(Default)]
pub(super) struct Begun {
    /// A file with the same beginning, and how many bytes long that is.
    same: Option<(File, u64)>,
    /// What follows.
    rest: Vec<u8>,
}

impl Base {
    /// Opens an unpacked bundle; `None` when it is not there.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = openat(CWD, path, flags, Mode::empty()).ok()?;
        Some(Self { root, last: None })
    }

    /// The file at the entry's path that may be the same; all but its content is.
    pub(super) fn alike(
        &mut self,
        (parents, name): (&[Vec<u8>], &[u8]),
        entry: &Entry,
        size: u64,
    ) -> Option<Alike> {
        let Kind::File { executable } = entry.kind else { return None };
        let dir = self.folder(parents)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(&dir, name, flags, Mode::empty()).ok()?);
        let stat = fstat(&file).ok()?;
        let wanted = FileType::RegularFile.as_raw_mode() | if executable { 0o755 } else { 0o644 };
        let same = stat.st_mode == wanted
            && stat.st_uid == geteuid().as_raw()
            && u64::try_from(stat.st_size) == Ok(size)
            && (stat.st_mtime, stat.st_mtime_nsec) == (entry.mtime.into(), 0);
        same.then(|| Alike { dir, name: name.to_vec(), file, stat })
    }

    fn folder(&mut self, names: &[Vec<u8>]) -> Option<OwnedFd> {
        if self.last.as_ref().is_none_or(|(last, _)| last != names) {
            let mut dir = self.root.try_clone().ok()?;
            for name in names {
                dir = open_dir(&dir, name).ok()?;
            }
            self.last = Some((names.to_vec(), dir));
        }
        self.last.as_ref().and_then(|(_, dir)| dir.try_clone().ok())
    }
}

impl Alike {
    /// Compares the content with what comes from the archive, and if it is the same makes the file
    /// one of `folder`; else returns what was read.
    pub(super) fn share<R: Read>(
        mut self,
        folder: &OwnedFd,
        entries: &mut Entries<R>,
    ) -> Result<Option<Begun>> {
        let (mut buffer, mut own) = (Vec::new(), Vec::new());
        let mut len = 0;
        loop {
            let piece = entries.piece(&mut buffer)?;
            own.resize(piece.len(), 0);
            let differs = self.file.read_exact(&mut own).is_err() || own != piece;
            if !differs && !piece.is_empty() {
                len += piece.len() as u64;
                continue;
            }
            if !differs && self.link(folder) {
                return Ok(None);
            }
            let rest = piece.to_vec();
            return Ok(Some(Begun { same: Some((self.file, len)), rest }));
        }
    }

    /// Gives the file that was compared a name in the folder, and no other that took its place.
    fn link(&self, folder: &OwnedFd) -> bool {
        let name = self.name.as_slice();
        if linkat(&self.dir, name, folder, name, AtFlags::empty()).is_err() {
            return false;
        }
        let here = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
        let id = |stat: &Stat| (stat.st_dev, stat.st_ino);
        if here.is_ok_and(|here| id(&here) == id(&self.stat)) {
            return true;
        }
        // A name that stays is an error when the file is made.
        let _ = unlinkat(folder, name, AtFlags::empty());
        false
    }
}

impl Begun {
    /// Writes it to the file that is made instead. The outer error is the store's, the inner one
    /// that of writing.
    pub(super) fn write_to(self, mut out: &File) -> Result<io::Result<()>> {
        if let Some((mut same, len)) = self.same {
            let copied = same.rewind().and_then(|()| io::copy(&mut same.take(len), &mut out));
            match copied {
                Ok(copied) if copied < len => {
                    return Err(refused("a file became shorter while it was read"));
                }
                Ok(_) => {}
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(out.write_all(&self.rest))
    }
}
