//! The root directory of a replica: the system's programs, its bundle, and little else.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use provider::confine::{BUNDLE_DIR, Layout, Network, RUN_DIR, SECRETS_DIR, Spec};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{chdir, pivot_root};

use super::mounts::NewRoot;
use super::system;
use crate::confine::failure::{Doing, Result};
use crate::confine::places::WATCHDOG;
use crate::confine::spec::{host_name, readable};

/// Largest size of what is in memory and not in a folder of the replica.
const ROOT_OPTIONS: &std::ffi::CStr = c"mode=755,size=4m,nr_inodes=4096";
const SHM_OPTIONS: &std::ffi::CStr = c"mode=1777,size=64m";
const EMPTY_OPTIONS: &std::ffi::CStr = c"mode=555,size=4k,nr_inodes=2";

/// The folder in a replica's folder at which its root directory is put together.
pub(in crate::confine) fn folder(layout: &Layout) -> PathBuf {
    layout.dir.join("root")
}

/// Mounts an empty file system there.
pub(in crate::confine) fn lay(layout: &Layout) -> Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", folder(layout), "tmpfs", flags, ROOT_OPTIONS)
        .doing("the new namespaces allow no file system in memory")
}

/// Fills it and makes it the root directory, in the namespaces that the stage before has made.
pub(in crate::confine) fn build(layout: &Layout, spec: &Spec) -> Result<()> {
    let root = NewRoot(folder(layout));
    for path in system::PROGRAMS {
        root.same(path, true)?;
    }
    settings(&root, spec)?;
    devices(&root)?;
    processes(&root)?;
    protect(&root)?;
    root.bind(&std::env::current_exe().doing("own program")?, Path::new(WATCHDOG))?;
    root.bind(&spec.bundle, Path::new(BUNDLE_DIR))?;
    root.bind(&layout.secrets(), Path::new(SECRETS_DIR))?;
    root.bind(&layout.run(), Path::new(RUN_DIR))?;
    root.bind(&layout.tmp(), Path::new("/tmp"))?;
    for path in readable(spec).iter().filter(|path| !root.at(path).exists()) {
        root.bind(path, path)?;
    }
    // What is below /proc has been protected one by one.
    root.seal(&["/dev/shm", "/proc", "/tmp", RUN_DIR], &system::DEVICES)?;
    enter(&root)
}

fn settings(root: &NewRoot, spec: &Spec) -> Result<()> {
    root.make_dir(Path::new("/etc"))?;
    for path in system::SETTINGS {
        root.same(path, false)?;
    }
    let user = spec.user.unwrap_or_else(|| rustix::process::geteuid().as_raw());
    let group = spec.user.unwrap_or_else(|| rustix::process::getegid().as_raw());
    root.write("/etc/passwd", &users(user, group))?;
    root.write("/etc/group", &groups(group))?;
    root.write("/etc/hosts", &hosts(host_name(spec), &spec.hosts, spec.network))?;
    root.write("/etc/hostname", &format!("{}\n", host_name(spec)))
}

fn devices(root: &NewRoot) -> Result<()> {
    for path in system::DEVICES {
        root.same(path, false)?;
    }
    let links = [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")];
    for (name, number) in links {
        let to = format!("/proc/self/fd{number}");
        root.link(&format!("/dev/{name}"), Path::new(&to))?;
    }
    let shm = Path::new("/dev/shm");
    root.make_dir(shm)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", root.at(shm), "tmpfs", flags, SHM_OPTIONS).doing("cannot make /dev/shm")
}

/// A `/proc` of the new process namespace; the watchdog does not work without. In containers that
/// cover parts of `/proc` there can be none but root's.
fn processes(root: &NewRoot) -> Result<()> {
    let proc = Path::new("/proc");
    root.make_dir(proc)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", root.at(proc), "proc", flags, None).doing("no new /proc may be mounted")
}

/// Covers what of `/proc` is about the machine.
fn protect(root: &NewRoot) -> Result<()> {
    for path in system::FIXED.iter().map(|path| root.at(Path::new(path))).filter(|p| p.exists()) {
        rustix::mount::mount_bind_recursive(&path, &path)
            .doing(format_args!("cannot protect {}", path.display()))?;
        let flags = MountFlags::BIND
            | MountFlags::RDONLY
            | MountFlags::NOSUID
            | MountFlags::NODEV
            | MountFlags::NOEXEC;
        rustix::mount::mount_remount(&path, flags, "")
            .doing(format_args!("cannot protect {}", path.display()))?;
    }
    for path in system::HIDDEN.iter().map(|path| root.at(Path::new(path))) {
        let Ok(data) = fs::metadata(&path) else { continue };
        let hidden = if data.is_dir() {
            let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
            mount("tmpfs", &path, "tmpfs", flags, EMPTY_OPTIONS)
        } else {
            rustix::mount::mount_bind("/dev/null", &path)
        };
        hidden.doing(format_args!("cannot hide {}", path.display()))?;
    }
    Ok(())
}

/// Makes it the root directory, and lets go of the one before.
fn enter(root: &NewRoot) -> Result<()> {
    let enter = || -> rustix::io::Result<()> {
        chdir(&root.0)?;
        // The old root comes to lie on the new one, where it is taken off; see pivot_root(2).
        pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        chdir("/")
    };
    enter().doing("cannot change the root directory")
}

fn users(user: u32, group: u32) -> String {
    let root = if user == 0 { "/tmp" } else { "/root" };
    let mut text = format!("root:x:0:0:root:{root}:/bin/sh\n");
    if user != 0 && user != 65534 {
        text += &format!("app:x:{user}:{group}:app:/tmp:/bin/sh\n");
    }
    text + "nobody:x:65534:65534:nobody:/tmp:/bin/false\n"
}

fn groups(group: u32) -> String {
    let mut text = "root:x:0:\n".to_owned();
    if group != 0 && group != 65534 {
        text += &format!("app:x:{group}:\n");
    }
    text + "nogroup:x:65534:\n"
}

fn hosts(own: &str, hosts: &BTreeMap<String, IpAddr>, network: Network) -> String {
    let mut text = format!("127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.0.1 {own}\n");
    if network == Network::Host {
        for (name, address) in hosts {
            text += &format!("{address} {name}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_only_those_that_are_there() {
        assert_eq!(
            users(1000, 100),
            "root:x:0:0:root:/root:/bin/sh\napp:x:1000:100:app:/tmp:/bin/sh\n\
             nobody:x:65534:65534:nobody:/tmp:/bin/false\n"
        );
        assert_eq!(groups(100), "root:x:0:\napp:x:100:\nnogroup:x:65534:\n");
        assert!(!users(0, 0).contains("app") && !groups(0).contains("app"));
        assert!(!users(65534, 65534).contains("app"));
    }

    #[test]
    fn hosts_are_the_given_ones_unless_there_is_no_network() {
        let names = BTreeMap::from([("gateway".to_owned(), IpAddr::from([10, 0, 0, 1]))]);
        assert!(hosts("r", &names, Network::Host).ends_with("127.0.0.1 r\n10.0.0.1 gateway\n"));
        assert!(!hosts("r", &names, Network::None).contains("gateway"));
    }
}
