//! `faas scale`: how many replicas run.

use anyhow::Result;
use reqwest::StatusCode;

use super::describe::not_found;
use crate::args::GatewayArgs;
use crate::{Context, output};

/// Arguments of `faas scale`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The function
    name: String,
    /// How many replicas; 0 puts the function to sleep until it is called
    replicas: u32,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// The namespace
    #[arg(short, long)]
    namespace: Option<String>,
}

/// Scales a function.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    let gateway = context.gateway(&args.gateway).await?;
    let target = context.target(&args.name, args.namespace.as_deref()).await?;
    let answer = gateway.scale_function(&target.name, &target.namespace, args.replicas).await?;
    if answer.status == StatusCode::NOT_FOUND {
        return Err(not_found(&target));
    }
    let answer = answer.success(&format!("cannot scale {}", target.name))?;
    let (name, replicas) = (&target.name, args.replicas);
    Ok(output::line(&format!("Scaled {name} to {replicas}. {}.", answer.status))?)
}
