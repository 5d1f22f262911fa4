//! Everything of a replica at once: its control groups, of either version, frozen, killed, removed.

use std::collections::HashSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

/// Longest that the kernel may take to freeze a replica, or to see all of it killed.
const LIMIT: Duration = Duration::from_secs(5);
/// Pause between two looks whether it has. The kernel tells version 1's changes to nobody.
const PAUSE: Duration = Duration::from_millis(2);

/// Something that takes the processor from all processes of a control group.
enum Freezer {
    /// `cgroup.freeze` and `cgroup.events` of version 2.
    Two(PathBuf),
    /// `freezer.state` of version 1.
    One(PathBuf),
}

impl Freezer {
    /// The one among a replica's control groups.
    fn of(cgroups: &[PathBuf]) -> Option<Self> {
        cgroups.iter().find_map(|dir| {
            if dir.join("cgroup.freeze").exists() {
                Some(Self::Two(dir.clone()))
            } else {
                dir.join("freezer.state").exists().then(|| Self::One(dir.clone()))
            }
        })
    }

    fn set(&self, frozen: bool) -> io::Result<()> {
        match self {
            Self::Two(dir) => fs::write(dir.join("cgroup.freeze"), if frozen { "1" } else { "0" }),
            Self::One(dir) => {
                fs::write(dir.join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" })
            }
        }
    }

    fn is_frozen(&self) -> io::Result<bool> {
        match self {
            Self::Two(dir) => {
                let events = fs::read_to_string(dir.join("cgroup.events"))?;
                Ok(events.lines().any(|line| line == "frozen 1"))
            }
            Self::One(dir) => Ok(fs::read_to_string(dir.join("freezer.state"))?.trim() == "FROZEN"),
        }
    }

    fn is_told_to_be(&self) -> io::Result<bool> {
        match self {
            Self::Two(dir) => Ok(fs::read_to_string(dir.join("cgroup.freeze"))?.trim() == "1"),
            Self::One(dir) => Ok(fs::read_to_string(dir.join("freezer.state"))?.trim() != "THAWED"),
        }
    }
}

/// Freezes; returns when that is so, `false` when there is no control group for it.
pub(super) async fn freeze(cgroups: &[PathBuf]) -> io::Result<bool> {
    let Some(freezer) = Freezer::of(cgroups) else { return Ok(false) };
    let until = Instant::now() + LIMIT;
    loop {
        // Version 1 gives up on processes that are busy in the kernel unless it is told again.
        freezer.set(true)?;
        if freezer.is_frozen()? {
            return Ok(true);
        }
        if Instant::now() >= until {
            let _as_it_was = freezer.set(false);
            return Err(io::Error::new(ErrorKind::TimedOut, "it does not freeze"));
        }
        sleep(PAUSE).await;
    }
}

/// Thaws, which the kernel does at once; `false` when there is no control group for it.
pub(super) fn thaw(cgroups: &[PathBuf]) -> io::Result<bool> {
    let Some(freezer) = Freezer::of(cgroups) else { return Ok(false) };
    freezer.set(false).map(|()| true)
}

/// Whether it is frozen, or about to be; `None` when there is no control group that tells.
pub(super) fn is_frozen(cgroups: &[PathBuf]) -> Option<bool> {
    Freezer::of(cgroups)?.is_told_to_be().ok()
}

/// Kills everything in these control groups and removes them. Those that are gone are empty.
pub(super) async fn clear(cgroups: &[PathBuf]) -> io::Result<()> {
    let until = Instant::now() + LIMIT;
    loop {
        if kill(cgroups)? && remove(cgroups)? {
            return Ok(());
        }
        if Instant::now() >= until {
            let text = format!("{} is still in use", cgroups[0].display());
            return Err(io::Error::new(ErrorKind::TimedOut, text));
        }
        sleep(PAUSE).await;
    }
}

/// Kills once; `true` when nothing was left to kill.
fn kill(cgroups: &[PathBuf]) -> io::Result<bool> {
    let inside = processes(cgroups)?;
    if inside.is_empty() {
        return Ok(true);
    }
    for dir in cgroups {
        let switch = dir.join("cgroup.kill");
        if switch.exists() {
            fs::write(switch, "1")?;
        }
    }
    let freezer = Freezer::of(cgroups);
    // What is frozen cannot fork while it is being killed. It dies when it is thawed.
    let _may_be_gone = freezer.as_ref().map(|freezer| freezer.set(true));
    for pid in processes(cgroups)? {
        // It may just have ended.
        let _gone = kill_process(pid, Signal::KILL);
    }
    let _may_be_gone = freezer.as_ref().map(|freezer| freezer.set(false));
    Ok(false)
}

/// What runs in these control groups and those below them.
fn processes(cgroups: &[PathBuf]) -> io::Result<HashSet<Pid>> {
    let mut all = HashSet::new();
    for dir in cgroups.iter().flat_map(|dir| with_children(dir)) {
        let text = match fs::read_to_string(dir.join("cgroup.procs")) {
            Err(e) if is_gone(&e) => continue,
            other => other?,
        };
        let pids = text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?));
        all.extend(pids);
    }
    Ok(all)
}

