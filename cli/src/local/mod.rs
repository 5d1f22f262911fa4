//! The gateway of this machine: finds it, starts it, logs in at it.

pub(crate) mod holder;
mod program;
mod start;
mod stop;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use reqwest::{Method, StatusCode, Url};

use crate::args::GatewayArgs;
use crate::backend::ProviderKind;
use crate::build::Job;
use crate::config::{Auth, ConfigFile, DEFAULT_GATEWAY, Environment};
use crate::error::hinted;
use crate::gateway::{Backend, Gateway};
use crate::output::{talk, warn};
use crate::{Context, VERSION};
pub(crate) use program::program;
use start::Started;

/// Where the gateway of root keeps its state; the same as `faas-gateway`'s own default.
const ROOT_STATE_DIR: &str = "/var/lib/flint";
/// Longest wait for a sign of life.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether something answers at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    /// A gateway.
    Gateway,
    /// Something that is no gateway.
    Other,
    /// Nothing.
    Nothing,
}

/// The gateway that flags, stack file and environment name. When none of them names one and none
/// answers at the usual place, one is started.
///
/// At a gateway of this machine that wants a login and has none that is good, the credentials of
/// the state folder are used, and kept.
pub async fn gateway(
    context: &Context,
    args: &GatewayArgs,
    asked: &Asked<'_>,
) -> Result<(Gateway, Backend)> {
    let url = context.gateway_url(args).await?;
    let started = start_if_none(context, args, (&url, asked)).await?;
    let (gateway, user) = logged_in(context, args, &url).await?;
    tell(&url, started.as_ref(), user.as_deref());
    // One that is away, or refuses the login, says so now: building may take minutes.
    let info = gateway.ask(gateway.request(Method::GET, "/system/info")).await?;
    let backend = Backend::of_answer(&info);
    asked.warn_unless(backend, &url);
    Ok((gateway, backend))
}

/// The gateway that flags, stack file and environment name, to take away what it runs; `None` when
/// none of them names one, none answers at the usual place, and none has left anything there.
///
/// One that `faas up` started and that ended by itself has left its functions behind: it is started
/// again.
pub async fn gateway_to_empty(context: &Context, args: &GatewayArgs) -> Result<Option<Gateway>> {
    let url = context.gateway_url(args).await?;
    if !is_named(context, args, &url) {
        match probe(&url).await? {
            Probe::Gateway => {}
            Probe::Other => return Err(taken(&url)),
            Probe::Nothing => {
                let Some(kind) = stop::left(&state_dir(&context.env)?) else { return Ok(None) };
                let Started { pid, .. } = start::start(&context.env, &url, (kind, None)).await?;
                talk(&format!("The gateway had ended; started it again (pid {pid}) to empty it."));
            }
        }
    }
    logged_in(context, args, &url).await.map(|(gateway, _)| Some(gateway))
}

/// A client that is logged in as far as that can be; and as whom, when the login is new.
async fn logged_in(
    context: &Context,
    args: &GatewayArgs,
    url: &str,
) -> Result<(Gateway, Option<String>)> {
    let gateway = Gateway::new(url, args, &context.env)?;
    let wanted = is_local(url) && args.token.is_none() && !accepts(&gateway).await;
    let login = if wanted { login(context, url).await? } else { None };
    Ok(match login {
        Some((user, auth)) => (gateway.with_login(&auth)?, Some(user)),
        None => (gateway, None),
    })
}

/// Whether a person has said which gateway is meant.
fn is_named(context: &Context, args: &GatewayArgs, url: &str) -> bool {
    args.gateway.is_some() || context.env.gateway.is_some() || url != DEFAULT_GATEWAY
}

/// What is asked of a gateway that has to be started.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Where it runs functions, as the person wants it.
    pub kind: ProviderKind,
    /// What it is to run.
    pub job: &'a Job<'a>,
}

impl Asked<'_> {
    /// One that runs already stays as it is.
    fn warn_unless(&self, backend: Backend, url: &str) {
        let runs = match (self.kind, backend) {
            (ProviderKind::Docker, Backend::Bundles) => "processes",
            (ProviderKind::Process, Backend::Images) => "images",
            _ => return,
        };
        let name = self.kind.name();
        warn(&format!(
            "the gateway at {url} runs {runs}: --provider {name} is for one that is yet to start"
        ));
    }
}

/// Stops the gateway of this machine when `faas up` started it; whether it did.
pub async fn stop(env: &Environment) -> Result<bool> {
    let folder = state_dir(env)?;
    let Some(pid) = stop::ours(&folder) else { return Ok(false) };
    talk(&format!("Stopping the gateway (pid {}).", pid.as_raw_nonzero()));
    stop::stop(&folder, pid).await.map(|()| true)
}

/// Whether `faas up` started the gateway of this machine, and it runs.
pub fn is_ours(env: &Environment) -> bool {
    state_dir(env).is_ok_and(|folder| stop::ours(&folder).is_some())
}

