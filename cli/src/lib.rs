//! `faas`: builds, deploys and calls functions.
//!
//! One verb a file under [`commands`]. A verb takes its arguments and the [`Context`], talks to the
//! gateway through [`gateway::Gateway`], writes data to stdout and everything else to stderr
//! through [`output`], and returns an error that [`error`] turns into text and an exit code.

pub mod args;
pub mod backend;
pub mod build;
pub mod certify;
pub mod commands;
pub mod config;
pub mod context;
pub mod deploy;
pub mod error;
pub mod exit;
pub mod gateway;
pub mod interrupt;
pub mod local;
pub mod output;
pub mod stack;
pub mod store;
pub mod template;
pub mod tree;
pub mod watch;

pub use args::{Cli, command};
pub use config::Environment;
pub use context::Context;

/// This program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs one command.
pub async fn run(cli: Cli, env: Environment) -> anyhow::Result<()> {
    let context = Context::new(cli.globals, env);
    cli.command.run(&context).await
}
