//! Landlock: which files may be used, as a second wall behind the mounts, or as the only one.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};
use provider::confine::{Gap, Network, Spec};

use super::{gap, system};
use crate::confine::failure::Failure;
use crate::confine::places::Places;
use crate::confine::spec::readable;
use crate::confine::stage::Wall;

/// The newest version that is made use of, where the kernel has it.
const NEWEST: ABI = ABI::V9;

const MEASURE: &str = "landlock";

/// Confines this process and its children for good.
pub(in crate::confine) fn enforce(spec: &Spec, places: &Places, wall: Wall) -> Vec<Gap> {
    match restrict(spec, places, wall) {
        Ok(LandlockStatus::Available { effective_abi, .. }) => lacking(effective_abi, spec, wall),
        Ok(LandlockStatus::NotEnabled) => {
            vec![none("switched off at boot (lsm= of the kernel's command line)", wall)]
        }
        Ok(LandlockStatus::NotImplemented) => {
            vec![none("not in this kernel (it takes Linux 5.13 or newer)", wall)]
        }
        Err(error) => vec![none(error, wall)],
    }
}

/// There is no landlock at all.
fn none(reason: impl Display, wall: Wall) -> Gap {
    let instead = match wall {
        Wall::Namespaces => "files are held by its root directory",
        Wall::Rules => "it can use every file that its user can",
    };
    gap(MEASURE, format_args!("{reason}; {instead}"))
}

/// Root's function with nothing between it and root's files is not to be run at all.
pub(in crate::confine) fn bear(gaps: &[Gap], wall: Wall, user: u32) -> Result<(), Failure> {
    match gaps.iter().find(|gap| gap.measure == MEASURE) {
        Some(gap) if wall == Wall::Rules && user == 0 => Err(Failure(format!(
            "nothing would keep a function that is root from the machine's files (landlock: {}); \
             run the gateway as another user, or where there can be namespaces",
            gap.reason
        ))),
        _ => Ok(()),
    }
}

fn restrict(spec: &Spec, places: &Places, wall: Wall) -> Result<LandlockStatus, RulesetError> {
    let all = AccessFs::from_all(NEWEST);
    let read = AccessFs::from_read(NEWEST);
    let devices = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    let mut rules = Ruleset::default()
        .handle_access(all)?
        .scope(Scope::AbstractUnixSocket)?
        .scope(Scope::Signal)?
        .create()?;
    for path in readable_paths(spec, places, wall) {
        rules = allow(rules, &path, read)?;
    }
    for path in system::DEVICES {
        rules = allow(rules, Path::new(path), devices)?;
    }
    let write = all & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    for path in [&places.run, &places.tmp] {
        rules = allow(rules, path, write)?;
    }
    if wall == Wall::Namespaces {
        rules = allow(rules, Path::new("/dev/shm"), write)?;
    }
    Ok(rules.restrict_self()?.landlock)
}

/// What is not there needs no rule.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(fd) => rules.add_rule(PathBeneath::new(fd, access)),
        Err(_) => Ok(rules),
    }
}

fn readable_paths(spec: &Spec, places: &Places, wall: Wall) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = system::PROGRAMS.map(PathBuf::from).to_vec();
    paths.extend([&places.bundle, &places.secrets, &places.watchdog].map(Clone::clone));
    paths.extend(readable(spec));
    paths.push("/proc".into());
    match wall {
        // It holds nothing but what was put there.
        Wall::Namespaces => paths.extend(["/etc", "/dev"].map(PathBuf::from)),
        Wall::Rules => {
            paths.extend(system::SETTINGS.map(PathBuf::from));
            paths.extend(
                ["/etc/passwd", "/etc/group", "/etc/hosts", "/etc/hostname"].map(PathBuf::from),
            );
        }
    }
    paths
}

/// What landlock, or an older version of it, does not hold, and no other wall either.
fn lacking(version: ABI, spec: &Spec, wall: Wall) -> Vec<Gap> {
    let alone = wall == Wall::Rules;
    let since = |linux: &str| format!("landlock holds them from Linux {linux} on");
    let mut gaps = Vec::new();
    if version < ABI::V3 && alone {
        gaps.push(gap("files of the same user may be cut off", since("6.2")));
    }
    if version < ABI::V6 && (alone || spec.network == Network::Host) {
        gaps.push(gap("abstract unix sockets of the machine", since("6.12")));
    }
    if version < ABI::V6 && alone {
        gaps.push(gap("signals to processes of the same user", since("6.12")));
    }
    if alone {
        let reason = "landlock does not hold chmod and its like; only the file's owner is asked";
        gaps.push(gap("modes, times and attributes of the user's files", reason));
    }
    if version < ABI::V9 && alone {
        gaps.push(gap("unix sockets in folders of the machine", since("7.1")));
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacks(version: ABI, wall: Wall, network: Network) -> usize {
        lacking(version, &Spec { network, ..Spec::default() }, wall).len()
    }

    #[test]
    fn an_old_version_lacks_only_what_nothing_else_holds() {
        assert_eq!(lacks(ABI::V1, Wall::Rules, Network::Host), 5);
        assert_eq!(lacks(ABI::V6, Wall::Rules, Network::Host), 2);
        assert_eq!(lacks(ABI::V9, Wall::Rules, Network::Host), 1);
        assert_eq!(lacks(ABI::V1, Wall::Namespaces, Network::Host), 1);
        assert_eq!(lacks(ABI::V1, Wall::Namespaces, Network::None), 0);
        assert_eq!(lacks(ABI::V6, Wall::Namespaces, Network::Host), 0);
    }

    #[test]
    fn root_without_any_wall_is_not_borne() {
        for (wall, user, good) in
            [(Wall::Rules, 0, false), (Wall::Rules, 1, true), (Wall::Namespaces, 0, true)]
        {
            assert_eq!(bear(&[none("no", wall)], wall, user).is_ok(), good, "{wall:?} {user}");
            bear(&lacking(ABI::V1, &Spec::default(), wall), wall, user).expect("there is landlock");
        }
    }

    #[test]
    fn no_rule_opens_a_folder_with_secrets() {
        let places = Places::inside();
        for wall in [Wall::Namespaces, Wall::Rules] {
            for path in readable_paths(&Spec::default(), &places, wall) {
                let own = wall == Wall::Namespaces && path == Path::new("/etc");
                assert!(own || !Path::new("/etc/shadow").starts_with(&path), "{path:?}");
                assert!(!Path::new("/etc/ssl/private").starts_with(&path) || own, "{path:?}");
                assert!(!Path::new("/root").starts_with(&path), "{path:?}");
            }
        }
    }
}
