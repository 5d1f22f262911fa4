//! What is to be run, checked before anything is done.

use std::fs;
use std::path::{Path, PathBuf};

use provider::confine::{BUNDLE_DIR, Layout, RUN_DIR, SECRETS_DIR, Spec};

use super::failure::{Doing, Failure, Result};

/// Longest replica id: it becomes a control group's name. That of a function with the longest name
/// in a namespace with the longest name is within it.
const MAX_ID: usize = 200;

/// Longest host name that the kernel takes, in bytes.
const MAX_HOST_NAME: usize = 64;

/// What is already something else in the sandbox.
const TAKEN: [&str; 8] =
    ["/dev", "/etc", "/proc", "/sys", "/tmp", BUNDLE_DIR, RUN_DIR, SECRETS_DIR];

/// Reads the spec of a replica, and says what is wrong with it.
pub(super) fn read(layout: &Layout) -> Result<Spec> {
    let path = layout.spec();
    let text = fs::read(&path).doing(format_args!("cannot read {}", path.display()))?;
    let mut spec: Spec = serde_json::from_slice(&text).doing(format_args!(
        "{} is not what a backend writes; deploy the function again",
        path.display()
    ))?;
    // Who we are already need not be become.
    spec.user = spec.user.filter(|user| *user != rustix::process::geteuid().as_raw());
    check_id(&spec.replica)?;
    check_bundle(&spec.bundle)?;
    spec.readable.iter().try_for_each(|path| check_readable(path))?;
    Ok(spec)
}

/// The id names a control group: it must not be a path.
fn check_id(id: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if id.is_empty() || id.len() > MAX_ID || id.starts_with('.') || !id.chars().all(plain) {
        return Err(Failure(format!(
            "replica id {id:?} must be 1 to {MAX_ID} letters, digits, '-', '_' or '.', and not \
             start with '.'"
        )));
    }
    Ok(())
}

fn check_bundle(bundle: &Path) -> Result<()> {
    if !bundle.is_absolute() {
        return Err(Failure(format!("bundle {bundle:?} must be an absolute path")));
    }
    match fs::metadata(bundle) {
        Ok(data) if data.is_dir() => Ok(()),
        Ok(_) => Err(Failure(format!("bundle {} is not a folder", bundle.display()))),
        Err(error) => Err(Failure(format!(
            "bundle {}: {error}; deploy the function again, so that it is unpacked anew",
            bundle.display()
        ))),
    }
}

/// It must not open the whole machine, nor hide what the sandbox needs.
fn check_readable(path: &Path) -> Result<()> {
    let shown = path.display();
    let plain = path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    if !path.is_absolute() || !plain || path.parent().is_none() {
        return Err(Failure(format!("readable {shown} must be an absolute path below /")));
    }
    let taken =
        TAKEN.iter().find(|taken| path.starts_with(taken) || Path::new(taken).starts_with(path));
    if let Some(taken) = taken {
        return Err(Failure(format!(
            "readable {shown} cannot be shown in the sandbox, where {taken} is something else; \
             install what needs it elsewhere, such as below /opt"
        )));
    }
    fs::metadata(path).map(drop).doing(format_args!("readable {shown} (install it again)"))
}

/// The host name in the sandbox: as much of the id as the kernel takes.
pub(super) fn host_name(spec: &Spec) -> &str {
    // An id is ASCII, so any place is good to cut it.
    &spec.replica[..spec.replica.len().min(MAX_HOST_NAME)]
}

/// The folders and files to be made readable, without those that are in another one.
pub(super) fn readable(spec: &Spec) -> Vec<PathBuf> {
    let mut paths = spec.readable.clone();
    paths.sort();
    let mut kept: Vec<PathBuf> = Vec::with_capacity(paths.len());
    for path in paths {
        if !kept.iter().any(|above| path.starts_with(above)) {
            kept.push(path);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_names_and_not_paths() {
        for good in ["a", "hello-0_1.x", &"i".repeat(MAX_ID)] {
            check_id(good).expect(good);
        }
        for bad in ["", ".", "..", "a/b", "../a", "a b", "ü", &"i".repeat(MAX_ID + 1)] {
            check_id(bad).expect_err(bad);
        }
    }

    #[test]
    fn a_long_id_makes_a_short_host_name() {
        let of = |replica: String| host_name(&Spec { replica, ..Spec::default() }).len();
        assert_eq!((of("i".repeat(MAX_ID)), of("echo.1".to_owned())), (MAX_HOST_NAME, 6));
    }

    #[test]
    fn readable_folders_may_not_open_the_machine_or_hide_the_sandbox() {
        check_readable(Path::new("/usr/bin")).expect("good");
        let cases = [
            ("/", "below /"),
            ("usr", "absolute"),
            ("/usr/../root", "absolute"),
            ("/home", "/home/app is something else"),
            ("/home/app/tool", "/home/app is something else"),
            ("/tmp/tool", "/tmp is something else"),
            ("/proc/1", "/proc is something else"),
            ("/nowhere/tool", "/nowhere/tool (install it again)"),
        ];
        for (path, words) in cases {
            let error = check_readable(Path::new(path)).expect_err(path);
            assert!(error.0.contains(words), "{path}: {error}");
        }
    }

    #[test]
    fn a_folder_covers_what_is_in_it() {
        let readable_paths = ["/opt/b", "/opt/a/x", "/opt/a", "/opt/ab"].map(PathBuf::from);
        let spec = Spec { readable: readable_paths.to_vec(), ..Spec::default() };
        assert_eq!(readable(&spec), ["/opt/a", "/opt/ab", "/opt/b"].map(PathBuf::from));
    }
}
