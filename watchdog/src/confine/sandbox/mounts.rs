//! Mounting things below a new root directory, and making most of it read-only.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount_bind_recursive, mount_remount};

use crate::confine::failure::{Doing, Result};

/// A line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::confine) struct Mount {
    /// What of the file system is shown.
    pub(in crate::confine) root: PathBuf,
    /// Where.
    pub(in crate::confine) point: PathBuf,
    /// How it may be used, such as `rw,nosuid`.
    pub(in crate::confine) options: String,
    /// The kind of file system.
    pub(in crate::confine) kind: String,
    /// The file system's own options.
    pub(in crate::confine) super_options: String,
}

/// Reads the format of `/proc/self/mountinfo`; see proc(5). Lines that do not have it are left out.
pub(in crate::confine) fn parse_mounts(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_mount).collect()
}

fn parse_mount(line: &str) -> Option<Mount> {
    let (here, there) = line.split_once(" - ")?;
    let mut here = here.split(' ').skip(3);
    let mut there = there.split(' ');
    Some(Mount {
        root: unescape(here.next()?),
        point: unescape(here.next()?),
        options: here.next()?.to_owned(),
        kind: there.next()?.to_owned(),
        super_options: there.nth(1)?.to_owned(),
    })
}

/// Space, tab, newline and backslash are written as `\040` and the like.
fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 4).and_then(|digits| str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (bytes[at], code) {
            (b'\\', Some(code)) => {
                plain.push(code);
                at += 4;
            }
            (byte, _) => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    OsString::from_vec(plain).into()
}

/// A root directory that is being put together at some folder.
#[derive(Debug)]
pub(super) struct NewRoot(pub(super) PathBuf);

impl NewRoot {
    /// Where a path of the sandbox is for now.
    pub(super) fn at(&self, path: &Path) -> PathBuf {
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Makes a folder and those above it.
    pub(super) fn make_dir(&self, path: &Path) -> Result<()> {
        let at = self.at(path);
        fs::create_dir_all(&at).doing(format_args!("cannot make {}", path.display()))
    }

    /// Writes a file.
    pub(super) fn write(&self, path: &str, text: &str) -> Result<()> {
        fs::write(self.at(Path::new(path)), text).doing(format_args!("cannot write {path}"))
    }

    /// Makes a link.
    pub(super) fn link(&self, path: &str, to: &Path) -> Result<()> {
        std::os::unix::fs::symlink(to, self.at(Path::new(path)))
            .doing(format_args!("cannot link {path}"))
    }

    /// Shows `source` at `path`, with all that is mounted below it: in a user namespace one cannot
    /// have the one without the other.
    pub(super) fn bind(&self, source: &Path, path: &Path) -> Result<()> {
        let at = self.at(path);
        let bind = || -> io::Result<()> {
            if fs::metadata(source)?.is_dir() {
                fs::create_dir_all(&at)?;
            } else {
                at.parent().map_or(Ok(()), fs::create_dir_all)?;
                fs::File::create_new(&at)?;
            }
            Ok(mount_bind_recursive(source, &at)?)
        };
        bind().doing(format_args!("cannot show {} as {}", source.display(), path.display()))
    }

    /// Shows what is at the same path of the machine, if there is such a thing. A link stays one
    /// when `keep_link` says so.
    pub(super) fn same(&self, path: &str, keep_link: bool) -> Result<()> {
        let source = Path::new(path);
        let Ok(data) = fs::symlink_metadata(source) else { return Ok(()) };
        if data.is_symlink() && keep_link {
            let to = fs::read_link(source).doing(format_args!("cannot read the link {path}"))?;
            if let Some(parent) = source.parent() {
                self.make_dir(parent)?;
            }
            return self.link(path, &to);
        }
        // A link may lead nowhere, and a file may be gone by now.
        if source.exists() { self.bind(source, source) } else { Ok(()) }
    }

    /// Takes set-user-id, devices and writing away from all mounts, but for those `writable` (with
    /// what is below), and devices from those that are not `devices`.
    pub(super) fn seal(&self, writable: &[&str], devices: &[&str]) -> Result<()> {
        let text = fs::read_to_string("/proc/self/mountinfo").doing("cannot list mounts")?;
        let mounts = parse_mounts(&text);
        for mount in mounts.iter().filter(|mount| mount.point.starts_with(&self.0)) {
            let below = mount.point.strip_prefix(&self.0).unwrap_or(Path::new(""));
            let path = Path::new("/").join(below);
            let may = |list: &[&str]| list.iter().any(|top| path.starts_with(top));
            let mut flags = kept(&mount.options) | MountFlags::BIND | MountFlags::NOSUID;
            flags.set(MountFlags::RDONLY, flags.contains(MountFlags::RDONLY) || !may(writable));
            flags.set(MountFlags::NODEV, flags.contains(MountFlags::NODEV) || !may(devices));
            mount_remount(&mount.point, flags, "")
                .doing(format_args!("cannot make {} safe", path.display()))?;
        }
        Ok(())
    }
}

/// The flags that a mount has: in a user namespace they may not be taken off.
fn kept(options: &str) -> MountFlags {
    let flag = |option: &str| match option {
        "ro" => MountFlags::RDONLY,
        "nosuid" => MountFlags::NOSUID,
        "nodev" => MountFlags::NODEV,
        "noexec" => MountFlags::NOEXEC,
        _ => MountFlags::empty(),
    };
    options.split(',').map(flag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read() {
        let text = "36 35 98:0 /mnt1 /a\\040b\\134 rw,noatime master:1 - ext3 /dev/root rw,x=y\n\
                    not a mount\n\
                    14 35 0:32 / /cg rw - cgroup cgroup rw,memory\n";
        let mounts = parse_mounts(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].root, Path::new("/mnt1"));
        assert_eq!(mounts[0].point, Path::new("/a b\\"));
        assert_eq!((mounts[0].options.as_str(), mounts[0].kind.as_str()), ("rw,noatime", "ext3"));
        assert_eq!(mounts[1].super_options, "rw,memory");
        assert_eq!(unescape("a\\0"), Path::new("a\\0"));
    }

    #[test]
    fn flags_are_kept() {
        let flags = kept("ro,nosuid,relatime,noexec");
        assert_eq!(flags, MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NOEXEC);
        assert_eq!(kept("rw"), MountFlags::empty());
    }
}
