//! Archives for tests: right ones, and every kind of wrong one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::{CONFIG_FILE, Config, Digest, SCHEMA, Store};
use crate::Result;

/// The archive of a bundle, put together entry by entry.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    tar: Vec<u8>,
}

impl Archive {
    /// With a [`CONFIG_FILE`] that runs this process.
    pub fn running(fprocess: &str) -> Self {
        Self::default().config(&config(&[("fprocess", fprocess)]))
    }

    /// Adds a [`CONFIG_FILE`].
    pub fn config(self, config: &Config) -> Self {
        self.file(CONFIG_FILE, serde_json::to_string(config).unwrap_or_default())
    }

    /// Adds a file.
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.entry(path, (EntryType::Regular, 0o644), ("", content.as_ref()))
    }

    /// Adds a program.
    pub fn program(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.entry(path, (EntryType::Regular, 0o755), ("", content.as_ref()))
    }

    /// Adds a folder.
    pub fn folder(self, path: &str) -> Self {
        self.entry(path, (EntryType::Directory, 0o755), ("", b""))
    }

    /// Adds a symbolic link.
    pub fn link(self, path: &str, target: &str) -> Self {
        self.entry(path, (EntryType::Symlink, 0o777), (target, b""))
    }

    /// Adds any entry: its path, what it is and its mode, the link's target and the content.
    pub fn entry(
        self,
        path: impl AsRef<[u8]>,
        (kind, mode): (EntryType, u32),
        (target, content): (&str, &[u8]),
    ) -> Self {
        let mut header = Header::new_ustar();
        let old = header.as_old_mut();
        let (path, target) = (path.as_ref(), target.as_bytes());
        old.name[..path.len()].copy_from_slice(path);
        old.linkname[..target.len()].copy_from_slice(target);
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(1);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.raw(header.as_bytes()).raw(content)
    }

    /// Adds bytes, and zeros up to the end of a tar block.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.tar.extend_from_slice(bytes);
        self.tar.resize(self.tar.len().next_multiple_of(512), 0);
        self
    }

    /// The tar archive without its end.
    pub fn unfinished(self) -> Vec<u8> {
        self.tar
    }

    /// The tar archive, packed with zstd.
    pub fn build(self) -> Vec<u8> {
        let tar = self.raw(&[0; 1024]).tar;
        pack(&tar)
    }
}

/// A [`Config`] with this environment.
pub fn config(environment: &[(&str, &str)]) -> Config {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let environment: BTreeMap<String, String> = environment.iter().map(owned).collect();
    Config { schema: SCHEMA, environment, ..Config::default() }
}

/// Packs with zstd; memory does not fail.
pub fn pack(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap_or_default()
}

/// The digest of an archive.
pub fn digest(archive: &[u8]) -> Digest {
    Digest::new(Sha256::digest(archive).into())
}

/// Puts an archive into a store.
pub fn put(store: &Arc<Store>, archive: &[u8]) -> Result<Digest> {
    let digest = digest(archive);
    let mut upload = store.begin(digest)?;
    upload.write(archive)?;
    upload.finish().map(|_| digest)
}

/// A file system of 1 MiB, gone when this is dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts it; `None`, and a line that says so, when this user may not.
    pub fn mount(at: &Path) -> Option<Self> {
        let options = ["-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs"];
        let mounted = Command::new("mount").args(options).arg(at).output();
        let mounted = mounted.is_ok_and(|mounted| mounted.status.success());
        if !mounted {
            println!("SKIPPED: this user may not mount a small disk to fill");
        }
        mounted.then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            println!("{} stays mounted", self.0.display());
        }
    }
}

/// Every path below a folder, sorted, folders with a `/` at the end.
pub fn paths(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    walk(folder, "", &mut all);
    all.sort();
    all
}

fn walk(folder: &Path, prefix: &str, all: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => {
                walk(&entry.path(), &format!("{name}/"), all);
                all.push(name + "/");
            }
            false => all.push(name),
        }
    }
}
