//! `faas local-run`: one function, alone, in its sandbox.

mod replica;
mod secrets;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use provider::confine::{Exit, Layout, Report};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::Context;
use crate::args::key_value;
use crate::build::local::{Plan, build_folder};
use crate::build::{BuildFlags, ImageFlags, Job, Progress, watchdog};
use crate::error::{caused, hinted, usage};
use crate::interrupt::Interrupts;
use crate::local::holder::holder;
use crate::output::{line, talk, warn};
use crate::stack::{Function, Stack};

/// Time between two looks whether the function serves.
const INTERVAL: Duration = Duration::from_millis(20);
/// How long calls in flight may go on after Ctrl-C, and then some.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Arguments of `faas local-run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The function
    name: String,
    /// The port at which it is called
    #[arg(short, long, default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// An environment variable, KEY=VALUE
    #[arg(short = 'e', long = "env", value_name = "KEY=VALUE", value_parser = key_value)]
    env: Vec<(String, String)>,
    #[command(flatten)]
    build: BuildFlags,
}

/// Builds a function and runs it until it ends or is interrupted. Its output goes to the terminal.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    let mut interrupts = Interrupts::listen()?;
    let folder = tempfile::Builder::new().prefix("faas-local-run-").tempdir();
    let folder = folder.context("a folder for it cannot be made")?;
    let layout = Layout::new(folder.path());
    let watchdog = tokio::select! {
        prepared = prepare(&args, context, &layout) => prepared?,
        () = interrupts.wait() => return Err(crate::error::interrupted()),
    };
    let mut child = start(&watchdog, &layout)?;
    let ended = tokio::select! {
        ended = serve(&mut child, &args, &layout) => Some(ended?),
        () = interrupts.wait() => None,
    };
    match ended {
        Some(status) => Err(why(&args.name, &layout, status)),
        None => stop(child).await,
    }
}

/// Everything before the start; gives the watchdog's binary.
async fn prepare(args: &Args, context: &Context, layout: &Layout) -> Result<PathBuf> {
    let variable = context.env.building.watchdog.as_deref();
    let found = watchdog::find(args.build.watchdog.as_deref(), variable)?;
    let watchdog = std::path::absolute(found.ok_or_else(watchdog::missing)?)?;
    check_port(args.port)?;
    let (stack, function) = find(&args.name, context).await?;
    let images = ImageFlags::default();
    let configuration = &stack.configuration;
    let functions = &[function][..];
    let job = Job { functions, configuration, flags: &args.build, images: &images };
    let mut wire = stack.to_function(function)?;
    wire.env_vars.extend(args.env.iter().cloned());
    stack.check_limits(&wire)?;
    let plan = Plan::new(function, &job, context).await?;
    plan.warnings.iter().for_each(|warning| warn(warning));
    let secrets = secrets::read(Path::new("."), &wire.secrets)?;
    let bundle = layout.dir.join("bundle");
    let mut line = Progress::new(false).start(&args.name);
    let config = build_folder(&plan, &context.env, (&mut line, &bundle)).await?;
    talk(&format!("{} built in {}.", args.name, line.elapsed()));
    drop(line);
    replica::write(layout, (&wire, &config), (args.port, &context.env))?;
    secrets::write(layout, &secrets)?;
    Ok(watchdog)
}

async fn find<'a>(name: &str, context: &'a Context) -> Result<(&'a Stack, &'a Function)> {
    let (stack, functions) = context.functions().await?;
    let names: Vec<&str> = functions.iter().map(|function| function.name.as_str()).collect();
    let found = functions.iter().find(|function| function.name == name);
    let missing = || {
        usage(
            format!("{} has no function {name}", stack.file),
            format!("it has: {}", names.join(", ")),
        )
    };
    Ok((stack, found.ok_or_else(missing)?))
}

/// A port that is taken is told before minutes of building.
fn check_port(port: u16) -> Result<()> {
    let Err(error) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)) else { return Ok(()) };
    let by = holder(&url(port)).map(|who| format!(" by {who}")).unwrap_or_default();
    let message = format!("port {port} is taken{by}");
    Err(caused(message, "name another one with --port", error))
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn start(watchdog: &Path, layout: &Layout) -> Result<Child> {
    let mut command = Command::new(watchdog);
    command.arg("confine").arg(&layout.dir).stdin(std::process::Stdio::null());
    // Ctrl-C is for this program, which tells it.
    command.process_group(0).kill_on_drop(true);
    command.spawn().with_context(|| format!("{} cannot be run", watchdog.display()))
}

/// Says where it is called when it serves, and waits for its end.
async fn serve(child: &mut Child, args: &Args, layout: &Layout) -> Result<ExitStatus> {
    let url = url(args.port);
    tokio::select! {
        ended = child.wait() => return Ok(ended?),
        ready = until_healthy(&url) => ready?,
    }
    for gap in report(layout).unwrap_or_default().gaps {
        warn(&format!("not in the sandbox here: {}: {}", gap.measure, gap.reason));
    }
    line(&format!("{} serves at {url}\n\nTry it:\n  curl -d hello {url}", args.name))?;
    talk("Ctrl-C ends it.");
    Ok(child.wait().await?)
}

async fn until_healthy(url: &str) -> Result<()> {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
    loop {
        let asked = client.get(format!("{url}/_/health")).timeout(STOP_TIMEOUT).send().await;
        if asked.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        sleep(INTERVAL).await;
    }
}

fn report(layout: &Layout) -> Option<Report> {
    serde_json::from_slice(&std::fs::read(layout.report()).ok()?).ok()
}

/// Why it ended by itself, which nobody wants of a server.
fn why(name: &str, layout: &Layout, status: ExitStatus) -> anyhow::Error {
    let exit = std::fs::read(layout.exit()).ok();
    let exit: Option<Exit> = exit.and_then(|text| serde_json::from_slice(&text).ok());
    let reason = match exit {
        Some(exit) if !exit.error.is_empty() => exit.error,
        Some(exit) if exit.out_of_memory => "it used more memory than it may".to_owned(),
        Some(Exit { code: Some(code), .. }) => format!("exit code {code}"),
        Some(Exit { signal: Some(signal), .. }) => format!("signal {signal}"),
        _ => status.to_string(),
    };
    hinted(format!("function {name} ended: {reason}"), "what it wrote stands above")
}

/// Lets it end by itself, and kills it when it does not.
async fn stop(mut child: Child) -> Result<()> {
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let pid = pid.ok_or_else(|| anyhow!("it has ended already"))?;
    kill_process(pid, Signal::TERM)?;
    if timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
        child.kill().await?;
    }
    talk("Stopped.");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_its_holder() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = check_port(port).unwrap_err().to_string();
        let want = format!("port {port} is taken by ");
        assert!(error.starts_with(&want) && error.contains("(pid "), "{error}");
    }

    #[test]
    fn the_reason_is_what_the_confiner_says() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        let status = std::os::unix::process::ExitStatusExt::from_raw(256);
        assert_eq!(why("f", &layout, status).to_string(), "function f ended: exit status: 1");
        let mut exit = Exit {
            code: Some(3),
            signal: None,
            out_of_memory: false,
            error: String::new(),
            at: jiff::Timestamp::UNIX_EPOCH,
        };
        let write = |exit: &Exit| {
            std::fs::write(layout.exit(), serde_json::to_vec(exit).unwrap()).unwrap();
        };
        write(&exit);
        assert_eq!(why("f", &layout, status).to_string(), "function f ended: exit code 3");
        exit.error = "no such thing".to_owned();
        write(&exit);
        assert_eq!(why("f", &layout, status).to_string(), "function f ended: no such thing");
    }
}
