//! `faas-gateway`.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use gateway::app::{self, StartError};
use gateway::config::Config;
use gateway::manifests;
use tracing_subscriber::EnvFilter;

/// Routes calls to functions, and manages them.
///
/// Every flag can also be set as the variable named with it; the flag wins.
#[derive(Parser)]
#[command(name = "faas-gateway", version, subcommand_value_name = "TASK")]
#[command(subcommand_help_heading = "Tasks instead of serving, after the flags")]
struct Arguments {
    #[command(flatten)]
    config: Config,
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Subcommand)]
enum Task {
    /// Prints the Kubernetes objects of functions, as YAML, and ends; reads a function a line, as JSON
    Manifests,
}

fn main() -> ExitCode {
    let Arguments { config, task } = Arguments::parse();
    let filter = EnvFilter::builder()
        .with_env_var("FAAS_LOG")
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stdout().is_terminal())
        .init();
    let ended = match task {
        Some(Task::Manifests) => {
            manifests::run(&config, std::io::stdin().lock(), std::io::stdout().lock())
        }
        None => serve(config),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            if let Some(hint) = error.hint() {
                eprintln!("hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

fn serve(config: Config) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(app::run(config))
}
