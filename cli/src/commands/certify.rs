//! `faas certify`: whether a gateway loses calls while functions change.

use std::time::Duration;

use anyhow::Result;

use crate::args::{GatewayArgs, duration, key_value};
use crate::certify::run::{self, Options};
use crate::certify::show::Page;
use crate::certify::{Chosen, Subject};
use crate::config::Environment;
use crate::error::{self, hinted, interrupted, usage};
use crate::gateway::{Gateway, Trust};
use crate::interrupt::{Interrupts, unless_interrupted};
use crate::{Context, output};

/// Longest wait for the removal of the function.
const CLEAN_UP: Duration = Duration::from_secs(30);
/// Shortest and longest time that calls go on after a change, in seconds.
const HOLD_SECONDS: (u64, u64) = (1, 3600);

/// Arguments of `faas certify`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "It deploys a function of its own, calls it all the time, changes it, and removes \
it. Exit code 0: no call failed; 1: some did."
)]
pub struct Args {
    #[command(flatten)]
    gateway: GatewayArgs,
    /// The namespace of the function
    #[arg(short, long, default_value = "", hide_default_value = true)]
    namespace: String,
    /// Calls a second
    #[arg(long, default_value_t = 40, value_name = "NUMBER")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// How long calls go on after each change, from 1s to 1h
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = duration)]
    duration: Duration,
    /// Longest wait for a change to show
    #[arg(long, default_value = "1m", value_name = "DURATION", value_parser = duration)]
    timeout: Duration,
    /// How many replicas it is scaled up to
    #[arg(long, default_value_t = 5, value_name = "NUMBER")]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=100))]
    replicas: u32,
    /// An image that answers GET and POST at / with success [default: the OpenFaaS project's
    /// alpine with `cat`; none is needed where functions run as processes]
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// A variable of that image's function
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = key_value, requires = "image")]
    env: Vec<(String, String)>,
    /// That image answers with what it is sent, which is then compared
    #[arg(long, requires = "image")]
    echo: bool,
    /// Ask for what only a person can do: kill a replica, replace the gateway, restart the engine
    #[arg(long)]
    interactive: bool,
    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

/// Checks a gateway.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    let options = args.options(&context.env)?;
    let gateway = context.gateway(&args.gateway).await?;
    gateway.warn_if_plain();
    let chosen = args.image.map(|image| Chosen {
        image,
        environment: args.env.into_iter().collect(),
        echoes: args.echo,
    });
    let subject = unless_interrupted(Subject::new(&gateway, &args.namespace, chosen)).await?;
    let certified = guarded(&gateway, &subject, &options).await;
    let cleaned = run::clean_up(&gateway, &subject, CLEAN_UP).await;
    match (certified, cleaned) {
        (Ok(certificate), cleaned) => {
            let page = Page::new(gateway.url(), &certificate);
            match args.json {
                true => output::json(&page)?,
                false => output::print(&page.text(&certificate))?,
            }
            cleaned?;
            page_result(&page)
        }
        (Err(wrong), Ok(())) => Err(wrong),
        (Err(wrong), Err(left)) => {
            error::report(&left);
            Err(wrong)
        }
    }
}

/// The check, unless it is interrupted: then its load ends at once.
async fn guarded(
    gateway: &Gateway,
    subject: &Subject,
    options: &Options,
) -> Result<run::Certificate> {
    let mut interrupts = Interrupts::listen()?;
    tokio::select! {
        done = run::certify(gateway, subject, options) => done,
        () = interrupts.wait() => {
            output::talk("Interrupted: removing the function.");
            Err(interrupted())
        }
    }
}

fn page_result(page: &Page<'_>) -> Result<()> {
    let hint = "docs/certify.md says what each step asks of a gateway";
    match (page.failures(), page.problems()) {
        (0, 0) => Ok(()),
        (0, undone) => Err(hinted(format!("{undone} changes did not come about"), hint)),
        (failed, _) => Err(hinted(format!("{failed} calls failed"), hint)),
    }
}

impl Args {
    fn options(&self, env: &Environment) -> Result<Options> {
        let (least, most) = HOLD_SECONDS;
        if !(least..=most).contains(&self.duration.as_secs()) {
            let given = provider::format_duration(self.duration);
            let hint = "it is the time after each change, not that of all";
            return Err(usage(format!("--duration {given} is not from 1s to 1h"), hint));
        }
        Ok(Options {
            rate: self.rate,
            hold: self.duration,
            limit: self.timeout,
            replicas: self.replicas,
            interactive: self.interactive,
            trust: Trust::new(&self.gateway, env),
        })
    }
}
