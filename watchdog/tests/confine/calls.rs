//! System calls, each made from inside.

use crate::Case;
use crate::replica::Replica;
use crate::setting::Setting;

pub(crate) const CASES: &[Case] = &[
    ("is refused dangerous calls", is_refused_calls),
    ("is refused namespaces", is_refused_namespaces),
    ("is refused devices and terminals", is_refused_devices),
    ("is refused other sockets", is_refused_sockets),
    ("may make the calls that programs need", may_make_calls),
];

const EPERM: i32 = 1;

/// What calls from inside return: `None` when one works, else its error.
fn outcomes(replica: &Replica, calls: &[(i64, &str)]) -> Vec<Option<i32>> {
    let lines = calls.iter().map(|(number, arguments)| {
        format!("$! = 0; $r = syscall({number}, {arguments}); print $r == -1 ? $! + 0 : \"ok\", \"\\n\";\n")
    });
    let text = replica.run(&format!("perl -e '$s = \".\" x 64; {}'", lines.collect::<String>()));
    let outcomes: Vec<_> = text.lines().map(|line| line.parse().ok()).collect();
    assert_eq!(outcomes.len(), calls.len(), "{text}");
    outcomes
}

fn assert_refused(setting: Setting, calls: &[(i64, &str)]) {
    let replica = Replica::start(setting);
    for (call, outcome) in calls.iter().zip(outcomes(&replica, calls)) {
        assert_eq!(outcome, Some(EPERM), "{call:?}");
    }
}

fn is_refused_calls(setting: Setting) {
    let calls = [
        (libc::SYS_ptrace, "0, 0, 0, 0"),
        (libc::SYS_process_vm_readv, "1, 0, 0, 0, 0, 0"),
        (libc::SYS_process_vm_writev, "1, 0, 0, 0, 0, 0"),
        (libc::SYS_kcmp, "1, 1, 0, 0, 0"),
        (libc::SYS_mount, "0, 0, 0, 0, 0"),
        (libc::SYS_umount2, "0, 0"),
        (libc::SYS_pivot_root, "0, 0"),
        (libc::SYS_chroot, "$s"),
        (libc::SYS_setns, "0, 0"),
        (libc::SYS_open_tree, "-100, $s, 1"),
        (libc::SYS_fsopen, "$s, 0"),
        (libc::SYS_bpf, "0, 0, 0"),
        (libc::SYS_perf_event_open, "0, 0, 0, 0, 0"),
        (libc::SYS_add_key, "0, 0, 0, 0, 0"),
        (libc::SYS_request_key, "0, 0, 0, 0"),
        (libc::SYS_keyctl, "0, -3, 1"),
        (libc::SYS_io_uring_setup, "1, 0"),
        (libc::SYS_io_uring_enter, "0, 0, 0, 0, 0, 0"),
        (libc::SYS_userfaultfd, "1"),
        (libc::SYS_open_by_handle_at, "0, 0, 0"),
        (libc::SYS_name_to_handle_at, "-100, $s, 0, 0, 0"),
        (libc::SYS_kexec_load, "0, 0, 0, 0"),
        (libc::SYS_init_module, "0, 0, 0"),
        (libc::SYS_finit_module, "0, 0, 0"),
        (libc::SYS_delete_module, "0, 0"),
        (libc::SYS_reboot, "0, 0, 0, 0"),
        (libc::SYS_swapon, "0, 0"),
        (libc::SYS_swapoff, "0"),
        (libc::SYS_settimeofday, "0, 0"),
        (libc::SYS_clock_settime, "0, 0"),
        (libc::SYS_adjtimex, "0"),
        (libc::SYS_quotactl, "0, 0, 0, 0"),
        (libc::SYS_acct, "0"),
        (libc::SYS_syslog, "10, 0, 0"),
        (libc::SYS_fanotify_init, "0, 0"),
        (libc::SYS_personality, "0x40000"),
        (libc::SYS_sethostname, "$s, 1"),
    ];
    assert_refused(setting, &calls);
}

fn is_refused_namespaces(setting: Setting) {
    let bits =
        [0x80, 0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];
    let unshare = bits.map(|bit: u64| bit.to_string());
    let mut calls: Vec<_> = unshare.iter().map(|bit| (libc::SYS_unshare, bit.as_str())).collect();
    let clone = bits[1..].iter().map(|bit| format!("{bit} | 17, 0, 0, 0, 0"));
    let clone: Vec<_> = clone.collect();
    calls.extend(clone.iter().map(|flags| (libc::SYS_clone, flags.as_str())));
    assert_refused(setting, &calls);
    let replica = Replica::start(setting);
    assert_eq!(outcomes(&replica, &[(libc::SYS_clone3, "0, 0")]), [Some(libc::ENOSYS)]);
}

fn is_refused_devices(setting: Setting) {
    let calls = [
        (libc::SYS_ioctl, "0, 0x5412, 0"),
        (libc::SYS_ioctl, "0, 0x541c, 0"),
        // The low half of the argument counts.
        (libc::SYS_ioctl, "0, 0x100005412, 0"),
        (libc::SYS_mknodat, "-100, $s, 0020666, 259"),
        (libc::SYS_mknodat, "-100, $s, 0060666, 2048"),
    ];
    assert_refused(setting, &calls);
}

fn is_refused_sockets(setting: Setting) {
    let raw = format!("{}, {}, 1", libc::AF_INET, libc::SOCK_RAW);
    let audit = format!("{}, {}, 9", libc::AF_NETLINK, libc::SOCK_RAW);
    let families =
        [libc::AF_PACKET, libc::AF_VSOCK, libc::AF_ALG, libc::AF_KEY, libc::AF_BLUETOOTH];
    let others = families.map(|family| format!("{family}, {}, 0", libc::SOCK_RAW));
    let mut calls = vec![(libc::SYS_socket, raw.as_str()), (libc::SYS_socket, audit.as_str())];
    calls.extend(others.iter().map(|arguments| (libc::SYS_socket, arguments.as_str())));
    assert_refused(setting, &calls);
}

fn may_make_calls(setting: Setting) {
    let replica = Replica::start(setting);
    let stream = libc::SOCK_STREAM;
    let sockets =
        [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6].map(|f| format!("{f}, {stream}, 0"));
    let netlink = format!("{}, {}, 0", libc::AF_NETLINK, libc::SOCK_RAW);
    let mut calls: Vec<_> = sockets.iter().map(|text| (libc::SYS_socket, text.as_str())).collect();
    calls.extend([
        (libc::SYS_socket, netlink.as_str()),
        (libc::SYS_personality, "0xffffffff"),
        (libc::SYS_unshare, "0x400"),
        (libc::SYS_memfd_create, "$s, 0"),
        (libc::SYS_epoll_create1, "0"),
        (libc::SYS_inotify_init1, "0"),
        (libc::SYS_eventfd2, "0, 0"),
        (libc::SYS_getrandom, "$s, 8, 0"),
    ]);
    for (call, outcome) in calls.iter().zip(outcomes(&replica, &calls)) {
        assert_eq!(outcome, None, "{call:?}");
    }
}
