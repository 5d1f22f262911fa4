//! seccomp: system calls that a function has no use for, and an attacker has.

use std::collections::BTreeMap;

use provider::confine::Gap;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Is,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter, sock_filter,
};

use super::gap;

/// Always refused.
const REFUSED: &[i64] = &[
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Mounts, roots and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_mount_setattr,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    // Keys.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Code in the kernel, and ways around the checks of other calls.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    // Files past their folders' rights.
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    // The machine.
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_vhangup,
    // More memory of the machine than one's own.
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
];

/// Refused too, but not known to every processor.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[i64] =
    &[libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_uselib, libc::SYS__sysctl];
#[cfg(target_arch = "aarch64")]
const REFUSED_HERE: &[i64] = &[libc::SYS_kexec_file_load];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const REFUSED_HERE: &[i64] = &[];

/// `CLONE_NEWTIME`, `_NEWNS`, `_NEWCGROUP`, `_NEWUTS`, `_NEWIPC`, `_NEWUSER`, `_NEWPID`, `_NEWNET`;
/// see clone(2).
const NAMESPACES: [u64; 8] =
    [0x80, 0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];
/// The lowest byte of clone's flags is a signal.
const SIGNAL_BITS: u64 = 0xff;

/// Sockets that are of use: between processes, over IP, and to ask about interfaces.
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Terminal commands that put words into somebody else's mouth.
const TERMINAL: [u64; 2] = [0x5412, 0x541c];

/// What `personality` is asked to only tell, or to set what is the case anyway.
const PERSONALITIES: [u64; 2] = [0, 0xffff_ffff];

/// Filters all system calls of this process and its children from now on.
pub(in crate::confine) fn enforce() -> Vec<Gap> {
    let Ok(processor) = TargetArch::try_from(std::env::consts::ARCH) else {
        let reason = format!("there is none for {} processors", std::env::consts::ARCH);
        return vec![gap("system call filter", reason)];
    };
    let enforce = || -> Result<(), String> {
        let refuse = refusing(processor).map_err(|error| error.to_string())?;
        apply_filter(&refuse).map_err(|error| error.to_string())?;
        apply_filter(&unknown()).map_err(|error| error.to_string())
    };
    match enforce() {
        Ok(()) => Vec::new(),
        Err(reason) => vec![gap("system call filter", reason)],
    }
}

/// The filter that says `EPERM`.
fn refusing(processor: TargetArch) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in REFUSED.iter().chain(REFUSED_HERE) {
        rules.insert(*call, Vec::new());
    }
    let bit = |bit: &u64| rule(&[(0, Is::MaskedEq(*bit), *bit)]);
    let in_clone = NAMESPACES.iter().filter(|bit| **bit > SIGNAL_BITS);
    rules.insert(libc::SYS_clone, in_clone.map(bit).collect::<Result<_, _>>()?);
    rules.insert(libc::SYS_unshare, NAMESPACES.iter().map(bit).collect::<Result<_, _>>()?);
    let terminal = TERMINAL.iter().map(|command| rule(&[(1, Is::Eq, *command)]));
    rules.insert(libc::SYS_ioctl, terminal.collect::<Result<_, _>>()?);
    let personality = PERSONALITIES.map(|value| (0, Is::Ne, value));
    rules.insert(libc::SYS_personality, vec![rule(&personality)?]);
    rules.insert(libc::SYS_socket, sockets(0, 2)?);
    rules.insert(libc::SYS_socketpair, sockets(0, 2)?);
    rules.insert(libc::SYS_mknodat, devices(2)?);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_mknod, devices(1)?);
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    SeccompFilter::new(rules, SeccompAction::Allow, refused, processor)?.try_into()
}

/// Other families of sockets, and other netlink protocols than that of interfaces and routes.
fn sockets(family: u8, protocol: u8) -> Result<Vec<SeccompRule>, BackendError> {
    let others = FAMILIES.map(|known| (family, Is::Ne, u64::from(known.cast_unsigned())));
    let netlink = u64::from(libc::AF_NETLINK.cast_unsigned());
    let routes = u64::from(libc::NETLINK_ROUTE.cast_unsigned());
    Ok(vec![rule(&others)?, rule(&[(family, Is::Eq, netlink), (protocol, Is::Ne, routes)])?])
}

/// Nodes that are devices, by the mode in this argument.
fn devices(mode: u8) -> Result<Vec<SeccompRule>, BackendError> {
    let kinds = [libc::S_IFCHR, libc::S_IFBLK].map(u64::from);
    let kind_bits = u64::from(libc::S_IFMT);
    kinds.map(|kind| rule(&[(mode, Is::MaskedEq(kind_bits), kind)])).into_iter().collect()
}

/// A rule that holds when all conditions on arguments (32 bits of them) do.
fn rule(conditions: &[(u8, Is, u64)]) -> Result<SeccompRule, BackendError> {
    let condition = |(argument, is, value): &(u8, Is, u64)| {
        SeccompCondition::new(*argument, Length::Dword, is.clone(), *value)
    };
    SeccompRule::new(conditions.iter().map(condition).collect::<Result<_, _>>()?)
}

/// The filter that says `ENOSYS`: to `clone3`, whose flags cannot be looked at, so that libraries
/// use `clone`; and to the calls of the x32 interface, which are the same ones by other numbers.
fn unknown() -> BpfProgram {
    const LOAD_NUMBER: u16 = 0x20;
    const EQUAL: u16 = 0x15;
    const GREATER_EQUAL: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const X32: u32 = 0x4000_0000;
    let no_such_call = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![
        step(LOAD_NUMBER, 0, 0, 0),
        step(EQUAL, 1, 0, libc::SYS_clone3 as u32),
        step(GREATER_EQUAL, 0, 1, X32),
        step(RETURN, 0, 0, no_such_call),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_compile_for_every_processor() {
        for processor in [TargetArch::x86_64, TargetArch::aarch64, TargetArch::riscv64] {
            assert!(refusing(processor).expect("a filter").len() > REFUSED.len());
        }
    }
}
