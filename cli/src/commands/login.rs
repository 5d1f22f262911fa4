//! `faas login`: checks credentials and keeps them.

use std::io::{IsTerminal, Read};
use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::{Method, StatusCode};

use crate::args::{GatewayArgs, duration};
use crate::config::{Auth, ConfigFile};
use crate::error::{hinted, usage};
use crate::gateway::Gateway;
use crate::{Context, output};

/// Arguments of `faas login`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    gateway: GatewayArgs,
    /// The user
    #[arg(short, long, default_value = "admin")]
    username: String,
    /// The password; other users of this machine can see it, better is --password-stdin
    #[arg(short, long, conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from stdin
    #[arg(short = 's', long)]
    password_stdin: bool,
    /// Longest wait for the gateway
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = duration)]
    timeout: Duration,
}

/// Logs in.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    let password = password(&args)?;
    let gateway = context.gateway(&args.gateway).await?;
    gateway.warn_if_plain();
    output::talk("Calling the gateway to validate the credentials...");
    let auth = Auth::basic(gateway.url(), &args.username, &password);
    let gateway = gateway.with_login(&auth)?;
    check(&gateway, args.timeout).await?;
    let mut file = ConfigFile::load(&context.env)?;
    file.set(auth);
    file.save()?;
    Ok(output::line(&format!("credentials saved for {} {}", args.username, gateway.url()))?)
}

fn password(args: &Args) -> Result<String> {
    let hint = "cat FILE | faas login --password-stdin";
    let text = match (&args.password, args.password_stdin) {
        (Some(password), _) => {
            output::warn("a password in an argument can be seen by others; use --password-stdin");
            password.clone()
        }
        (None, true) => from_stdin()?,
        (None, false) => return Err(usage("a password is needed", hint)),
    };
    if text.is_empty() { Err(usage("the password is empty", hint)) } else { Ok(text) }
}

fn from_stdin() -> Result<String> {
    let mut stdin = std::io::stdin().lock();
    if stdin.is_terminal() {
        output::talk("Reading the password from stdin - end with Enter and Control + D.");
    }
    let mut text = String::new();
    stdin.read_to_string(&mut text).context("the password cannot be read from stdin")?;
    Ok(text.trim().to_owned())
}

async fn check(gateway: &Gateway, limit: Duration) -> Result<()> {
    let request = gateway.request(Method::GET, "/system/functions").timeout(limit);
    let response = gateway.send(request).await?;
    match response.status() {
        StatusCode::OK => Ok(()),
        StatusCode::UNAUTHORIZED => {
            let message = format!("unable to login to {}: wrong credentials", gateway.url());
            let hint = "a Flint gateway keeps them in basic-auth-user and basic-auth-password \
                        in its state directory";
            Err(hinted(message, hint))
        }
        status => {
            let message = format!("unable to login: {} answers {status}", gateway.url());
            Err(hinted(message, "is there really a gateway at this URL?"))
        }
    }
}
