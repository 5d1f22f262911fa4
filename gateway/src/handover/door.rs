//! Unix sockets in the state folder, where nobody gets but the gateway's user.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::BACK_DOOR_FILE;

/// Where a gateway that takes over is given the calls of the one that leaves, whatever ports it has
/// and whatever is spoken there. The newest of the gateways that follow one another listens there.
pub fn back_door(state_dir: &Path) -> PathBuf {
    state_dir.join(BACK_DOOR_FILE)
}

/// Listens there. Within a state folder that must be this gateway's.
///
/// # Errors
/// When the socket cannot be made.
pub fn open_door(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
