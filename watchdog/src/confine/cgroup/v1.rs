//! Version 1: a hierarchy for each controller, usually root's alone.

use std::io;
use std::path::Path;

use provider::confine::Limits;

use super::find::{Controller, Place};
use super::{Group, Version, make_dir, write};

/// The span of time that a processor limit is about.
const PERIOD_US: u64 = 100_000;
/// The kernel takes no shorter share of it.
const MIN_QUOTA_US: u64 = 1000;

pub(super) fn make(place: &Place, replica: &str, controller: Controller) -> Result<Group, String> {
    make_dir(&place.dir, Version::One, replica)
        .map(|dir| Group { dir, version: Version::One, controllers: vec![controller] })
        .map_err(|error| {
            format!("no control group may be made in {}: {error}", place.dir.display())
        })
}

pub(super) fn hold(dir: &Path, controller: Controller, limits: &Limits) -> io::Result<()> {
    match controller {
        Controller::Memory => {
            let bytes = limits.memory.unwrap_or_default().to_string();
            write(dir, "memory.limit_in_bytes", &bytes)?;
            // Only kernels that account for swap have it.
            match write(dir, "memory.memsw.limit_in_bytes", &bytes) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        }
        Controller::Cpu => {
            write(dir, "cpu.cfs_period_us", &PERIOD_US.to_string())?;
            write(dir, "cpu.cfs_quota_us", &quota_us(limits).to_string())
        }
        Controller::Pids => write(dir, "pids.max", &limits.pids.to_string()),
        Controller::Freezer => Ok(()),
    }
}

/// Microseconds of processor time a period.
pub(super) fn quota_us(limits: &Limits) -> u64 {
    let millis = limits.cpu.unwrap_or_default();
    millis.saturating_mul(PERIOD_US / 1000).max(MIN_QUOTA_US)
}

/// As version 2 wants it.
pub(super) fn quota_and_period(limits: &Limits) -> String {
    format!("{} {PERIOD_US}", quota_us(limits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn limits_are_written_where_the_kernel_reads_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let limits = Limits { memory: Some(1 << 20), cpu: Some(1500), pids: 64, files: 0 };
        for controller in Controller::ALL {
            hold(dir.path(), controller, &limits).expect("written");
        }
        let read = |file: &str| fs::read_to_string(dir.path().join(file)).expect("written");
        assert_eq!(read("memory.limit_in_bytes"), "1048576");
        assert_eq!(read("cpu.cfs_quota_us"), "150000");
        assert_eq!(read("cpu.cfs_period_us"), "100000");
        assert_eq!(read("pids.max"), "64");
    }

    #[test]
    fn small_shares_are_what_the_kernel_takes() {
        assert_eq!(quota_us(&Limits { cpu: Some(1), ..Limits::default() }), MIN_QUOTA_US);
    }
}
