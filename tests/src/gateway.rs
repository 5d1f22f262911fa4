//! A gateway of a test's own: its network, its state folder, its ports.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::replica::{Replica, process};
use crate::{binary, docker, unique};

/// Longest wait for the gateway to listen.
const START: Duration = Duration::from_secs(60);
/// Longest wait for the end of one whose place was taken: what its calls in flight may take.
const END: Duration = Duration::from_secs(90);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// A running gateway; dropping it removes everything it made.
pub struct Gateway {
    child: Option<Child>,
    /// The Docker network, which is what tells this gateway's containers from others'.
    pub network: String,
    state: TempDir,
    provider: &'static str,
    args: Vec<String>,
    on_cluster: Option<Owned>,
    /// Where the API answers.
    pub url: String,
    /// Where metrics are.
    pub metrics_url: String,
    port: u16,
    tls_port: u16,
}

/// What a gateway needs that runs functions on a cluster.
pub struct OnCluster<'a> {
    /// The namespace of its functions, and of the election.
    pub namespace: &'a str,
    /// What it is called in the election.
    pub name: &'a str,
    /// The folder of the credentials that all gateways have.
    pub secrets: &'a Path,
    /// How it reaches the cluster; as the tests do when it is not told.
    pub kubeconfig: Option<&'a Path>,
}

/// What is kept of it.
struct Owned {
    namespace: String,
    secrets: PathBuf,
    kubeconfig: Option<PathBuf>,
}

impl Gateway {
    /// Starts one on Docker, with more arguments than the usual.
    pub fn start(args: &[&str]) -> Result<Self> {
        Self::start_on("docker", args)
    }

    /// Starts one on this provider.
    pub fn start_on(provider: &'static str, args: &[&str]) -> Result<Self> {
        let mut gateway = Self::new(provider, args)?;
        gateway.restart()?;
        Ok(gateway)
    }

    /// Starts one that runs functions on a cluster, with more arguments than the usual.
    pub fn start_in_cluster(cluster: &OnCluster<'_>, args: &[&str]) -> Result<Self> {
        let OnCluster { namespace, name, secrets, kubeconfig } = cluster;
        let mut gateway = Self::new("kubernetes", args)?;
        // The others are told where it is before it listens.
        gateway.port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let peer_url = format!("http://127.0.0.1:{}", gateway.port);
        let secrets = secrets.to_path_buf();
        let usual = [
            ("--function-namespace", *namespace),
            ("--pod-namespace", namespace),
            ("--pod-name", name),
            ("--peer-url", &peer_url),
            ("--host", "127.0.0.1"),
            ("--secret-mount-path", &secrets.to_string_lossy()),
            // The image of tests has no shell to look for a file.
            ("--http-probe", "true"),
            // Images are those of this machine's engine.
            ("--image-pull-policy", "IfNotPresent"),
        ];
        gateway
            .args
            .extend(usual.into_iter().flat_map(|(flag, value)| [flag, value]).map(str::to_owned));
        gateway.on_cluster = Some(Owned {
            namespace: (*namespace).to_owned(),
            secrets,
            kubeconfig: kubeconfig.map(Path::to_path_buf),
        });
        gateway.restart()?;
        Ok(gateway)
    }

    fn new(provider: &'static str, args: &[&str]) -> Result<Self> {
        Ok(Self {
            child: None,
            network: unique("flint-test"),
            state: tempfile::tempdir()?,
            provider,
            args: args.iter().map(|a| (*a).to_owned()).collect(),
            on_cluster: None,
            url: String::new(),
            metrics_url: String::new(),
            port: 0,
            tls_port: 0,
        })
    }

    /// Starts it again on the same port after [`Gateway::kill`] or [`Gateway::stop`].
    pub fn restart(&mut self) -> Result<()> {
        self.start_with(&[])
    }

    /// Starts another one, which takes this one's place on the same port and state folder. Returns
    /// when this one has ended, with its exit code.
    pub fn replace(&mut self) -> Result<Option<i32>> {
        let mut old = self.child.take().context("the gateway does not run")?;
        if let Err(error) = self.start_with(&["--takeover"]) {
            let _ = old.kill();
            return Err(error);
        }
        wait_for_end(&mut old)
    }

    /// Waits until it has ended by itself, and gives its exit code.
    pub fn ended(&mut self) -> Result<Option<i32>> {
        let mut child = self.child.take().context("the gateway does not run")?;
        wait_for_end(&mut child)
    }

