//! Who listens on a port, for the error that says it is taken.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// A process that listens on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The program's name, as the kernel knows it: 15 bytes at the most.
    pub name: String,
    /// The process.
    pub pid: u32,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// Who listens where this address would. `None` when that cannot be known: the kernel tells only
/// of this user's processes, or of all to root.
pub fn of(address: SocketAddr) -> Option<Holder> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let tables = tables.iter().filter_map(|path| fs::read_to_string(path).ok());
    let inodes: Vec<u64> = tables.flat_map(|table| listeners(&table, address)).collect();
    if inodes.is_empty() {
        return None;
    }
    let pids = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let pid = pids.find(|pid| has_socket(*pid, &inodes))?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(Holder { name: name.trim_end().to_owned(), pid })
}

/// The inodes of the sockets in a table of the kernel's that listen where this address would.
fn listeners(table: &str, address: SocketAddr) -> Vec<u64> {
    let inode = |line: &str| {
        let mut columns = line.split_whitespace();
        let local = socket_address(columns.nth(1)?)?;
        let state = columns.nth(1)?;
        let inode = columns.nth(5)?.parse().ok()?;
        (state == LISTEN && overlap(local, address)).then_some(inode)
    };
    table.lines().skip(1).filter_map(inode).collect()
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let (x, y) = (a.ip().to_canonical(), b.ip().to_canonical());
    a.port() == b.port() && (x == y || x.is_unspecified() || y.is_unspecified())
}

/// `0100007F:1F90`: the address in words of the machine's byte order, the port as people read it.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let words: Vec<[u8; 4]> = address
        .as_bytes()
        .chunks(8)
        .map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok())
        .map(|word| word.map(u32::to_ne_bytes))
        .collect::<Option<_>>()?;
    let ip = match words.as_slice() {
        [word] => IpAddr::V4(Ipv4Addr::from(*word)),
        [..] => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?)),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

fn has_socket(pid: u32, inodes: &[u64]) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().any(|file| {
        let target = fs::read_link(file.path()).unwrap_or_default();
        socket_inode(&target).is_some_and(|inode| inodes.contains(&inode))
    })
}

/// The number in `socket:[1234]`.
fn socket_inode(target: &Path) -> Option<u64> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_is_found_by_every_address_that_it_is_in_the_way_of() {
        for listen in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(listen) else {
                println!("SKIPPED: {listen} is no address here");
                continue;
            };
            let address = listener.local_addr().unwrap();
            let everywhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
            for wanted in [address, everywhere] {
                let holder = of(wanted).unwrap();
                assert_eq!(holder.pid, std::process::id(), "{listen}");
                let comm = fs::read_to_string("/proc/self/comm").unwrap();
                assert_eq!(holder.to_string(), format!("{} (pid {})", comm.trim(), holder.pid));
            }
            drop(listener);
            assert_ne!(of(address).map(|holder| holder.pid), Some(std::process::id()));
        }
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn only_listeners_of_the_port_count() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1
   1: 0200007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1
   2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 13 1
   3: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 14 1
   4: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 15 1
   5: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 16 1
   6: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 17 1
   7: nonsense
";
        for (address, inodes) in [
            ("127.0.0.1:8080", vec![11, 15, 17]),
            ("127.0.0.2:8080", vec![12, 15]),
            ("[::1]:8080", vec![15, 16]),
            ("0.0.0.0:8081", vec![13]),
            ("0.0.0.0:8082", vec![]),
        ] {
            assert_eq!(listeners(table, address.parse().unwrap()), inodes, "{address}");
        }
    }
}
