//! The verbs, one a file.

use anyhow::Result;

use crate::Context;

pub mod completion;
pub mod list;

// Verbs of building and templates.

/// The verbs.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List functions
    #[command(visible_alias = "ls")]
    List(list::Args),
    /// Print a completion script for a shell
    Completion(completion::Args),
    // Verbs of building and templates.
}

impl Command {
    /// Runs the verb.
    pub async fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::List(args) => list::run(args, context).await,
            Self::Completion(args) => completion::run(&args),
            // Verbs of building and templates.
        }
    }
}
