//! What the whole-system tests share: the binaries, a gateway of their own, an image to deploy.

pub mod alerting;
pub mod authority;
pub mod bundle;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod engine;
pub mod gate;
pub mod gateway;
pub mod helm;
pub mod image;
pub mod load;
pub mod newcomer;
pub mod prometheus;
pub mod raw;
pub mod registry;
pub mod replica;
pub mod world;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A binary of this project, as it was built with the tests.
pub fn binary(name: &str) -> PathBuf {
    let mut dir = std::env::current_exe().unwrap_or_default();
    dir.pop();
    if dir.ends_with("deps") {
        dir.pop();
    }
    dir.join(name)
}

/// The project's folder.
pub fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().map(PathBuf::from).unwrap_or_default()
}

/// A name that no other test uses.
pub fn unique(prefix: &str) -> String {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |age| age.subsec_nanos());
    format!("{prefix}-{}-{nanos:x}", std::process::id())
}

/// Runs a program to its end and gives its output; fails with both outputs when it fails.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    bail!("{command:?} ended with {}\n{stdout}\n{stderr}", output.status)
}

/// Runs `docker` with these arguments.
pub fn docker(args: &[&str]) -> Result<String> {
    run(Command::new("docker").args(args))
}
