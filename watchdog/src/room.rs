//! Room for the function's server: the socket or port that it is to listen on, chosen where the
//! configuration leaves that open, cleared of what an earlier run left, and told to the server.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use relay::Target;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::time::timeout;

use crate::upstream::{Place, TRY, Upstream};

/// Longest path that a unix socket can be bound to, in bytes.
const MAX_SOCKET_PATH: usize = 107;

/// The place where the function's server is to listen. A socket that was chosen here is removed
/// when this is dropped.
#[derive(Debug, Default)]
pub struct Room {
    /// What the server is told, on top of our own environment.
    variables: Vec<(OsString, OsString)>,
    socket: Option<PathBuf>,
    /// Bound to the chosen port and never listening, so that nobody else is given that port. Servers
    /// set `SO_REUSEADDR`, as this does, and with it can bind it all the same.
    _port: Option<OwnedFd>,
}

impl Room {
    /// Makes room at `upstream`, and puts in what it leaves open.
    ///
    /// # Errors
    /// When nothing can be chosen, or something else is in the way.
    pub async fn make(upstream: &mut Upstream, tmp_dir: &Path) -> io::Result<Self> {
        let mut room = Self::default();
        match &mut upstream.place {
            Place::Unix(path) if path.as_os_str().is_empty() => {
                *path = chosen_socket(tmp_dir)?;
                remove_socket(path)?;
                room.socket = Some(path.clone());
            }
            Place::Unix(path) => clear(path).await?,
            Place::Tcp { host, port } if *port == 0 => {
                let (chosen, reserved) = free_port(host)?;
                *port = chosen;
                room._port = Some(reserved);
                for name in ["PORT", "http_port"] {
                    room.variables.push((name.into(), chosen.to_string().into()));
                }
            }
            Place::Tcp { .. } => (),
        }
        // In one form, whatever the form that was read, so that servers need to know only one.
        room.variables.push(("upstream_url".into(), upstream.to_string().into()));
        Ok(room)
    }

    /// What the server is to find in its environment.
    pub fn variables(&self) -> Vec<(OsString, OsString)> {
        self.variables.clone()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(path) = &self.socket {
            // The server may have removed it itself.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn chosen_socket(tmp_dir: &Path) -> io::Result<PathBuf> {
    let name = format!("upstream-{}.sock", std::process::id());
    let path = std::path::absolute(tmp_dir)?.join(name);
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        let reason = format!("is longer than {MAX_SOCKET_PATH} bytes: set TMPDIR to a shorter one");
        return Err(io::Error::other(format!("{} {reason}", path.display())));
    }
    Ok(path)
}

/// Removes a socket that nobody listens on any more: no server could bind it again.
async fn clear(path: &Path) -> io::Result<()> {
    match timeout(TRY, Target::unix(path).probe()).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => remove_socket(path),
        // Whatever it is, the server's own attempt to bind it tells it best.
        _ => Ok(()),
    }
}

fn remove_socket(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if found.file_type().is_socket() => (),
        Ok(_) => {
            let reason = format!("{} is in the way and is no socket", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
        }
    }
    std::fs::remove_file(path)
}

fn free_port(host: &str) -> io::Result<(u16, OwnedFd)> {
    let address = match host.parse::<IpAddr>() {
        Ok(ip) => ip,
        Err(_) if host.eq_ignore_ascii_case("localhost") => Ipv4Addr::LOCALHOST.into(),
        Err(_) => {
            let reason = format!("a port of {host} cannot be chosen: write http://127.0.0.1:0");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
    };
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &SocketAddr::new(address, 0))?;
    let bound = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
    Ok((bound.port(), socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn make(text: &str, tmp_dir: &Path) -> io::Result<(Upstream, Room)> {
        let mut upstream = Upstream::parse(text).expect("good");
        let runtime = relay::threads::local_runtime().expect("a runtime");
        let room = runtime.block_on(Room::make(&mut upstream, tmp_dir))?;
        Ok((upstream, room))
    }

    fn told(room: &Room, name: &str) -> Option<String> {
        let found = room.variables().into_iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_string().expect("text"))
    }

    #[test]
    fn a_socket_is_chosen_told_and_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(format!("upstream-{}.sock", std::process::id()));
        drop(UnixListener::bind(&path).expect("a socket"));
        let (upstream, room) = make("unix:", dir.path()).expect("room");
        assert_eq!(told(&room, "upstream_url"), Some(format!("unix:{}", path.display())));
        assert_eq!(upstream.place, Place::Unix(path.clone()));
        assert!(!path.exists(), "what an earlier run left is gone");
        let _listener = UnixListener::bind(&path).expect("free");
        drop(room);
        assert!(!path.exists());
    }

    #[test]
    fn only_a_socket_that_is_dead_is_cleared_away() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("up.sock");
        let text = format!("unix://{}", path.display());
        let listener = UnixListener::bind(&path).expect("a socket");
        let (_, room) = make(&text, dir.path()).expect("room");
        assert_eq!(told(&room, "upstream_url"), Some(format!("unix:{}", path.display())));
        drop(room);
        assert!(path.exists(), "somebody listens on it");
        drop(listener);
        make(&text, dir.path()).expect("room");
        assert!(!path.exists());
        std::fs::write(&path, "precious").expect("writable");
        make(&text, dir.path()).expect("the server will tell");
        assert!(path.exists());
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(format!("upstream-{}.sock", std::process::id()));
        std::fs::write(&path, "precious").expect("writable");
        let error = make("unix:", dir.path()).expect_err("in the way").to_string();
        assert!(error.contains("is no socket") && path.exists(), "{error}");
        let long = dir.path().join("d".repeat(MAX_SOCKET_PATH));
        let error = make("unix:", &long).expect_err("too long").to_string();
        assert!(error.contains("set TMPDIR"), "{error}");
        let error = make("http://example.test:0", dir.path()).expect_err("not here").to_string();
        assert!(error.contains("http://127.0.0.1:0"), "{error}");
    }

    #[test]
    fn a_port_is_chosen_and_kept_for_the_server() {
        let (upstream, room) = make("http://127.0.0.1:0/base", Path::new("/tmp")).expect("room");
        let port: u16 = told(&room, "PORT").expect("told").parse().expect("a port");
        assert_eq!(told(&room, "http_port"), Some(port.to_string()));
        let url = format!("http://127.0.0.1:{port}/base");
        assert_eq!((upstream.to_string(), told(&room, "upstream_url")), (url.clone(), Some(url)));
        // As servers do it, with SO_REUSEADDR.
        std::net::TcpListener::bind(("127.0.0.1", port)).expect("kept for us");
        let without = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None);
        let taken = SocketAddr::from(([127, 0, 0, 1], port));
        rustix::net::bind(without.expect("a socket"), &taken).expect_err("kept from others");
        assert!(make("http://[::1]:0", Path::new("/tmp")).is_ok());
    }
}
