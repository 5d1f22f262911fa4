//! Who listens at a port of this machine, as far as `/proc` tells this user.

use std::fs;
use std::path::Path;

use reqwest::Url;

/// The state of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";
/// Where the fields of a line are: local address, state, inode.
const FIELDS: [usize; 3] = [1, 3, 9];

/// The program that listens at a URL's port and its pid, for people; `None` when it cannot be
/// known.
pub(crate) fn holder(url: &str) -> Option<String> {
    let port = Url::parse(url).ok()?.port_or_known_default()?;
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let inodes: Vec<String> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|text| inodes(&text, port))
        .collect();
    let pids = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let pid = pids.find(|pid| holds(*pid, &inodes))?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("{} (pid {pid})", name.trim()))
}

/// The sockets that listen at a port.
fn inodes(table: &str, port: u16) -> Vec<String> {
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [address, state, inode] = FIELDS.map(|index| fields.get(index).copied());
        let (_, hex) = address?.rsplit_once(':')?;
        let here = u16::from_str_radix(hex, 16).is_ok_and(|p| p == port);
        (here && state? == LISTENING).then(|| inode.map(str::to_owned))?
    };
    table.lines().skip(1).filter_map(inode).collect()
}

/// Whether a process has one of these sockets open. Those of other users cannot be looked into.
fn holds(pid: u32, inodes: &[String]) -> bool {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    files
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|target| inodes.iter().any(|inode| target == Path::new(&format!("socket:[{inode}]"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found_and_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let found = holder(&url).unwrap();
        assert!(found.ends_with(&format!("(pid {})", std::process::id())), "{found}");
        drop(listener);
        assert_eq!(holder(&url), None);
    }

    #[test]
    fn only_listeners_of_the_port_count() {
        let table = "  sl  local_address rem_address   st\n\
            0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 11 1\n\
            1: 0100007F:1F90 0100007F:9999 01 0:0 0:0 0 0 0 12 1\n\
            2: 00000000:1F91 00000000:0000 0A 0:0 0:0 0 0 0 13 1\n   3: rubbish\n";
        assert_eq!(inodes(table, 8080), ["11"]);
    }
}