    /// Ends the gateway that uses the state folder now, if one does that is no child of the test.
    pub fn stop_successor(&mut self) -> Result<()> {
        let pid = std::fs::read_to_string(self.state.path().join("gateway.lock"))?;
        let command = std::fs::read(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
        if !String::from_utf8_lossy(&command).contains(&*self.state.path().to_string_lossy()) {
            return Ok(());
        }
        let pid = process(pid.trim())?;
        kill_process(pid, Signal::TERM)?;
        let begin = Instant::now();
        while std::fs::exists(format!("/proc/{}/fd/0", pid.as_raw_nonzero()))? {
            if begin.elapsed() > END {
                bail!("the gateway that took over did not end within {END:?}");
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn start_with(&mut self, more: &[&str]) -> Result<()> {
        let mut child = Command::new(binary("faas-gateway"))
            .args(["--provider", self.provider, "--metrics-port", "0"])
            .arg("--watchdog")
            .arg(binary("fwatchdog"))
            .args(["--port", &self.port.to_string()])
            .args(["--docker-network", &self.network])
            .arg("--state-dir")
            .arg(self.state.path())
            .args(self.usual())
            .args(&self.args)
            .args(more)
            .envs(self.kubeconfig().map(|path| ("KUBECONFIG", path)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("cannot start faas-gateway")?;
        let stdout = child.stdout.take().context("no stdout")?;
        self.child = Some(child);
        let plain = !self.args.iter().any(|arg| arg == "--plain-http=off");
        let Ports { port, metrics_port, tls_port } = wait_for_ports(stdout, plain)?;
        (self.port, self.tls_port) = (port, tls_port);
        self.url = match plain {
            true => format!("http://127.0.0.1:{port}"),
            false => format!("https://localhost:{tls_port}"),
        };
        self.metrics_url = format!("http://127.0.0.1:{metrics_port}");
        Ok(())
    }

    /// Tests call functions more often than one replica is meant for, and count replicas: load
    /// changes their number where a test says so.
    fn usual(&self) -> &'static [&'static str] {
        let says = self.args.iter().any(|arg| arg.starts_with("--scale-by-load"));
        if says { &[] } else { &["--scale-by-load=false"] }
    }

    fn kubeconfig(&self) -> Option<&Path> {
        self.on_cluster.as_ref()?.kubeconfig.as_deref()
    }

    /// The folder of its state.
    pub fn state_dir(&self) -> &Path {
        self.state.path()
    }

    /// Where its functions run.
    pub fn provider(&self) -> &'static str {
        self.provider
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its port of https, 0 when it has none.
    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// The replicas that run, each by something that it keeps for its life: a container's id, or a
    /// process's.
    pub fn running(&self) -> Result<Vec<String>> {
        if self.provider == "docker" {
            let label = format!("label=dev.flint.network={}", self.network);
            let listed = docker(&["ps", "-q", "--no-trunc", "--filter", &label])?;
            return Ok(sorted(listed.split_whitespace().map(str::to_owned)));
        }
        let mut pids = Vec::new();
        for replica in std::fs::read_dir(self.state.path().join("replicas"))? {
            let folder = replica?.path();
            let pid = std::fs::read_to_string(folder.join("lock")).unwrap_or_default();
            let pid = pid.trim().to_owned();
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&command).contains(&*folder.to_string_lossy()) {
                pids.push(pid);
            }
        }
        Ok(sorted(pids))
    }

    /// A replica by the name that its function's status has for it.
    pub fn replica(&self, id: &str) -> Result<Replica> {
        if let Some(cluster) = &self.on_cluster {
            return Replica::of_pod(&cluster.namespace, id);
        }
        match self.provider {
            "docker" => Replica::of_container(id),
            _ => Replica::of_folder(&self.state.path().join("replicas").join(id), id),
        }
    }

    /// Its process.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The generated password.
    pub fn password(&self) -> Result<String> {
        let secrets = self.on_cluster.as_ref().map(|cluster| &*cluster.secrets);
        let path = secrets.unwrap_or(self.state.path()).join("basic-auth-password");
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL).map(|_| ())
    }

    /// Ends it as an operator would, and gives its exit code.
    pub fn stop(&mut self) -> Result<Option<i32>> {
        self.signal(Signal::TERM)
    }

    fn signal(&mut self, signal: Signal) -> Result<Option<i32>> {
        let Some(mut child) = self.child.take() else { bail!("the gateway does not run") };
        let pid = Pid::from_child(&child);
        kill_process(pid, signal)?;
        Ok(child.wait()?.code())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if self.child.is_some() {
            // A killed gateway leaves its processes to the next one, and there is none.
            let _ = if self.provider == "process" { self.stop().map(drop) } else { self.kill() };
        }
        let _ = self.stop_successor();
        if self.provider != "docker" {
            return;
        }
        let label = format!("label=dev.flint.network={}", self.network);
        for (list, remove) in [
            (["ps", "-aq", "--filter", &label], ["rm", "-f", "-v"].as_slice()),
            (["volume", "ls", "-q", &format!("--filter={label}")], &["volume", "rm", "-f"]),
        ] {
            let ids = docker(&list).unwrap_or_default();
            let ids: Vec<&str> = ids.split_whitespace().collect();
            if !ids.is_empty() {
                let _ = docker(&[remove, &ids].concat());
            }
        }
        let _ = docker(&["network", "rm", &self.network]);
    }
}

fn wait_for_end(child: &mut Child) -> Result<Option<i32>> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if begin.elapsed() > END {
            child.kill()?;
            bail!("the gateway did not end within {END:?}");
        }
        std::thread::sleep(LOOK);
    }
}

fn sorted(ids: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut ids: Vec<_> = ids.into_iter().collect();
    ids.sort_unstable();
    ids
}

/// Where a gateway listens.
#[derive(Clone, Copy, Default)]
struct Ports {
    port: u16,
    metrics_port: u16,
    tls_port: u16,
}

/// Reads until the last line that says where it listens, which is that of plain http where there is
/// one; what follows goes to this test's output.
fn wait_for_ports(stdout: impl std::io::Read + Send + 'static, plain: bool) -> Result<Ports> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut ports = Ports::default();
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let after = |words| port_after(&line, words);
            ports.metrics_port = after("metrics on http://").unwrap_or(ports.metrics_port);
            ports.tls_port = after("listening on https://").unwrap_or(ports.tls_port);
            ports.port = after("listening on http://").unwrap_or(ports.port);
            if line.contains(if plain { "listening on http://" } else { "listening on https://" }) {
                let _ = sender.send(ports);
            }
            println!("gateway: {line}");
        }
    });
    receiver.recv_timeout(START).context("the gateway did not say that it listens")
}

fn port_after(line: &str, words: &str) -> Option<u16> {
    let (_, address) = line.split_once(words)?;
    let authority = address.split(['/', ' ']).next()?;
    authority.rsplit(':').next()?.parse().ok()
}
