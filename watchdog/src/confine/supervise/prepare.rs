//! Before there is a sandbox: one confiner a folder, and the folder as a replica needs it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use provider::confine::{Layout, Spec};
use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid, chownat};
use rustix::process::{set_child_subreaper, setsid, umask};

use crate::confine::failure::{Doing, Failure, Result};
use crate::confine::sandbox::root;
use crate::confine::{files, spec as specs, stage};

/// Makes this process the confiner of a folder, as long as the lock is kept.
pub(super) fn take(folder: &Path) -> Result<(Layout, File)> {
    close_strays();
    umask(Mode::from_raw_mode(0o077));
    let shown = folder.display();
    let folder = fs::canonicalize(folder).doing(format_args!("replica folder {shown}"))?;
    let layout = Layout::new(&folder);
    let mut lock = lock(&layout)?;
    // Who leads a group of processes already is far enough from our parent.
    let _ = setsid();
    stage::empty_stdin().doing("cannot open /dev/null")?;
    set_child_subreaper(Some(rustix::process::getpid())).doing("cannot take in orphans")?;
    for path in [layout.exit(), layout.report(), layout.socket()] {
        files::remove(&path)?;
    }
    // Last, so that who sees this process sees nothing of the one before.
    let path = layout.lock();
    lock.set_len(0)
        .and_then(|()| lock.write_all(std::process::id().to_string().as_bytes()))
        .doing(format_args!("cannot write {}", path.display()))?;
    Ok((layout, lock))
}

/// Closes files that whoever started us has left open: what they are is not for functions.
fn close_strays() {
    let Ok(open) = fs::read_dir("/proc/self/fd") else { return };
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    // One of them is the list itself, which is closed by then.
    for number in numbers.collect::<Vec<_>>().into_iter().filter(|number| *number > 2) {
        let _ = nix::unistd::close(number);
    }
}

fn lock(layout: &Layout) -> Result<File> {
    let path = layout.lock();
    let mut options = OpenOptions::new();
    let lock = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .doing(format_args!("cannot open {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => (),
        Err(TryLockError::WouldBlock) => {
            let pid = fs::read_to_string(&path).unwrap_or_default();
            return Err(Failure(format!(
                "{} is held: this replica runs already, confined by process {}; end that one first",
                path.display(),
                pid.trim()
            )));
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).doing(format_args!("cannot lock {}", path.display()));
        }
    }
    Ok(lock)
}

/// Reads the spec, and makes the folders that the replica shall find.
pub(super) fn spec(layout: &Layout) -> Result<Spec> {
    let spec = specs::read(layout)?;
    for path in [layout.run(), layout.tmp(), layout.secrets(), root::folder(layout)] {
        make_dir(&path)?;
    }
    if let Some(user) = spec.user {
        hand_over(layout, user)?;
    }
    Ok(spec)
}

fn make_dir(path: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).doing(format_args!("cannot make {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Gives what is the replica's to the user that it runs as.
fn hand_over(layout: &Layout, user: u32) -> Result<()> {
    let secrets = layout.secrets();
    let listed = fs::read_dir(&secrets).doing(format_args!("cannot list {}", secrets.display()))?;
    let mut paths = vec![layout.run(), layout.tmp(), secrets];
    paths.extend(listed.filter_map(|entry| Some(entry.ok()?.path())));
    for path in paths {
        let owner = (Some(Uid::from_raw(user)), Some(Gid::from_raw(user)));
        chownat(CWD, &path, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).doing(format_args!(
            "cannot give {} to user {user}; run the gateway as root, or without a user for functions",
            path.display()
        ))?;
    }
    Ok(())
}
