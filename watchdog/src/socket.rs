//! The unix socket that says by its existence that the function is ready.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// A socket that others can see. It disappears when this is dropped.
#[derive(Debug)]
pub struct Published(PathBuf);

/// Makes a socket at `path`, which takes the place of a stale one. It appears there only when
/// it accepts connections, since whoever watches the directory connects at once.
///
/// # Errors
/// When the directory is missing or cannot be written.
pub fn publish(path: &Path) -> io::Result<(UnixListener, Published)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".new");
    // Through the descriptor, because an address has room for 107 bytes only.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir_fd = rustix::fs::open(dir, flags, Mode::empty())?;
    let hidden = PathBuf::from(format!("/proc/self/fd/{}", dir_fd.as_raw_fd())).join(hidden);
    match fs::remove_file(&hidden) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => (),
    }
    let listener = UnixListener::bind(&hidden)?;
    // The gateway runs as another user.
    fs::set_permissions(&hidden, Permissions::from_mode(0o666))?;
    fs::rename(&hidden, path)?;
    Ok((listener, Published(path.to_owned())))
}

impl Drop for Published {
    fn drop(&mut self) {
        // Somebody may have removed it before.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileTypeExt;

    #[test]
    fn it_takes_the_place_of_a_stale_one_and_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let long = dir.path().join("d".repeat(120));
        fs::create_dir(&long).expect("writable");
        let path = long.join("fn.sock");
        fs::write(&path, "stale").expect("writable");
        let (_listener, published) = publish(&path).expect("a socket");
        let found = fs::metadata(&path).expect("there");
        assert!(found.file_type().is_socket());
        assert_eq!(found.permissions().mode() & 0o777, 0o666);
        drop(published);
        assert_eq!(fs::read_dir(&long).expect("readable").count(), 0);
    }

    #[test]
    fn a_missing_directory_is_told() {
        assert!(publish(Path::new("/nowhere/fn.sock")).is_err());
    }
}