/// Removes the control groups; `false` when one is still in use.
fn remove(cgroups: &[PathBuf]) -> io::Result<bool> {
    for dir in cgroups.iter().flat_map(|dir| with_children(dir)) {
        match fs::remove_dir(&dir) {
            Err(e) if e.kind() == ErrorKind::ResourceBusy => return Ok(false),
            Err(e) if !is_gone(&e) => return Err(e),
            _ => {}
        }
    }
    Ok(true)
}

/// A control group and those that a function may have made in it, the lowest first.
fn with_children(dir: &Path) -> Vec<PathBuf> {
    let mut all = vec![dir.to_owned()];
    let mut next = 0;
    while let Some(parent) = all.get(next) {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let below: Vec<_> = below.map(|entry| entry.path()).collect();
        all.extend(below);
        next += 1;
    }
    all.reverse();
    all
}

/// A control group that is removed while its files are open answers `ENODEV`.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[tokio::test]
    async fn each_version_is_frozen_by_its_own_switch() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::create_dir_all(&one).unwrap();
        fs::create_dir_all(&two).unwrap();
        fs::write(one.join("freezer.state"), "THAWED\n").unwrap();
        fs::write(two.join("cgroup.freeze"), "0").unwrap();
        fs::write(two.join("cgroup.events"), "populated 1\nfrozen 1\n").unwrap();
        let (one, two, none) = ([dir.path().join("none"), one], [two], [dir.path().join("none")]);
        let state = || fs::read_to_string(one[1].join("freezer.state")).unwrap();
        let switch = || fs::read_to_string(two[0].join("cgroup.freeze")).unwrap();
        assert!(freeze(&one).await.unwrap() && freeze(&two).await.unwrap());
        assert_eq!((state().as_str(), switch().as_str()), ("FROZEN", "1"));
        assert_eq!((is_frozen(&one), is_frozen(&two)), (Some(true), Some(true)));
        assert!(thaw(&one).unwrap() && thaw(&two).unwrap());
        assert_eq!((state().as_str(), switch().as_str()), ("THAWED", "0"));
        assert_eq!((is_frozen(&one), is_frozen(&two)), (Some(false), Some(false)));
        assert!(!freeze(&none).await.unwrap() && !thaw(&none).unwrap());
        assert_eq!(is_frozen(&none), None);
    }

    #[tokio::test]
    async fn what_is_in_a_group_is_killed_and_what_is_gone_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        clear(&[dir.path().join("gone")]).await.unwrap();
        clear(&[]).await.unwrap();
        let mut sleeper = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        fs::write(dir.path().join("cgroup.procs"), format!("0\n{}\n", sleeper.id())).unwrap();
        assert!(!kill(&[dir.path().to_owned()]).unwrap());
        assert!(!sleeper.wait().unwrap().success());
        fs::write(dir.path().join("cgroup.procs"), "").unwrap();
        assert!(kill(&[dir.path().to_owned()]).unwrap());
    }
}
