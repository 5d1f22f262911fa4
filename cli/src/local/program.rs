//! Finds `faas-gateway`.

use std::path::PathBuf;

use anyhow::Result;

use crate::build::beside_this_program;
use crate::config::Environment;
use crate::error::hinted;

/// The program.
pub(super) const PROGRAM: &str = "faas-gateway";

/// The program: as named, else beside this one, else on the `PATH`.
///
/// `wanted` says what it is needed for, and `instead` what else would do.
pub(crate) fn program(env: &Environment, wanted: &str, instead: &str) -> Result<PathBuf> {
    let none = || {
        hinted(
            format!("{wanted}, and the program {PROGRAM} is not found"),
            format!("put {PROGRAM} beside faas, name it with FAAS_GATEWAY, or {instead}"),
        )
    };
    if let Some(path) = env.building.gateway.clone().or_else(|| beside_this_program(PROGRAM)) {
        return match path.is_file() {
            true => Ok(std::path::absolute(path)?),
            false => Err(none()),
        };
    }
    let path = env.building.path.as_deref().unwrap_or_default();
    let mut files = std::env::split_paths(path).map(|folder| folder.join(PROGRAM));
    files.find(|file| file.is_file()).ok_or_else(none)
}
