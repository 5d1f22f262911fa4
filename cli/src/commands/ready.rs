//! `faas ready`: waits until the gateway or a function is there.

use std::time::Duration;

use anyhow::Result;

use crate::args::{GatewayArgs, Target, duration};
use crate::error::hinted;
use crate::gateway::Gateway;
use crate::{Context, output};

/// Arguments of `faas ready`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The function; without one, the gateway
    name: Option<String>,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// The namespace
    #[arg(short, long)]
    namespace: Option<String>,
    /// How often to ask
    #[arg(long, default_value_t = 60, value_name = "TIMES")]
    attempts: u32,
    /// How long to wait between
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = duration)]
    interval: Duration,
}

/// Waits.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    let gateway = context.gateway(&args.gateway).await?;
    let namespace = args.namespace.as_deref();
    let target = match &args.name {
        Some(name) => Some(context.target(name, namespace).await?),
        None => None,
    };
    let what = match &target {
        Some(target) => format!("Function {}", target.name),
        None => format!("Gateway {}", gateway.url()),
    };
    let mut last = None;
    for attempt in 1..=args.attempts {
        match is_ready(&gateway, target.as_ref(), args.interval).await {
            Ok(true) => return Ok(output::line(&format!("{what} is ready"))?),
            Ok(false) => last = None,
            Err(error) => last = Some(error),
        }
        output::talk(&format!("[{attempt}/{}] {what} is not ready yet", args.attempts));
        if attempt < args.attempts {
            tokio::time::sleep(args.interval).await;
        }
    }
    let message = format!("{what} is not ready after {} attempts", args.attempts);
    Err(match last {
        Some(error) => error.context(message),
        None => hinted(message, "`faas describe` and `faas logs` may say why"),
    })
}

async fn is_ready(gateway: &Gateway, target: Option<&Target>, interval: Duration) -> Result<bool> {
    let Some(target) = target else {
        return gateway.is_healthy(interval.max(Duration::from_secs(1))).await;
    };
    let seen = gateway.function(&target.name, &target.namespace).await?;
    Ok(seen.is_some_and(|seen| seen.available > 0))
}
