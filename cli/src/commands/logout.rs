//! `faas logout`: forgets credentials.

use anyhow::Result;

use crate::args::GatewayArgs;
use crate::config::ConfigFile;
use crate::error::hinted;
use crate::{Context, output};

/// Arguments of `faas logout`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    gateway: GatewayArgs,
}

/// Logs out.
pub async fn run(args: &Args, context: &Context) -> Result<()> {
    let url = context.gateway_url(&args.gateway).await?;
    let mut file = ConfigFile::load(&context.env)?;
    if !file.remove(&url) {
        let hint = "-g names the gateway as it was named at login";
        return Err(hinted(format!("there is no login for {url}"), hint));
    }
    file.save()?;
    Ok(output::line(&format!("credentials removed for {url}"))?)
}
