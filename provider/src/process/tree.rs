//! All processes below one, where there is no control group that holds them.

use std::collections::HashSet;
use std::{fs, io};

use rustix::process::{Pid, Signal, kill_process};

/// Times that the tree is looked through for processes that came meanwhile.
const ROUNDS: usize = 100;

/// Sends a signal to everything below a process, until nothing new is found.
pub(super) fn signal(root: Pid, signal: Signal) -> io::Result<()> {
    let mut done = HashSet::new();
    for _ in 0..ROUNDS {
        let found = below(root)?;
        let new: Vec<_> = found.into_iter().filter(|pid| done.insert(*pid)).collect();
        if new.is_empty() {
            return Ok(());
        }
        for pid in new {
            // It may just have ended.
            let _gone = kill_process(pid, signal);
        }
    }
    Err(io::Error::other("it starts processes faster than they can be found"))
}

/// Whether anything below a process was stopped by a signal.
pub(super) fn is_stopped(root: Pid) -> io::Result<bool> {
    Ok(below(root)?.into_iter().any(|pid| state(pid) == Some('T')))
}

/// A process's state as one letter; `None` when it is gone.
fn state(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // Its name comes before, in parentheses, and may hold any character.
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Everything below a process. One that has ended has nothing below it.
fn below(root: Pid) -> io::Result<Vec<Pid>> {
    let mut all = children(root)?;
    let mut next = 0;
    while let Some(parent) = all.get(next).copied() {
        all.extend(children(parent)?);
        next += 1;
    }
    Ok(all)
}

fn children(parent: Pid) -> io::Result<Vec<Pid>> {
    let tasks = format!("/proc/{}/task", parent.as_raw_nonzero());
    let Ok(tasks) = fs::read_dir(tasks) else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for task in tasks.flatten() {
        let path = task.path();
        let text = match fs::read_to_string(path.join("children")) {
            // The thread has ended, or this kernel does not tell.
            Err(e) if e.kind() == io::ErrorKind::NotFound && path.exists() => {
                return Err(io::Error::other("this kernel does not tell a process's children"));
            }
            other => other.unwrap_or_default(),
        };
        all.extend(text.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn name(pid: Pid) -> String {
        fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).unwrap_or_default()
    }

    #[test]
    fn children_of_children_are_found() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "sh -c 'sleep 1000; true' & wait"]).stdin(Stdio::null());
        let mut shell = shell.spawn().unwrap();
        let root = Pid::from_child(&shell);
        let found = loop {
            let found = below(root).unwrap();
            // A child between vfork and exec, once stopped, holds its parent up out of reach.
            if found.len() == 2 && found.iter().any(|pid| name(*pid) == "sleep\n") {
                break found;
            }
            std::thread::yield_now();
        };
        signal(root, Signal::STOP).unwrap();
        for pid in &found {
            while state(*pid) != Some('T') {
                std::thread::yield_now();
            }
        }
        assert_ne!(state(root), Some('T'), "only what is below it");
        assert!(is_stopped(root).unwrap());
        signal(root, Signal::CONT).unwrap();
        while is_stopped(root).unwrap() {
            std::thread::yield_now();
        }
        signal(root, Signal::KILL).unwrap();
        shell.wait().unwrap();
        assert!(below(root).unwrap().is_empty());
    }
}
