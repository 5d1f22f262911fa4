//! Processor time and memory of processes, as the kernel tells.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Length of a tick in `/proc/<pid>/stat`: the kernel reports them at 100 Hz on every machine.
const TICK: Duration = Duration::from_millis(10);

/// What a process has used so far, by thread, in nanoseconds.
pub(crate) struct Used(HashMap<(u32, String), u64>);

impl Used {
    /// As of now, of all threads of these processes. Threads that end between two readings are
    /// missing from the difference; those that carry calls do not end.
    pub(crate) fn by(pids: &[u32]) -> Result<Self> {
        let mut used = HashMap::new();
        for pid in pids {
            let tasks = format!("/proc/{pid}/task");
            for task in fs::read_dir(&tasks).context(tasks)? {
                let task = task?;
                let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
                let time = text.split(' ').next().and_then(|time| time.parse().ok());
                let name = task.file_name().to_string_lossy().into_owned();
                used.insert((*pid, name), time.unwrap_or(0));
            }
        }
        Ok(Self(used))
    }

    /// What all of them have used since an earlier reading.
    pub(crate) fn since(&self, before: &Self) -> Duration {
        self.sum(before, |_| true)
    }

    /// What one of them has used since an earlier reading.
    pub(crate) fn by_one_since(&self, pid: u32, before: &Self) -> Duration {
        self.sum(before, |of| of == pid)
    }

    fn sum(&self, before: &Self, wanted: impl Fn(u32) -> bool) -> Duration {
        let wanted = self.0.iter().filter(|((pid, _), _)| wanted(*pid));
        let used = wanted.map(|(thread, now)| {
            now.saturating_sub(before.0.get(thread).copied().unwrap_or_default())
        });
        Duration::from_nanos(used.sum())
    }
}

/// What a process and the children that it has waited for have used, in steps of a tick.
pub(crate) fn with_children(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).context(path)?;
    // The name in brackets may hold anything: what follows counts from its end. There, user and
    // system time are words 11 and 12, and those of the children 13 and 14.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks =
        rest.split_whitespace().skip(11).take(4).filter_map(|word| word.parse::<u32>().ok());
    Ok(TICK * ticks.sum())
}

/// Resident memory of processes in KiB.
pub(crate) fn resident_kib(pids: &[u32]) -> Result<u64> {
    let mut sum = 0;
    for pid in pids {
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).with_context(|| path.clone())?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        sum += kib.context(path)?;
    }
    Ok(sum)
}

/// A process with all that descend from it.
pub(crate) fn tree(pid: u32) -> Result<Vec<u32>> {
    let children = crate::memory::children()?;
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(pid) = all.get(next) {
        all.extend(children.get(pid).into_iter().flatten().copied().collect::<Vec<_>>());
        next += 1;
    }
    Ok(all)
}

/// The name of a process's program.
pub(crate) fn program(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let own = std::process::id();
        let before = Used::by(&[own]).unwrap();
        let mut sum = 0u64;
        // The kernel counts whole ticks there, when a clock strikes: that may be later.
        while with_children(own).unwrap() < TICK {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(Used::by(&[own]).unwrap().since(&before) > Duration::ZERO);
        assert!(resident_kib(&[own]).unwrap() > 100);
        assert!(tree(own).unwrap().contains(&own));
    }
}
