//! Files that others read while we write them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;

use super::failure::{Doing, Failure, Result};

/// Puts `value` at `path` at once: a reader sees the old content, or all of the new one.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(value).map_err(Failure::new)?;
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let write = || {
        options.open(&new)?.write_all(&text)?;
        fs::rename(&new, path)
    };
    write().doing(format_args!("cannot write {}", path.display()))
}

/// Removes a file that may not be there.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).doing(format_args!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_replaced_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.json");
        write_json(&path, &[1]).expect("writable");
        write_json(&path, &[2, 3]).expect("writable");
        assert_eq!(fs::read_to_string(&path).expect("readable"), "[2,3]");
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1);
        remove(&path).expect("removed");
        remove(&path).expect("nothing to remove");
    }

    #[test]
    fn failures_name_the_file() {
        let error = write_json(Path::new("/proc/no/report.json"), &1).expect_err("no folder");
        assert!(error.0.starts_with("cannot write /proc/no/report.json"), "{error}");
    }
}
