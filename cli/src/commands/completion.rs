//! `faas completion`: completions for shells.

use anyhow::Result;
use clap_complete::Shell;

use crate::{args, output};

/// Arguments of `faas completion`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_enum, required_unless_present = "shell_flag")]
    shell: Option<Shell>,
    /// The shell, as a flag
    #[arg(long = "shell", value_name = "SHELL", value_enum, conflicts_with = "shell")]
    shell_flag: Option<Shell>,
}

/// Prints the script.
pub fn run(args: &Args) -> Result<()> {
    let Some(shell) = args.shell.or(args.shell_flag) else { return Ok(()) };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "faas", &mut script);
    Ok(output::print(&String::from_utf8_lossy(&script))?)
}
