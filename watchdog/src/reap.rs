//! What process 1 of a container has to do: collect processes that others left behind.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs;
use std::rc::Rc;

use rustix::process::{Pid, WaitOptions, getpid, waitpid};
use tokio::signal::unix::{SignalKind, signal};

/// Knows which processes are ours, so that only others are collected: the end of ours is waited
/// for elsewhere.
#[derive(Debug, Default)]
pub struct Reaper {
    own: RefCell<HashSet<Pid>>,
}

/// A process of ours, until it is dropped.
#[derive(Debug)]
pub struct Own {
    reaper: Rc<Reaper>,
    pid: Pid,
}

impl Reaper {
    /// Keeps `pid` from being collected here.
    pub fn own(self: &Rc<Self>, pid: Pid) -> Own {
        self.own.borrow_mut().insert(pid);
        Own { reaper: Rc::clone(self), pid }
    }

    /// Collects orphans, as long as this is process 1; others never get any.
    pub async fn run(self: Rc<Self>) {
        if !getpid().is_init() {
            return;
        }
        let Ok(mut ended) = signal(SignalKind::child()) else { return };
        while ended.recv().await.is_some() {
            self.collect();
        }
    }

    /// A signal may stand for many ends and does not say whose, so all processes are looked at;
    /// a container has few.
    fn collect(&self) {
        let Ok(processes) = fs::read_dir("/proc") else { return };
        let pids = processes
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(Pid::from_raw);
        for pid in pids {
            if is_dead_child(pid) && !self.own.borrow().contains(&pid) {
                // Whatever it says, there is nothing to be done about it.
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            }
        }
    }
}

/// Whether the process has ended and is a child of process 1. The state follows the name, which
/// stands in parentheses and may contain anything.
fn is_dead_child(pid: Pid) -> bool {
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    fs::read(path).is_ok_and(|stat| is_zombie_of_init(&String::from_utf8_lossy(&stat)))
}

fn is_zombie_of_init(stat: &str) -> bool {
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with("Z 1 "))
}

impl Drop for Own {
    fn drop(&mut self) {
        self.reaper.own.borrow_mut().remove(&self.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dead_children_of_process_1() {
        assert!(is_zombie_of_init("7 (a b) c) Z 1 7 7 0"));
        assert!(!is_zombie_of_init("7 (sh) S 1 7 7 0"));
        assert!(!is_zombie_of_init("7 (sh) Z 12 7 7 0"));
        assert!(!is_zombie_of_init("7 (Z 1 ) S 1 7"));
        assert!(!is_zombie_of_init(""));
    }
}