async fn start_if_none(
    context: &Context,
    args: &GatewayArgs,
    (url, asked): (&str, &Asked<'_>),
) -> Result<Option<Started>> {
    if is_named(context, args, url) {
        return Ok(None);
    }
    match probe(url).await? {
        Probe::Gateway => Ok(None),
        Probe::Other => Err(taken(url)),
        Probe::Nothing => {
            let kind = asked.kind.resolve(asked.job, context).await;
            let watchdog = asked.job.flags.watchdog.as_deref();
            start::start(&context.env, url, (kind, watchdog)).await.map(Some)
        }
    }
}

fn tell(url: &str, started: Option<&Started>, user: Option<&str>) {
    match (started, user) {
        (Some(Started { pid, log, kind }), user) => {
            let user = user.map_or(String::new(), |user| format!("; logged in as {user}"));
            let (log, kind) = (log.display(), kind.name());
            talk(&format!(
                "Started a gateway at {url} (provider {kind}, pid {pid}, log in {log}){user}."
            ));
        }
        (None, Some(user)) => talk(&format!("Logged in as {user} at the gateway of this machine.")),
        (None, None) => {}
    }
}

/// Whether a URL is on this machine's loopback.
pub fn is_local(url: &str) -> bool {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
    host == "localhost" || host == "[::1]" || host.starts_with("127.")
}

/// The folder of the local gateway's state.
pub fn state_dir(env: &Environment) -> Result<PathBuf> {
    let building = &env.building;
    if let Some(folder) = &building.state_dir {
        return Ok(std::path::absolute(folder)?);
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from(ROOT_STATE_DIR));
    }
    let home = || env.home.as_ref().map(|home| home.join(".local/state"));
    let base = building.xdg_state_home.clone().filter(|folder| folder.is_absolute()).or_else(home);
    base.map(|base| base.join("flint")).ok_or_else(|| {
        hinted("there is no folder for the gateway's state", "set FAAS_STATE_DIR, or HOME")
    })
}

fn taken(url: &str) -> anyhow::Error {
    let hint = "stop it, or name the gateway with -g or OPENFAAS_URL";
    let who =
        holder::holder(url).map_or("something".to_owned(), |who| format!("the program {who}"));
    hinted(format!("{who} answers at {url}, and is no gateway"), hint)
}

async fn probe(url: &str) -> Result<Probe> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(PROBE_TIMEOUT)
        .user_agent(format!("faas-cli/{VERSION}"))
        .build()?;
    Ok(match client.get(format!("{url}/healthz")).send().await {
        Ok(answer) if answer.status().is_success() => Probe::Gateway,
        Err(error) if error.is_connect() => Probe::Nothing,
        // A gateway that starts or stops says 503.
        Ok(answer) if answer.status() == StatusCode::SERVICE_UNAVAILABLE => Probe::Gateway,
        Ok(_) | Err(_) => Probe::Other,
    })
}

/// Whether the saved login, or none, is good.
async fn accepts(gateway: &Gateway) -> bool {
    let request = gateway.request(Method::GET, "/system/info").timeout(PROBE_TIMEOUT);
    match gateway.send(request).await {
        Ok(answer) => answer.status() != StatusCode::UNAUTHORIZED,
        Err(_) => false,
    }
}

/// Tries the credentials of the state folder; when they are good, keeps them.
async fn login(context: &Context, url: &str) -> Result<Option<(String, Auth)>> {
    let folder = state_dir(&context.env)?;
    let Some((user, password)) = credentials(&folder) else { return Ok(None) };
    let auth = Auth::basic(url, &user, &password);
    let gateway = Gateway::new(url, &GatewayArgs::default(), &context.env)?.with_login(&auth)?;
    if !accepts(&gateway).await {
        return Ok(None);
    }
    if let Err(error) = keep(auth.clone(), &context.env) {
        warn(&format!("the login cannot be kept: {error:#}"));
    }
    Ok(Some((user, auth)))
}

fn keep(auth: Auth, env: &Environment) -> Result<()> {
    let mut file = ConfigFile::load(env)?;
    file.set(auth);
    file.save()
}

/// User and password of the gateway that uses a state folder, when they can be read.
fn credentials(folder: &Path) -> Option<(String, String)> {
    let read = |name: &str| {
        let text = std::fs::read_to_string(folder.join(name)).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    Some((read("basic-auth-user")?, read("basic-auth-password")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine() {
        for url in [
            "http://127.0.0.1:8080",
            "http://localhost",
            "https://127.1.2.3:1",
            "http://[::1]:8080",
        ] {
            assert!(is_local(url), "{url}");
        }
        for url in
            ["http://example.com", "http://10.0.0.1:8080", "http://localhost.example.com", "x"]
        {
            assert!(!is_local(url), "{url}");
        }
    }

    #[test]
    fn the_state_folder_is_named_or_the_users() {
        let mut env = Environment { home: Some("/home/a".into()), ..Default::default() };
        let usual = if rustix::process::geteuid().is_root() {
            ROOT_STATE_DIR
        } else {
            "/home/a/.local/state/flint"
        };
        assert_eq!(state_dir(&env).unwrap(), Path::new(usual));
        env.building.state_dir = Some("/s".into());
        assert_eq!(state_dir(&env).unwrap(), Path::new("/s"));
    }

    #[test]
    fn credentials_are_both_there_or_not() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(credentials(folder.path()), None);
        std::fs::write(folder.path().join("basic-auth-user"), "admin\n").unwrap();
        assert_eq!(credentials(folder.path()), None);
        std::fs::write(folder.path().join("basic-auth-password"), "p w\n").unwrap();
        assert_eq!(credentials(folder.path()), Some(("admin".to_owned(), "p w".to_owned())));
    }

    #[tokio::test]
    async fn nothing_and_something_else() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            use std::io::{Read, Write};
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").unwrap();
        });
        assert_eq!(probe(&url).await.unwrap(), Probe::Other);
        server.join().unwrap();
        assert_eq!(probe(&url).await.unwrap(), Probe::Nothing);
    }
}
