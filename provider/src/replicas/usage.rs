//! What replicas use: asked of the engine for those that run, and read from control groups.

use std::fs;
use std::path::{Path, PathBuf};

use super::core::Core;
use super::seen::Phase;
use crate::{Name, Result, Usage};

/// A replica that is in memory.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) name: Name,
    /// The engine's id of it.
    pub(crate) id: String,
    /// Ours.
    pub(crate) replica: String,
    /// When it was started, in the engine's words.
    pub(crate) run: String,
}

/// What was found out of one; a file that is not there says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Consumed {
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) memory_peak_bytes: Option<u64>,
}

impl Core {
    /// See [`crate::Provider::usage`].
    pub(super) async fn usage(&self) -> Result<Vec<Usage>> {
        let running: Vec<_> = {
            let world = self.world();
            let members = world.values().flat_map(|group| group.members.values());
            let up = members.filter(|m| matches!(m.seen.phase, Phase::Running | Phase::Paused));
            up.map(|member| Running::new(&member.seen)).collect()
        };
        if running.is_empty() { Ok(Vec::new()) } else { self.engine.usage(running).await }
    }
}

impl Running {
    fn new(seen: &super::seen::Seen) -> Self {
        Self {
            name: seen.deploy.name.clone(),
            id: seen.id.clone(),
            replica: seen.replica.clone(),
            run: seen.started_at.clone(),
        }
    }

    /// `None` when next to nothing was found out: it has just ended.
    pub(crate) fn used(self, consumed: Consumed) -> Option<Usage> {
        Some(Usage {
            name: self.name,
            replica: self.replica,
            run: self.run,
            cpu_seconds: consumed.cpu_seconds?,
            memory_bytes: consumed.memory_bytes?,
            memory_peak_bytes: consumed.memory_peak_bytes,
        })
    }
}

impl Consumed {
    /// What these control groups, one a hierarchy and of either version, tell together.
    pub(crate) fn of_cgroups(dirs: &[PathBuf]) -> Self {
        dirs.iter().fold(Self::default(), |known, dir| known.or(Self::of_cgroup(dir)))
    }

    fn of_cgroup(dir: &Path) -> Self {
        let number =
            |file: &str| fs::read_to_string(dir.join(file)).ok()?.trim().parse::<u64>().ok();
        let keyed = |file: &str, key: &str| field(&fs::read_to_string(dir.join(file)).ok()?, key);
        let cpu = keyed("cpu.stat", "usage_usec").map(|micros| micros as f64 / 1e6);
        let cpu = cpu.or_else(|| Some(number("cpuacct.usage")? as f64 / 1e9));
        let (now, idle) = match number("memory.current") {
            Some(now) => (Some(now), "inactive_file"),
            None => (number("memory.usage_in_bytes"), "total_inactive_file"),
        };
        let idle = now.and_then(|_| keyed("memory.stat", idle)).unwrap_or_default();
        Self {
            cpu_seconds: cpu,
            memory_bytes: now.map(|now| now.saturating_sub(idle)),
            memory_peak_bytes: number("memory.peak")
                .or_else(|| number("memory.max_usage_in_bytes")),
        }
    }

    /// With what another source tells, where something is missing.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds.or(other.cpu_seconds),
            memory_bytes: self.memory_bytes.or(other.memory_bytes),
            memory_peak_bytes: self.memory_peak_bytes.or(other.memory_peak_bytes),
        }
    }

    /// Whether another source need not be asked.
    pub(crate) fn is_enough(&self) -> bool {
        self.cpu_seconds.is_some() && self.memory_bytes.is_some()
    }
}

/// A line `key number` of a control group's file.
fn field(text: &str, key: &str) -> Option<u64> {
    let value = |line: &str| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn version_two_has_all_in_one_folder() {
        let dir = group(&[
            ("cpu.stat", "usage_usec 2500000\nuser_usec 9\n"),
            ("memory.current", "5000\n"),
            ("memory.stat", "anon 1\nactive_file 7\ninactive_file 1200\n"),
            ("memory.peak", "9000\n"),
        ]);
        let want = Consumed {
            cpu_seconds: Some(2.5),
            memory_bytes: Some(3800),
            memory_peak_bytes: Some(9000),
        };
        assert_eq!(Consumed::of_cgroups(&[dir.path().to_owned()]), want);
    }

    #[test]
    fn version_one_has_a_folder_for_each() {
        let cpu = group(&[("cpuacct.usage", "1500000000\n"), ("cpu.stat", "nr_periods 0\n")]);
        let memory = group(&[
            ("memory.usage_in_bytes", "5000\n"),
            ("memory.stat", "inactive_file 1\ntotal_inactive_file 6000\n"),
            ("memory.max_usage_in_bytes", "7000\n"),
        ]);
        let dirs = [cpu.path().to_owned(), memory.path().to_owned()];
        let want = Consumed {
            cpu_seconds: Some(1.5),
            memory_bytes: Some(0),
            memory_peak_bytes: Some(7000),
        };
        assert_eq!(Consumed::of_cgroups(&dirs), want);
    }

    #[test]
    fn what_is_gone_or_torn_says_nothing() {
        let dir = group(&[("memory.current", "many"), ("cpu.stat", "usage_usec x\n")]);
        let dirs = [dir.path().to_owned(), "/nowhere/at/all".into()];
        let none = Consumed::of_cgroups(&dirs);
        assert_eq!(none, Consumed::default());
        assert!(!none.is_enough());
    }

    #[test]
    fn another_source_fills_the_gaps_only() {
        let cpu = |seconds| Consumed { cpu_seconds: Some(seconds), ..Consumed::default() };
        let memory = Consumed { memory_bytes: Some(1), ..cpu(9.0) };
        let both = cpu(1.0).or(memory);
        assert_eq!((both.cpu_seconds, both.memory_bytes), (Some(1.0), Some(1)));
    }
}
