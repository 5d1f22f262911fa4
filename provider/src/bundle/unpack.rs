//! From an archive to a folder, whatever the archive tries.
//!
//! The folder is new and only ours, so nobody else changes it meanwhile. No path is ever followed
//! through a link: each folder on the way is opened by itself, without following.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, fchmod, fstat, linkat, mkdirat, openat, symlinkat,
};
use rustix::io::Errno;

use super::disk::at;
use super::entries::{Entries, Entry, Kind, bad, shown, unreadable};
use super::share::{Base, Begun};
use super::{CONFIG_FILE, Config, Limits};
use crate::{Error, Result};

/// Longest path, in bytes; with the folder before it that stays below the kernel's 4096.
const MAX_PATH: usize = 2048;
/// Longest name of one file or folder, in bytes: that of most file systems.
const MAX_NAME: usize = 255;
/// Most folders in folders.
const MAX_DEPTH: usize = 64;
/// Most memory that an archive may ask for to be unpacked, as a power of two of bytes: what the
/// `zstd` program grants by itself.
const WINDOW_LOG: u32 = 27;
/// Longest [`CONFIG_FILE`], in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// Unpacks an archive into an empty folder and reads how it is run.
///
/// Files become 0644 or 0755 and folders 0755, owned by this user. Those that `base`, an unpacked
/// bundle, has as well are shared with it.
pub(super) fn unpack(
    archive: impl Read,
    (folder, base): (&Path, Option<Base>),
    limits: &Limits,
) -> Result<Config> {
    let mut decoder = zstd::Decoder::new(archive).map_err(|error| unreadable(&error))?;
    decoder.window_log_max(WINDOW_LOG).map_err(|error| unreadable(&error))?;
    let mut decoder = decoder.single_frame();
    let bounded =
        Bounded { input: &mut decoder, left: limits.unpacked_bytes, limit: limits.unpacked_bytes };
    let mut entries = Entries::new(bounded, limits.files);
    let mut tree = Tree::open(folder, base, limits.files)?;
    while let Some(entry) = entries.next()? {
        tree.add(&entry, &mut entries)?;
    }
    let _ = entries.into_inner();
    let mut rest = [0; 1];
    if decoder.finish().read(&mut rest).map_err(|error| unreadable(&error))? != 0 {
        return Err(bad("has something after the end of its zstd frame"));
    }
    read_config(folder)
}

/// How the unpacked bundle is run.
pub(super) fn read_config(folder: &Path) -> Result<Config> {
    let path = folder.join(CONFIG_FILE);
    let metadata = match fs::symlink_metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if is_absent(&error) => {
            return Err(bad(format!("has no {CONFIG_FILE}, which says how it is run")));
        }
        Err(error) => return Err(at(&path)(error)),
    };
    if !metadata.is_file() || metadata.len() > MAX_CONFIG {
        return Err(bad(format!(
            "has a {CONFIG_FILE} that is no file of up to {MAX_CONFIG} bytes"
        )));
    }
    let text = fs::read(&path).map_err(at(&path))?;
    let config: Config = serde_json::from_slice(&text)
        .map_err(|error| bad(format!("has a {CONFIG_FILE} that cannot be read: {error}")))?;
    config.check()?;
    Ok(config)
}

/// A folder of that name that is none is as good as none.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A stream that fails when it is longer than it may be.
struct Bounded<R> {
    input: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => {
                let limit = self.limit;
                return Err(io::Error::other(bad(format!("unpacks to more than {limit} bytes"))));
            }
        }
        Ok(read)
    }
}

/// The folder that is filled.
struct Tree<'a> {
    path: &'a Path,
    root: OwnedFd,
    base: Option<Base>,
    /// The folder of the last entry: the next one is often in it, too.
    last: Option<(Vec<Vec<u8>>, OwnedFd)>,
    /// Folders that had an entry of their own.
    folders: HashSet<Vec<Vec<u8>>>,
    left: u64,
    limit: u64,
}

impl<'a> Tree<'a> {
    fn open(path: &'a Path, base: Option<Base>, limit: u64) -> Result<Self> {
        let root = openat(CWD, path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| at(path)(errno.into()))?;
        Ok(Self { path, root, base, last: None, folders: HashSet::new(), left: limit, limit })
    }

