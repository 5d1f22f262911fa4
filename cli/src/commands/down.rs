//! `faas down`: what `faas up` brought up goes away.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use super::remove;
use crate::args::{GatewayArgs, Target};
use crate::config::DEFAULT_GATEWAY;
use crate::gateway::Gateway;
use crate::output::talk;
use crate::{Context, local};

/// Longest wait until removed functions are gone.
const GONE_TIMEOUT: Duration = Duration::from_secs(60);
/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(50);

/// Arguments of `faas down`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    gateway: GatewayArgs,
    /// The namespace
    #[arg(short, long)]
    namespace: Option<String>,
}

/// Removes the functions of the stack. A gateway that `faas up` started ends when nothing is left
/// for it to do; any other one goes on.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    let targets = context.stack_targets(args.namespace.as_deref()).await?;
    let Some(gateway) = local::gateway_to_empty(context, &args.gateway).await? else {
        talk(&format!("No gateway runs at {DEFAULT_GATEWAY}: nothing is up."));
        return Ok(());
    };
    let ours = gateway.url() == DEFAULT_GATEWAY && local::is_ours(&context.env);
    let mut failed = Vec::new();
    let mut gone = Vec::new();
    for target in &targets {
        match remove_if_there(&gateway, target).await {
            Ok(()) => gone.push(target),
            Err(error) => failed.push(error),
        }
    }
    super::all_or_error(failed, targets.len(), "removed")?;
    if !ours {
        return Ok(());
    }
    let left = left(&gateway, &gone).await?;
    if left.is_empty() {
        local::stop(&context.env).await?;
    } else {
        talk(&format!("The gateway goes on, since it still runs {}.", left.join(", ")));
    }
    Ok(())
}

async fn remove_if_there(gateway: &Gateway, target: &Target) -> Result<()> {
    if gateway.function(&target.name, &target.namespace).await?.is_none() {
        talk(&format!("Not there: {}.", target.name));
        return Ok(());
    }
    remove::remove(gateway, target).await
}

/// What the gateway runs besides what was removed, which is waited for until it is gone.
async fn left(gateway: &Gateway, gone: &[&Target]) -> Result<Vec<String>> {
    let deadline = Instant::now() + GONE_TIMEOUT;
    loop {
        let all = everything(gateway).await?;
        let removed = |(name, namespace): &(String, String)| {
            gone.iter().any(|target| is(target, name, namespace))
        };
        let (going, left): (Vec<_>, Vec<_>) = all.into_iter().partition(removed);
        if going.is_empty() || !left.is_empty() || Instant::now() > deadline {
            let names = left.into_iter().chain(going);
            return Ok(names.map(|(name, _)| name).collect());
        }
        sleep(INTERVAL).await;
    }
}

fn is(target: &Target, name: &str, namespace: &str) -> bool {
    let default = target.namespace.is_empty() && namespace == provider::DEFAULT_NAMESPACE;
    target.name == name && (target.namespace == namespace || default)
}

/// Names and namespaces of all functions.
async fn everything(gateway: &Gateway) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for namespace in gateway.namespaces().await? {
        for seen in gateway.functions(&namespace).await? {
            all.push((seen.name().to_owned(), namespace.clone()));
        }
    }
    Ok(all)
}
