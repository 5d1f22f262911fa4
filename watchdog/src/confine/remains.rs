//! Ending the processes that a replica leaves behind where no namespace and no control group
//! does it: orphans become children of who has asked for them, and are killed as such.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, wait};

/// How often children are looked for. Each round ends at least a whole generation of them.
const ROUNDS: u32 = 2000;
const PAUSE: Duration = Duration::from_millis(5);

/// Kills and collects children until there are none.
pub(super) fn end_children() {
    for _ in 0..ROUNDS {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => (),
            Ok(None) => {
                for pid in children() {
                    // It may have ended by itself.
                    let _ = kill_process(pid, Signal::KILL);
                }
                sleep(PAUSE);
            }
            Err(_) => return,
        }
    }
}

fn children() -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let own = getpid().as_raw_nonzero().to_string();
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .filter(|pid| {
            let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero()));
            stat.is_ok_and(|stat| parent(&String::from_utf8_lossy(&stat)) == Some(own.as_str()))
        })
        .collect()
}

/// The parent's number follows the state, which follows the name, which stands in parentheses and
/// may contain anything.
fn parent(stat: &str) -> Option<&str> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_whatever_the_name() {
        assert_eq!(parent("7 (a b) S 1 (x) R 12 7 7 0"), Some("12"));
        assert_eq!(parent("7 (sh) Z 1 7 7 0"), Some("1"));
        assert_eq!(parent(""), None);
    }
}
