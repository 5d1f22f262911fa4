//! Control groups: the limits of a replica as a whole, and the way to end all of it.
//!
//! A replica has a group `flint/<replica>` in each hierarchy that is needed: one for all
//! controllers in version 2, one for each controller in version 1.

mod find;
mod v1;
mod v2;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use provider::confine::{Gap, Limits};
use rustix::process::{Pid, Signal, kill_process};

use find::{Controller, Hierarchies};

/// The group above all replicas' groups.
const PARENT: &str = "flint";
/// How often killing or removing is tried, and how long to wait in between.
const ATTEMPTS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);

/// The groups of one replica.
#[derive(Debug, Default)]
pub(super) struct Cgroups(Vec<Group>);

#[derive(Debug)]
struct Group {
    dir: PathBuf,
    version: Version,
    controllers: Vec<Controller>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Which controllers have a limit to hold, and why others have none.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) cgroups: Cgroups,
    /// What was asked for and is held by no group.
    pub(super) missing: Vec<Missing>,
}

/// A limit that no group holds.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) limit: Limit,
    pub(super) reason: String,
}

/// What groups limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    Memory,
    Cpu,
    Pids,
}

impl Missing {
    /// As a gap, with what stands in for it.
    pub(super) fn gap(&self, instead: &str) -> Gap {
        let measure = match self.limit {
            Limit::Memory => "memory limit",
            Limit::Cpu => "processor limit",
            Limit::Pids => "process limit",
        };
        let Self { reason, .. } = self;
        Gap { measure: measure.to_owned(), reason: format!("{reason}; {instead}") }
    }
}

/// Makes the groups of a replica, after ending and removing what an earlier run has left.
pub(super) fn make(replica: &str, limits: &Limits) -> Made {
    let hierarchies = Hierarchies::of_this_process();
    let mut made = Made::default();
    let mut reasons = Vec::new();
    for (controller, place) in &hierarchies.v1 {
        match v1::make(place, replica, *controller) {
            Ok(group) => made.cgroups.0.push(group),
            Err(reason) => reasons.push((Some(*controller), reason)),
        }
    }
    match hierarchies.v2.as_ref().map(|place| v2::make(place, replica)) {
        Some(Ok(group)) => made.cgroups.0.push(group),
        Some(Err(reason)) => reasons.push((None, reason)),
        None => (),
    }
    for (limit, controller) in asked(limits) {
        if let Err(reason) = made.cgroups.hold(controller, limits) {
            let known = |known: &Option<Controller>| known.is_none_or(|known| known == controller);
            let made_none = || reasons.iter().find(|(of, _)| known(of)).map(|(_, why)| why.clone());
            let reason = reason.or_else(made_none);
            let reason = reason.unwrap_or_else(|| "no control groups are mounted".to_owned());
            made.missing.push(Missing { limit, reason });
        }
    }
    made
}

/// The limits that are asked for.
fn asked(limits: &Limits) -> impl Iterator<Item = (Limit, Controller)> {
    let memory = limits.memory.map(|_| (Limit::Memory, Controller::Memory));
    let cpu = limits.cpu.map(|_| (Limit::Cpu, Controller::Cpu));
    let pids = (limits.pids > 0).then_some((Limit::Pids, Controller::Pids));
    [memory, cpu, pids].into_iter().flatten()
}

impl Cgroups {
    /// The groups' folders.
    pub(super) fn dirs(&self) -> Vec<PathBuf> {
        self.0.iter().map(|group| group.dir.clone()).collect()
    }

    /// Sets a limit in the group that has its controller; the reason is `None` when there is none.
    fn hold(&self, controller: Controller, limits: &Limits) -> Result<(), Option<String>> {
        let group = self.0.iter().find(|group| group.controllers.contains(&controller));
        let group = group.ok_or(None)?;
        let held = match group.version {
            Version::One => v1::hold(&group.dir, controller, limits),
            Version::Two => v2::hold(&group.dir, controller, limits),
        };
        held.map_err(|error| Some(format!("{}: {error}", group.dir.display())))
    }

    /// Moves a process into all groups.
    pub(super) fn take_in(&self, pid: u32) -> io::Result<()> {
        self.0.iter().try_for_each(|group| write(&group.dir, "cgroup.procs", &pid.to_string()))
    }

    /// Whether the kernel has killed something in them for want of memory.
    pub(super) fn out_of_memory(&self) -> bool {
        let memory = |group: &&Group| group.controllers.contains(&Controller::Memory);
        self.0.iter().find(memory).is_some_and(|group| {
            let file = match group.version {
                Version::One => "memory.oom_control",
                Version::Two => "memory.events",
            };
            fs::read_to_string(group.dir.join(file)).is_ok_and(|text| oom_kills(&text) > 0)
        })
    }

    /// Lets frozen processes run, so that signals reach them.
    pub(super) fn thaw(&self) {
        for group in &self.0 {
            group.thaw();
        }
    }

