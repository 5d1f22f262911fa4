//! `faas list`: which functions there are.

use anyhow::Result;

use crate::Context;
use crate::args::{GatewayArgs, ListArgs};

/// Arguments of `faas list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    list: ListArgs,
    /// The namespace
    #[arg(short, long)]
    namespace: Option<String>,
    /// Only names
    #[arg(short, long)]
    quiet: bool,
    /// Images and times too
    #[arg(short, long)]
    verbose: bool,
}

/// Lists functions.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    let _gateway = context.gateway(&args.gateway)?;
    Ok(())
}
