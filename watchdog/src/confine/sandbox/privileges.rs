//! Limits of a process, its user, and its rights.

use std::fs;

use provider::confine::{Gap, Spec};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::gap;
use crate::confine::failure::{Doing, Result};
use crate::confine::stage::Plan;

/// Whether this process may do what root may do to namespaces and mounts.
pub(in crate::confine) fn may_administrate() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Sets the limits that hold for each process: open files and core dumps, and what is to stand in
/// for control groups.
pub(in crate::confine) fn set_limits(spec: &Spec, plan: Plan) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut set = |resource, most, measure: &str| {
        if let Err(error) = limit(resource, most) {
            gaps.push(gap(measure, format_args!("rlimit: {error}")));
        }
    };
    set(Resource::Core, 0, "no core dumps");
    if spec.limits.files > 0 {
        set(Resource::Nofile, spec.limits.files, "open files limit");
    }
    if let Some(bytes) = plan.data {
        set(Resource::Data, bytes, "memory limit of each process");
    }
    if let Some(processes) = plan.processes {
        set(Resource::Nproc, processes, "process limit of the user");
    }
    gaps
}

/// Sets a limit that cannot be raised again. One that is narrower already stays.
pub(in crate::confine) fn limit(resource: Resource, most: u64) -> rustix::io::Result<()> {
    let most = getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most));
    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
}

/// How many processes and threads a user has, machine-wide.
pub(in crate::confine) fn processes_of(user: u32) -> u64 {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let threads = processes.filter_map(|entry| {
        let entry = entry.ok()?;
        entry.file_name().to_str()?.parse::<u32>().ok()?;
        threads(&fs::read_to_string(entry.path().join("status")).ok()?, user)
    });
    threads.sum()
}

/// The threads of a process, when it is this user's.
fn threads(status: &str, user: u32) -> Option<u64> {
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
    let real = field("Uid:")?.split_whitespace().next()?;
    (real.parse() == Ok(user)).then_some(field("Threads:")?.trim().parse().ok()?)
}

/// Takes care that no program gives rights that its user does not have. Without the right to do
/// so, `no_new_privs` does the same.
pub(in crate::confine) fn empty_bounding_set() {
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        match capability_is_in_bounding_set(one) {
            Ok(true) => {
                let _ = remove_capability_from_bounding_set(one);
            }
            Ok(false) => (),
            // There are no more.
            Err(_) => break,
        }
    }
}

/// Leaves all groups but its own one, where that may be done: it takes a right, which a user
/// namespace does not give. There, only what is mounted matters.
pub(in crate::confine) fn leave_groups() {
    let _ = set_thread_groups(&[]);
}

/// Becomes another user, with the group of the same number and no other.
pub(in crate::confine) fn become_user(user: u32) -> Result<()> {
    let change = || -> rustix::io::Result<()> {
        // All bits set stands for no user.
        if user == u32::MAX {
            return Err(Errno::INVAL);
        }
        let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)
    };
    change().doing(format_args!(
        "cannot become user {user}; run the gateway as root, or without a user for functions"
    ))
}

/// Gives up all rights, for good.
pub(in crate::confine) fn drop_capabilities() -> Result<()> {
    let drop = || -> rustix::io::Result<()> {
        set_no_new_privs(true)?;
        clear_ambient_capability_set()?;
        let none = CapabilitySet::empty();
        set_capabilities(
            None,
            CapabilitySets { effective: none, permitted: none, inheritable: none },
        )
    };
    drop().doing("cannot give up all rights")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_counted_by_their_user() {
        let status = "Name:\tsh\nUid:\t7\t8\t8\t8\nThreads:\t3\n";
        assert_eq!(threads(status, 7), Some(3));
        assert_eq!(threads(status, 8), None);
        assert_eq!(threads("", 8), None);
        assert!(processes_of(rustix::process::getuid().as_raw()) > 0);
    }
}