    /// Kills all that is in them.
    pub(super) fn kill(&self) {
        for group in &self.0 {
            group.kill();
        }
    }

    /// Removes them; nothing may be in them any more.
    pub(super) fn remove(&self) {
        for group in &self.0 {
            group.remove();
        }
    }
}

impl Group {
    fn thaw(&self) {
        // It may not be frozen, nor able to be.
        let _ = match self.version {
            Version::One if self.controllers.contains(&Controller::Freezer) => {
                write(&self.dir, "freezer.state", "THAWED")
            }
            Version::One => Ok(()),
            Version::Two => write(&self.dir, "cgroup.freeze", "0"),
        };
    }

    fn kill(&self) {
        self.thaw();
        if self.version == Version::Two && write(&self.dir, "cgroup.kill", "1").is_ok() {
            return;
        }
        // Whoever is killed may just have made another.
        for _ in 0..ATTEMPTS {
            let processes = processes(&self.dir);
            if processes.is_empty() {
                return;
            }
            for pid in processes {
                // It may have ended by itself.
                let _ = kill_process(pid, Signal::KILL);
            }
            sleep(PAUSE);
        }
    }

    /// Its processes may take a moment to be gone.
    fn remove(&self) {
        for _ in 0..ATTEMPTS {
            match fs::remove_dir(&self.dir) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => sleep(PAUSE),
                _ => break,
            }
        }
        if let Some(parent) = self.dir.parent() {
            // Others' groups keep it.
            let _ = fs::remove_dir(parent);
        }
    }
}

/// Makes an empty folder `flint/<replica>` in `base`, instead of one that was left.
fn make_dir(base: &Path, version: Version, replica: &str) -> io::Result<PathBuf> {
    let dir = base.join(PARENT).join(replica);
    for _ in 0..ATTEMPTS {
        if dir.exists() {
            let controllers = vec![Controller::Freezer];
            let left = Group { dir: dir.clone(), version, controllers };
            left.kill();
            left.remove();
        }
        match fs::create_dir_all(base.join(PARENT)).and_then(|()| fs::create_dir(&dir)) {
            // Another replica that ends may just have removed the folder above.
            Err(error) if error.kind() == io::ErrorKind::NotFound => sleep(PAUSE),
            Err(error) => return Err(error),
            Ok(()) => return Ok(dir),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

fn processes(dir: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
}

fn write(dir: &Path, file: &str, text: &str) -> io::Result<()> {
    fs::write(dir.join(file), text)
}

/// Both versions have a line `oom_kill <number>`.
fn oom_kills(text: &str) -> u64 {
    let number = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    number.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_in_both_versions() {
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"), 2);
        assert_eq!(oom_kills("low 0\nmax 5\noom 1\noom_kill 1\noom_group_kill 0\n"), 1);
        assert_eq!(oom_kills("low 0\n"), 0);
    }

    #[test]
    fn in_version_2_one_group_does_all() {
        let dir = tempfile::tempdir().expect("a directory");
        let controllers = vec![Controller::Memory, Controller::Pids];
        let group = Group { dir: dir.path().to_owned(), version: Version::Two, controllers };
        let cgroups = Cgroups(vec![group]);
        let limits = Limits { memory: Some(1 << 20), cpu: Some(250), pids: 64, files: 0 };
        cgroups.hold(Controller::Memory, &limits).expect("held");
        assert_eq!(cgroups.hold(Controller::Cpu, &limits), Err(None), "it has no such controller");
        cgroups.take_in(77).expect("taken in");
        assert!(!cgroups.out_of_memory(), "nothing is said of it");
        fs::write(dir.path().join("memory.events"), "max 4\noom 1\noom_kill 1\n").expect("written");
        assert!(cgroups.out_of_memory());
        cgroups.thaw();
        cgroups.kill();
        for (file, text) in [
            ("memory.max", "1048576"),
            ("cgroup.procs", "77"),
            ("cgroup.freeze", "0"),
            ("cgroup.kill", "1"),
        ] {
            assert_eq!(fs::read_to_string(dir.path().join(file)).expect(file), text);
        }
    }

    #[test]
    fn only_what_is_asked_for_is_missed() {
        let limits = Limits { memory: Some(1), cpu: None, pids: 0, files: 9 };
        let names: Vec<_> = asked(&limits).map(|(limit, _)| limit).collect();
        assert_eq!(names, [Limit::Memory]);
    }

    #[test]
    fn a_missing_limit_says_why_and_what_stands_in() {
        let missing = Missing { limit: Limit::Memory, reason: "no groups".to_owned() };
        let gap = missing.gap("bounded by rlimit");
        assert_eq!(
            (gap.measure.as_str(), gap.reason.as_str()),
            ("memory limit", "no groups; bounded by rlimit")
        );
    }
}