    fn add<R: Read>(&mut self, entry: &Entry, entries: &mut Entries<R>) -> Result<()> {
        let names = names(&entry.path)?;
        let Some((name, parents)) = names.split_last() else {
            return match entry.kind {
                Kind::Folder => Ok(()),
                _ => Err(bad(format!("{} is the name of its top folder", shown(&entry.path)))),
            };
        };
        if matches!(entry.kind, Kind::Folder) {
            if !self.folders.insert(names.clone()) {
                return Err(twice(&entry.path));
            }
            return self.folder(&names, &entry.path).map(|_| ());
        }
        if entry.path.ends_with(b"/") {
            return Err(bad(format!("{} ends with / but is no folder", shown(&entry.path))));
        }
        self.count()?;
        let parent = self.parent(parents, &entry.path)?;
        match &entry.kind {
            Kind::File { executable } => {
                let Some(begun) = self.share((&parent, parents, name), entry, entries)? else {
                    return Ok(());
                };
                let file = create(&parent, name).map_err(|errno| self.failed(errno, entry))?;
                begun.write_to(&file)?.map_err(at(self.path))?;
                entries.copy_to(&mut &file)?.map_err(at(self.path))?;
                let mtime = SystemTime::UNIX_EPOCH + Duration::from_secs(entry.mtime.into());
                finish(&file, *executable, mtime).map_err(at(self.path))
            }
            Kind::Symlink(target) => {
                check_target(target, parents.len(), &entry.path)?;
                symlinkat(target.as_slice(), &parent, name.as_slice())
                    .map_err(|errno| self.failed(errno, entry))
            }
            Kind::Hardlink(target) => self.hardlink(&parent, name, (target, entry)),
            Kind::Folder => Ok(()),
        }
    }

    /// Takes a file from the base; what was read of it when that has another one.
    fn share<R: Read>(
        &mut self,
        (folder, parents, name): (&OwnedFd, &[Vec<u8>], &[u8]),
        entry: &Entry,
        entries: &mut Entries<R>,
    ) -> Result<Option<Begun>> {
        let base = self.base.as_mut();
        match base.and_then(|base| base.alike((parents, name), entry, entries.left())) {
            Some(alike) => alike.share(folder, entries),
            None => Ok(Some(Begun::default())),
        }
    }

    fn count(&mut self) -> Result<()> {
        let many = || bad(format!("has more than {} files and folders", self.limit));
        self.left = self.left.checked_sub(1).ok_or_else(many)?;
        Ok(())
    }

    /// The folder with this path, made when it is missing; `path` is for messages.
    fn folder(&mut self, names: &[Vec<u8>], path: &[u8]) -> Result<OwnedFd> {
        let mut dir = self.root.try_clone().map_err(at(self.path))?;
        for name in names {
            match mkdirat(&dir, name.as_slice(), Mode::from_raw_mode(0o700)) {
                Ok(()) => {
                    self.count()?;
                    dir = open_dir(&dir, name).map_err(|errno| at(self.path)(errno.into()))?;
                    fchmod(&dir, Mode::from_raw_mode(0o755))
                        .map_err(|errno| at(self.path)(errno.into()))?;
                }
                Err(Errno::EXIST) => {
                    dir = open_dir(&dir, name).map_err(|_| {
                        let (path, name) = (shown(path), shown(name));
                        bad(format!(
                            "{path} goes through {name}, which is no folder but a file or link"
                        ))
                    })?;
                }
                Err(errno) => return Err(at(self.path)(errno.into())),
            }
        }
        Ok(dir)
    }

    /// The same, remembered for the entry after this one.
    fn parent(&mut self, names: &[Vec<u8>], path: &[u8]) -> Result<OwnedFd> {
        let dir = match &self.last {
            Some((last, dir)) if last == names => dir.try_clone().map_err(at(self.path))?,
            _ => self.folder(names, path)?,
        };
        if self.last.as_ref().is_none_or(|(last, _)| last != names) {
            self.last = Some((names.to_vec(), dir.try_clone().map_err(at(self.path))?));
        }
        Ok(dir)
    }

