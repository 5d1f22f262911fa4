//! `faas remove`: functions go away.

use anyhow::Result;
use reqwest::StatusCode;

use crate::args::{GatewayArgs, Target};
use crate::error::hinted;
use crate::gateway::Gateway;
use crate::{Context, output};

/// Arguments of `faas remove`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The functions; without any, those of the stack
    names: Vec<String>,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// The namespace
    #[arg(short, long)]
    namespace: Option<String>,
}

/// Removes functions; tries all of them before it fails.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    let gateway = context.gateway(&args.gateway).await?;
    let targets = targets(&args, context).await?;
    let mut failed = Vec::new();
    for target in &targets {
        if let Err(error) = remove(&gateway, target).await {
            failed.push(error);
        }
    }
    super::all_or_error(failed, targets.len(), "removed")
}

async fn targets(args: &Args, context: &Context) -> Result<Vec<Target>> {
    let namespace = args.namespace.as_deref();
    if args.names.is_empty() {
        return context.stack_targets(namespace).await;
    }
    args.names.iter().map(|name| Target::new(name, namespace)).collect()
}

/// Removes one function and says so.
pub async fn remove(gateway: &Gateway, target: &Target) -> Result<()> {
    output::talk(&format!("Deleting: {}.", target.name));
    let answer = gateway.remove_function(&target.name, &target.namespace).await?;
    match answer.status {
        status if status.is_success() => {
            output::line("Removing old function.")?;
            Ok(())
        }
        StatusCode::NOT_FOUND => {
            let message = format!("No existing function to remove: {}", target.name);
            Err(hinted(message, "see `faas list` for what there is"))
        }
        status => {
            let code = status.as_u16();
            let body = answer.body.trim();
            Err(anyhow::anyhow!("Server returned unexpected status code {code} {body}"))
        }
    }
}
