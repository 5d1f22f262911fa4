//! What a replica uses where its control groups do not tell: the sum over its processes.

use std::fs;

use rustix::param::clock_ticks_per_second;
use rustix::process::Pid;

use super::tree;
use crate::replicas::usage::Consumed;

/// Sums up everything below a process. The time of those that have ended is their parents'; memory
/// that several share is counted for each.
pub(super) fn below(root: Pid) -> Consumed {
    let (mut ticks, mut memory) = (None, None);
    for pid in tree::below(root).unwrap_or_default() {
        let file = |name: &str| {
            fs::read_to_string(format!("/proc/{}/{name}", pid.as_raw_nonzero())).unwrap_or_default()
        };
        if let (Some(time), Some(bytes)) = (ticks_of(&file("stat")), resident(&file("status"))) {
            ticks = Some(ticks.unwrap_or(0) + time);
            memory = Some(memory.unwrap_or(0) + bytes);
        }
    }
    Consumed {
        cpu_seconds: ticks.map(|ticks: u64| ticks as f64 / clock_ticks_per_second() as f64),
        memory_bytes: memory,
        memory_peak_bytes: None,
    }
}

/// Its time in ticks, with that of the children that it has seen end: the fields 14 to 17 of
/// `/proc/PID/stat`, whose second is a name that can hold anything.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    fields.get(11..15)?.iter().map(|field| field.parse::<u64>().ok()).sum()
}

/// The memory that it has, in bytes; a process that is ending has none.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let Some(line) = line else { return (!status.is_empty()).then_some(0) };
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_name_cannot_pass_for_numbers() {
        let stat = "7 (a) b 1 2) S 1 7 7 0 -1 4194560 100 0 0 0 11 22 33 44 20 0 1 0 5 6 7";
        assert_eq!(ticks_of(stat), Some(110));
        assert_eq!(ticks_of(""), None);
        assert_eq!(ticks_of("7 (sh) S 1 2"), None);
    }

    #[test]
    fn memory_is_in_bytes() {
        assert_eq!(resident("Name:\tx\nVmHWM:\t 9 kB\nVmRSS:\t     12 kB\n"), Some(12 * 1024));
        assert_eq!(resident("Name:\tzombie\n"), Some(0));
        assert_eq!(resident(""), None);
    }

    #[test]
    fn children_count_and_the_process_itself_does_not() {
        let mut shell = Command::new("sh");
        // The shell inside burns time until it is killed.
        shell.args(["-c", "sh -c 'while :; do :; done' & wait"]).stdin(Stdio::null());
        let mut shell = shell.spawn().unwrap();
        let root = Pid::from_child(&shell);
        let used = loop {
            let used = below(root);
            if used.cpu_seconds.is_some_and(|seconds| seconds > 0.0) {
                break used;
            }
            std::thread::yield_now();
        };
        tree::signal(root, rustix::process::Signal::KILL).unwrap();
        shell.wait().unwrap();
        assert!(used.memory_bytes.unwrap() > 0);
        assert_eq!(below(root), Consumed::default());
    }
}
