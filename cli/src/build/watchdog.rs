//! Finds the watchdog's static binary, which goes into every image.

use std::path::{Path, PathBuf};

use crate::error::hinted;

use super::dockerfile::WATCHDOG;

/// The first of: the flag, the variable, beside this program. `None` when it is nowhere.
///
/// A file that was named must be there.
pub(crate) fn find(
    flag: Option<&Path>,
    variable: Option<&Path>,
) -> anyhow::Result<Option<PathBuf>> {
    for (named, by) in [(flag, "--watchdog"), (variable, "FAAS_WATCHDOG")] {
        match named {
            Some(path) if path.is_file() => return Ok(Some(path.to_owned())),
            Some(path) => {
                let message = format!("{by} names {}, which is no file", path.display());
                return Err(hinted(message, "name the static binary fwatchdog"));
            }
            None => {}
        }
    }
    Ok(beside_this_program(WATCHDOG))
}

/// A program in the folder of this one.
pub fn beside_this_program(name: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    Some(own.parent()?.join(name)).filter(|path| path.is_file())
}

/// The error when a Dockerfile wants it and it is nowhere.
pub(crate) fn missing() -> anyhow::Error {
    let message = "the watchdog is not found: no file `fwatchdog` beside the program `faas`";
    hinted(message, "name its static binary with --watchdog or FAAS_WATCHDOG")
}
