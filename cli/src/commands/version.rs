//! `faas version`: of this program and of the gateway.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::args::{GatewayArgs, ListArgs};
use crate::gateway::Info;
use crate::output::style;
use crate::{Context, VERSION, output};

/// Longest wait for the gateway: its version is an extra.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Arguments of `faas version`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    list: ListArgs,
    /// Only this program's version number
    #[arg(long)]
    short_version: bool,
    /// Taken and ignored: nothing asks for updates
    #[arg(long, hide = true)]
    warn_update: bool,
}

#[derive(Serialize)]
struct Versions<'a> {
    cli: &'static str,
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<&'a Info>,
}

/// Prints versions. A gateway that does not answer is told on stderr and is no failure.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    if args.short_version {
        return Ok(output::line(VERSION)?);
    }
    let gateway = context.gateway(&args.gateway).await?;
    let info = gateway.info(TIMEOUT).await;
    if let Err(error) = &info {
        output::talk(&format!("{} {error}", style::note("gateway:")));
    }
    let info = info.ok();
    if args.list.is_json() {
        let url = gateway.url();
        return output::json(&Versions { cli: VERSION, url, gateway: info.as_ref() });
    }
    let mut text = format!("CLI:\n version: {VERSION}\n");
    if let Some(info) = &info {
        text.push_str(&about(info, gateway.url()));
    }
    Ok(output::print(&text)?)
}

fn about(info: &Info, url: &str) -> String {
    let sections = [
        (
            "Gateway",
            [("uri", url), ("version", &info.gateway.release), ("sha", &info.gateway.sha)].to_vec(),
        ),
        (
            "Provider",
            [
                ("name", &*info.provider),
                ("orchestration", &info.orchestration),
                ("version", &info.provider_version.release),
                ("sha", &info.provider_version.sha),
            ]
            .to_vec(),
        ),
    ];
    let mut text = String::new();
    for (title, lines) in sections {
        text.push_str(&format!("\n{title}\n"));
        for (key, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
            text.push_str(&format!(" {:<15}{value}\n", format!("{key}:")));
        }
    }
    text
}
