//! Version 2: one hierarchy, in which a folder may have been handed to this user.

use std::fs;
use std::io;
use std::path::Path;

use provider::confine::Limits;

use super::find::{Controller, Place};
use super::{Group, PARENT, Version, make_dir, v1, write};

/// The controllers that have to be switched on.
const WANTED: [Controller; 3] = [Controller::Memory, Controller::Cpu, Controller::Pids];

/// What a group hands down.
const SWITCH: &str = "cgroup.subtree_control";

/// Makes a group below this process's own, or below one further up where that may not be: a group
/// with processes in it can hand no controllers down. The first with all controllers is taken,
/// else the one with most.
pub(super) fn make(place: &Place, replica: &str) -> Result<Group, String> {
    let inside = |dir: &&Path| dir.starts_with(&place.top);
    let mut best: Option<(&Path, usize)> = None;
    let mut reason = None;
    for base in place.dir.ancestors().take_while(inside) {
        let most = best.map_or(0, |(_, most)| most);
        match prepare(base) {
            Ok(count) if count > most => {
                best.into_iter().for_each(|(other, _)| give_back(other));
                best = Some((base, count));
            }
            Ok(_) => give_back(base),
            Err(error) => {
                let words = "no control group may be made in";
                reason.get_or_insert(format!("{words} {}: {error}", base.display()));
            }
        }
        if best.is_some_and(|(_, count)| count == WANTED.len()) {
            break;
        }
    }
    let Some((base, _)) = best else {
        return Err(reason.unwrap_or_else(|| "no control groups can be seen".to_owned()));
    };
    let failed = |error| format!("no control group may be made in {}: {error}", base.display());
    let dir = make_dir(base, Version::Two, replica).map_err(failed)?;
    // It may have gone with another replica's end, and come anew without controllers.
    let controllers = enable(&base.join(PARENT));
    Ok(Group { dir, version: Version::Two, controllers })
}

/// Makes the group above the replicas', and says how many controllers it can hand down.
fn prepare(base: &Path) -> io::Result<usize> {
    let parent = base.join(PARENT);
    // Processes are moved from ours into it, for which one has to own what is above both.
    rustix::fs::access(base.join("cgroup.procs"), rustix::fs::Access::WRITE_OK)?;
    if !parent.exists() {
        enable(base);
        match fs::create_dir(&parent) {
            // Another replica was faster.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => (),
        }
    }
    let count = enable(&parent).len();
    if count == 0 {
        give_back(base);
        return Err(io::Error::other("it hands no controllers down"));
    }
    Ok(count)
}

/// Removes what [`prepare`] has made, unless there are replicas in it.
fn give_back(base: &Path) {
    let _ = fs::remove_dir(base.join(PARENT));
}

/// Has a group hand its controllers down, and says which it does.
fn enable(dir: &Path) -> Vec<Controller> {
    let (has, before) = (listed(dir, "cgroup.controllers"), listed(dir, SWITCH));
    for controller in has.iter().filter(|controller| !before.contains(controller)) {
        // What cannot be is seen below.
        let _ = write(dir, SWITCH, &format!("+{}", controller.name()));
    }
    listed(dir, SWITCH)
}

/// The controllers that one of a group's files names.
fn listed(dir: &Path, file: &str) -> Vec<Controller> {
    let names = fs::read_to_string(dir.join(file)).unwrap_or_default();
    let has = |controller: &Controller| names.split_whitespace().any(|n| n == controller.name());
    WANTED.into_iter().filter(has).collect()
}

pub(super) fn hold(dir: &Path, controller: Controller, limits: &Limits) -> io::Result<()> {
    match controller {
        Controller::Memory => {
            write(dir, "memory.max", &limits.memory.unwrap_or_default().to_string())?;
            // Only kernels that account for swap have it.
            match write(dir, "memory.swap.max", "0") {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        }
        Controller::Cpu => write(dir, "cpu.max", &v1::quota_and_period(limits)),
        Controller::Pids => write(dir, "pids.max", &limits.pids.to_string()),
        Controller::Freezer => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_where_the_kernel_reads_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let limits = Limits { memory: Some(1 << 20), cpu: Some(250), pids: 64, files: 0 };
        for controller in WANTED {
            hold(dir.path(), controller, &limits).expect("written");
        }
        let read = |file: &str| fs::read_to_string(dir.path().join(file)).expect("written");
        assert_eq!(read("memory.max"), "1048576");
        assert_eq!(read("memory.swap.max"), "0");
        assert_eq!(read("cpu.max"), "25000 100000");
        assert_eq!(read("pids.max"), "64");
    }

    /// A group with a group of ours in it that has these controllers and hands them down, as an
    /// earlier replica left it.
    fn handed(dir: &Path, controllers: &str) {
        let ours = dir.join(PARENT);
        fs::create_dir_all(&ours).expect("writable");
        fs::write(dir.join("cgroup.procs"), "").expect("writable");
        for file in ["cgroup.controllers", SWITCH] {
            fs::write(ours.join(file), controllers).expect("writable");
        }
    }

    #[test]
    fn the_nearest_group_with_all_controllers_is_taken() {
        let top = tempfile::tempdir().expect("a directory");
        let service = top.path().join("user.slice/flint.service");
        let inner = service.join("gateway");
        handed(top.path(), "cpuset cpu io memory pids\n");
        handed(&service, "cpu memory pids\n");
        handed(&inner, "memory pids\n");
        let place = Place { dir: inner.clone(), top: top.path().to_owned() };
        let group = make(&place, "r").expect("a group");
        assert_eq!(group.dir, service.join("flint/r"));
        assert_eq!(group.controllers, WANTED);
        assert!(group.dir.is_dir() && !top.path().join("flint/r").exists());
        // Where none has all of them, the one with most is better than none.
        let place = Place { dir: inner.clone(), top: inner.clone() };
        let group = make(&place, "r").expect("a group");
        assert_eq!(group.dir, inner.join("flint/r"));
        assert_eq!(group.controllers, [Controller::Memory, Controller::Pids]);
    }

    #[test]
    fn a_hierarchy_without_controllers_is_no_help_and_stays_as_it_was() {
        let top = tempfile::tempdir().expect("a directory");
        let dir = top.path().join("a");
        fs::create_dir(&dir).expect("writable");
        let place = Place { dir: dir.clone(), top: top.path().to_owned() };
        let reason = make(&place, "r").expect_err("no controllers");
        assert!(reason.starts_with("no control group may be made in"), "{reason}");
    }
}
