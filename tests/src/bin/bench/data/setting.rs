//! What is measured, all of it running at once: who is not loaded needs no processor.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;
use system::client::Client;
use system::gateway::Gateway;
use system::{binary, bundle};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::cpu;
use super::guard::{Running, free_port, until_answers};
use super::nginx;

/// What is measured, in the order of [`Setting::contenders`].
pub(crate) const NGINX: &str = "nginx";
pub(crate) const GATEWAY_TCP: &str = "gateway";
pub(crate) const WATCHDOG_TCP: &str = "watchdog";
pub(crate) const WATCHDOG_UNIX: &str = "watchdog, unix upstream";
pub(crate) const CHAIN_TCP: &str = "chain over TCP";
pub(crate) const CHAIN_UNIX: &str = "chain, unix between";
pub(crate) const CHAIN_REAL: &str = "chain as deployed";
pub(crate) const CHAIN_REAL_UNIX: &str = "chain as deployed, unix upstream";

/// One way to the backend.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    pub(crate) path: &'static str,
    /// Its processes: all that stand between the client and the backend.
    pub(crate) pids: Vec<u32>,
}

/// All programs. Fields are ended in this order: who calls before who is called.
pub(crate) struct Setting {
    pub(crate) contenders: Vec<Contender>,
    _hops: Vec<Running>,
    /// The real gateway, on the process backend.
    pub(crate) gateway: Gateway,
    _backend: Running,
    pub(crate) folder: TempDir,
}

/// Where the watchdog listens that is started without a sandbox.
struct Listening {
    port: u16,
    socket: PathBuf,
}

impl Setting {
    /// Starts everything, and looks that everything answers.
    pub(crate) fn start(runtime: &Runtime) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let socket = folder.path().join("backend.sock");
        let backend = Running::start(
            Command::new(binary("backend")).arg(&socket).env("upstream_url", url(port)),
        )?;
        until_answers(port, "/")?;
        let gateway = Gateway::start_on("process", &["--access-log", "false"])?;
        let mut setting =
            Self { contenders: Vec::new(), _hops: Vec::new(), gateway, _backend: backend, folder };
        setting.nginx(port)?;
        setting.hops((port, &socket))?;
        runtime.block_on(setting.deploy(port))?;
        Ok(setting)
    }

    /// The contender of this name.
    pub(crate) fn of(&self, name: &str) -> Result<&Contender> {
        self.contenders.iter().find(|c| c.name == name).with_context(|| format!("no {name}"))
    }

    fn add(&mut self, name: &'static str, at: (u16, &'static str), pids: Vec<u32>) -> Result<()> {
        let (port, path) = at;
        until_answers(port, path)?;
        self.contenders.push(Contender { name, port, path, pids });
        Ok(())
    }

    fn nginx(&mut self, backend: u16) -> Result<()> {
        let port = free_port()?;
        let running = nginx::start(self.folder.path(), port, backend)?;
        until_answers(port, "/")?;
        let pids = cpu::tree(running.pid())?;
        self._hops.insert(0, running);
        self.add(NGINX, (port, "/"), pids)
    }

    /// Each hop alone, and two of them as a chain, outside of a sandbox.
    fn hops(&mut self, (port, socket): (u16, &Path)) -> Result<()> {
        let gateway = self.gateway_to(&format!("127.0.0.1:{port}"))?;
        self.add(GATEWAY_TCP, (gateway.0, "/function/hop"), vec![gateway.1])?;
        let (at, pid) = self.watchdog_to("tcp", &url(port))?;
        self.add(WATCHDOG_TCP, (at.port, "/"), vec![pid])?;
        let before = self.gateway_to(&format!("127.0.0.1:{}", at.port))?;
        self.add(CHAIN_TCP, (before.0, "/function/hop"), vec![before.1, pid])?;
        let before = self.gateway_to(&at.socket.to_string_lossy())?;
        self.add(CHAIN_UNIX, (before.0, "/function/hop"), vec![before.1, pid])?;
        let (at, pid) = self.watchdog_to("unix", &format!("unix:{}", socket.display()))?;
        self.add(WATCHDOG_UNIX, (at.port, "/"), vec![pid])
    }

    /// The gateway's data path to one target: its port and its process.
    fn gateway_to(&mut self, target: &str) -> Result<(u16, u32)> {
        let port = free_port()?;
        let program = binary("examples").join("hop");
        let running =
            Running::start(Command::new(program).args([&format!("127.0.0.1:{port}"), target]))?;
        until_answers(port, "/function/hop")?;
        let pid = running.pid();
        self._hops.insert(0, running);
        Ok((port, pid))
    }

    /// A watchdog in http mode whose function is the backend that runs already.
    fn watchdog_to(&mut self, name: &str, upstream: &str) -> Result<(Listening, u32)> {
        let at = Listening {
            port: free_port()?,
            socket: self.folder.path().join(format!("{name}.sock")),
        };
        let running = watchdog(
            self.folder.path(),
            &[
                ("mode", "http"),
                ("fprocess", "sleep infinity"),
                ("upstream_url", upstream),
                ("port", &at.port.to_string()),
                ("listen_socket", &at.socket.to_string_lossy()),
            ],
        )?;
        until_answers(at.port, "/")?;
        let pid = running.pid();
        self._hops.insert(0, running);
        Ok((at, pid))
    }

    /// Functions on the real gateway: one that calls the backend over TCP, and one that is it.
    async fn deploy(&mut self, backend: u16) -> Result<()> {
        let client = Client::new(&self.gateway)?;
        let program = std::fs::read(binary("backend"))?;
        let files: [bundle::File<'_>; 1] = [("backend", 0o755, &program)];
        let own = [("mode", "http"), ("fprocess", "./backend"), ("upstream_url", "unix:")];
        let upstream = url(backend);
        let other =
            [("mode", "http"), ("fprocess", "sleep infinity"), ("upstream_url", upstream.as_str())];
        for (service, name, path, environment) in [
            ("tcp", CHAIN_REAL, "/function/tcp", other),
            ("unix", CHAIN_REAL_UNIX, "/function/unix", own),
        ] {
            let environment: serde_json::Map<_, _> = environment
                .map(|(key, value)| (key.to_owned(), value.into()))
                .into_iter()
                .collect();
            let config = json!({ "schema": 1, "template": "bench", "environment": environment });
            let before = self.gateway.running()?;
            let image = bundle::put(&client, service, bundle::pack(&files, &config)?).await?;
            client.deploy(json!({ "service": service, "image": image })).await?;
            let mut pids = vec![self.gateway.pid().context("the gateway does not run")?];
            for confiner in self.gateway.running()?.iter().filter(|pid| !before.contains(pid)) {
                let tree = cpu::tree(confiner.parse()?)?;
                pids.extend(tree.into_iter().filter(|pid| cpu::program(*pid) == "fwatchdog"));
            }
            self.add(name, (self.gateway.port(), path), pids)?;
        }
        Ok(())
    }
}

/// Starts a watchdog outside of a sandbox.
pub(crate) fn watchdog(folder: &Path, environment: &[(&str, &str)]) -> Result<Running> {
    // Its files and its sockets' names must not be those of another one.
    let own = tempfile::tempdir_in(folder)?.keep();
    Running::start(
        Command::new(binary("fwatchdog"))
            .env("TMPDIR", own)
            .env("metrics_port", "none")
            .env("healthcheck_interval", "0s")
            .env("write_timeout", "1s")
            .envs(environment.iter().copied()),
    )
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}
