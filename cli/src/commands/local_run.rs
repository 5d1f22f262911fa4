//! `faas local-run`: one function, alone.

use anyhow::Result;

use crate::Context;

/// Arguments of `faas local-run`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs.
pub async fn run(_args: Args, _context: &Context) -> Result<()> {
    Ok(())
}
