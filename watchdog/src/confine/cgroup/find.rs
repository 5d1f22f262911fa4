//! Where this process's control groups are.

use std::fs;
use std::path::{Path, PathBuf};

use crate::confine::sandbox::mounts::{Mount, parse_mounts};

/// What can be controlled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controller {
    Memory,
    Cpu,
    Pids,
    /// Stops processes without ending them; version 2 has it in every group.
    Freezer,
}

impl Controller {
    pub(super) const ALL: [Self; 4] = [Self::Memory, Self::Cpu, Self::Pids, Self::Freezer];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
            Self::Freezer => "freezer",
        }
    }
}

/// A group of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its folder.
    pub(super) dir: PathBuf,
    /// The highest folder of the hierarchy that can be seen.
    pub(super) top: PathBuf,
}

/// The groups of this process.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hierarchies {
    pub(super) v2: Option<Place>,
    /// Those controllers that are not in version 2.
    pub(super) v1: Vec<(Controller, Place)>,
}

impl Hierarchies {
    pub(super) fn of_this_process() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self::parse(&own, &mounts)
    }

    /// From what `/proc/self/cgroup` and `/proc/self/mountinfo` say.
    fn parse(own: &str, mounts: &str) -> Self {
        let mounts: Vec<Mount> = parse_mounts(mounts);
        let mut found = Self::default();
        for line in own.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(names), Some(path)) = (fields.next(), fields.next()) else { continue };
            if names.is_empty() {
                let mount = mounts.iter().find(|mount| mount.kind == "cgroup2");
                found.v2 = mount.map(|mount| place(mount, path));
                continue;
            }
            let has = |controller: &Controller| names.split(',').any(|n| n == controller.name());
            for controller in Controller::ALL.into_iter().filter(has) {
                let mount = mounts.iter().find(|mount| {
                    mount.kind == "cgroup"
                        && mount.super_options.split(',').any(|o| o == controller.name())
                });
                found.v1.extend(mount.map(|mount| (controller, place(mount, path))));
            }
        }
        found
    }
}

/// A mount may show a part of the hierarchy only, as in containers; then what is above it, and
/// groups outside of it, cannot be seen.
fn place(mount: &Mount, path: &str) -> Place {
    let below = Path::new(path).strip_prefix(&mount.root).unwrap_or(Path::new(""));
    let seen = below.components().all(|part| part != std::path::Component::ParentDir);
    let dir = if seen { mount.point.join(below) } else { mount.point.clone() };
    Place { dir, top: mount.point.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(dir: &str, top: &str) -> Place {
        Place { dir: dir.into(), top: top.into() }
    }

    #[test]
    fn version_2_alone() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        let found = Hierarchies::parse("0::/user.slice/a.scope\n", mounts);
        assert_eq!(found.v2, Some(at("/sys/fs/cgroup/user.slice/a.scope", "/sys/fs/cgroup")));
        assert_eq!(found.v1, []);
    }

    #[test]
    fn version_1_with_the_rest_in_version_2() {
        let mounts = "14 35 0:32 / /cg/memory rw - cgroup cgroup rw,memory\n\
                      12 33 0:30 / /cg/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      41 40 0:38 / /cg/unified rw - cgroup2 cgroup2 rw\n";
        let own = "8:pids:/\n4:memory:/own\n1:cpu,cpuacct:/\n0::/\n";
        let found = Hierarchies::parse(own, mounts);
        assert_eq!(found.v2, Some(at("/cg/unified/", "/cg/unified")));
        let memory = (Controller::Memory, at("/cg/memory/own", "/cg/memory"));
        let cpu = (Controller::Cpu, at("/cg/cpu,cpuacct/", "/cg/cpu,cpuacct"));
        assert_eq!(found.v1, [memory, cpu]);
    }

    #[test]
    fn a_container_sees_its_own_part() {
        let mounts = "14 35 0:32 /docker/x /cg/memory ro - cgroup cgroup rw,memory\n\
                      41 40 0:38 /../.. /cg/unified rw - cgroup2 cgroup2 rw\n";
        let found = Hierarchies::parse("4:memory:/docker/x/y\n0::/../z\n", mounts);
        assert_eq!(found.v1, [(Controller::Memory, at("/cg/memory/y", "/cg/memory"))]);
        assert_eq!(found.v2, Some(at("/cg/unified", "/cg/unified")));
        assert_eq!(Hierarchies::parse("", ""), Hierarchies::default());
    }
}