    /// Another name of a file that was unpacked before.
    fn hardlink(
        &self,
        parent: &OwnedFd,
        name: &[u8],
        (target, entry): (&[u8], &Entry),
    ) -> Result<()> {
        let link = format!("the link {} to {}", shown(&entry.path), shown(target));
        let names = names(target).map_err(|_| bad(format!("{link} leads out of the bundle")))?;
        let no_file = || bad(format!("{link} is to no file that comes before it"));
        let (last, folders) = names.split_last().ok_or_else(no_file)?;
        let mut dir = self.root.try_clone().map_err(at(self.path))?;
        for folder in folders {
            dir = open_dir(&dir, folder).map_err(|_| no_file())?;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&dir, last.as_slice(), flags, Mode::empty()).map_err(|_| no_file())?;
        let stat = fstat(&file).map_err(|errno| at(self.path)(errno.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(no_file());
        }
        linkat(&dir, last.as_slice(), parent, name, AtFlags::empty())
            .map_err(|errno| self.failed(errno, entry))
    }

    fn failed(&self, errno: Errno, entry: &Entry) -> Error {
        match errno {
            Errno::EXIST => twice(&entry.path),
            errno => at(self.path)(errno.into()),
        }
    }
}

fn twice(path: &[u8]) -> Error {
    bad(format!("{} is in it twice", shown(path)))
}

pub(super) fn open_dir(dir: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

/// A file that was not there before.
fn create(dir: &OwnedFd, name: &[u8]) -> Result<File, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::from_raw_mode(0o600)).map(File::from)
}

/// The time is kept because interpreters compare it to that of what they compiled.
fn finish(file: &File, executable: bool, mtime: SystemTime) -> io::Result<()> {
    let mode = if executable { 0o755 } else { 0o644 };
    file.set_permissions(Permissions::from_mode(mode))?;
    file.set_modified(mtime)
}

/// The names on the way from the top folder, each of them safe.
fn names(path: &[u8]) -> Result<Vec<Vec<u8>>> {
    let wrong = |what: &str| bad(format!("{} {what}", shown(&path[..path.len().min(MAX_NAME)])));
    if path.is_empty() || path.contains(&0) {
        return Err(wrong("is no path"));
    }
    if path.starts_with(b"/") {
        return Err(wrong("is an absolute path"));
    }
    if path.len() > MAX_PATH {
        return Err(wrong(&format!("... is longer than {MAX_PATH} bytes")));
    }
    let names: Vec<Vec<u8>> = path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .map(<[u8]>::to_vec)
        .collect();
    if names.iter().any(|name| name == b"..") {
        return Err(wrong("has .. in it"));
    }
    if names.iter().any(|name| name.len() > MAX_NAME) {
        return Err(wrong(&format!("has a name of more than {MAX_NAME} bytes in it")));
    }
    if names.len() > MAX_DEPTH {
        return Err(wrong(&format!("is more than {MAX_DEPTH} folders deep")));
    }
    Ok(names)
}

/// A link may go up only first, and no further than to the top. After a name, `..` could start
/// from wherever a link of that name leads, and so end outside.
fn check_target(target: &[u8], depth: usize, path: &[u8]) -> Result<()> {
    let out = |what: &str| {
        let shortened = &target[..target.len().min(MAX_NAME)];
        bad(format!("the link {} to {} {what}", shown(path), shown(shortened)))
    };
    if target.is_empty() || target.contains(&0) || target.len() > MAX_PATH {
        return Err(out("is to no path"));
    }
    if target.starts_with(b"/") {
        return Err(out("is to an absolute path, which leads out of the bundle"));
    }
    let names = || target.split(|byte| *byte == b'/').filter(|n| !n.is_empty() && *n != b".");
    let ups = names().take_while(|name| *name == b"..").count();
    if ups > depth {
        return Err(out("leads out of the bundle"));
    }
    if names().skip(ups).any(|name| name == b"..") {
        return Err(out("has .. after a name, which can lead out of the bundle"));
    }
    Ok(())
}
