//! What is measured: a gateway of its own with one function of each kind, made by the CLI as a
//! newcomer would.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use system::cli::Cli;
use system::gateway::Gateway;
use system::{raw, run};
use tempfile::TempDir;

/// The functions and their templates.
pub(crate) const FUNCTIONS: [(&str, &str); 3] =
    [("on-rust", "rust"), ("on-node", "node22"), ("on-python", "python3-http")];
/// A sample with a package from `requirements.txt`, of some hundred files.
pub(crate) const SAMPLE: &str = "pinyin";
/// The stack file that `faas new` makes.
const STACK: &str = "stack.yaml";
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway with the functions.
pub(crate) struct Project {
    pub(crate) gateway: Gateway,
    pub(crate) cli: Cli,
    folder: TempDir,
}

impl Project {
    /// Makes and deploys the functions and the sample.
    pub(crate) fn start() -> Result<Self> {
        let project = Self::make(&FUNCTIONS)?;
        let (cli, folder) = (&project.cli, project.folder.path());
        cli.ok(folder, &["new", "--lang", "python3-http", SAMPLE, "--append", STACK])?;
        let sample = system::project().join("samples").join(SAMPLE);
        run(Command::new("cp").arg("-r").arg(sample).arg(folder))?;
        cli.ok(folder, &["up"])?;
        Ok(project)
    }

    /// Makes and deploys some of the functions.
    pub(crate) fn of(functions: &[(&str, &str)]) -> Result<Self> {
        let project = Self::make(functions)?;
        project.cli.ok(project.folder.path(), &["up"])?;
        Ok(project)
    }

    fn make(functions: &[(&str, &str)]) -> Result<Self> {
        let gateway =
            Gateway::start_on("process", &["--access-log", "false", "--scale-by-load=true"])?;
        let cli = Cli::new(&gateway)?;
        let folder = tempfile::tempdir()?;
        for (index, (name, template)) in functions.iter().enumerate() {
            let append = if index > 0 { ["--append", STACK].as_slice() } else { &[] };
            cli.ok(folder.path(), &[&["new", "--lang", template, name], append].concat())?;
        }
        Ok(Self { gateway, cli, folder })
    }

    /// A file of the project.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Starts a verb of the CLI in the project's folder.
    pub(crate) fn spawn(&self, args: &[&str]) -> Result<Child> {
        Ok(self.command(args).spawn()?)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.cli.command(self.folder.path(), args);
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        command
    }

    /// Scales a function and waits until nothing of it runs.
    pub(crate) fn to_zero(&self, name: &str) -> Result<()> {
        self.cli.ok(self.folder.path(), &["scale", name, "0"])?;
        let start = Instant::now();
        loop {
            let text = self.cli.ok(self.folder.path(), &["describe", name, "-o", "json"])?;
            let status: serde_json::Value = serde_json::from_str(&text)?;
            let instances = status["instances"].as_array().cloned().unwrap_or_default();
            if status["replicas"] == 0 && instances.iter().all(|i| i["state"] == "stopped") {
                return Ok(());
            }
            ensure!(start.elapsed() < PATIENCE, "{name} does not stop: {status}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Calls a function on a connection of its own; gives the time to the first byte of the answer.
    pub(crate) fn first_byte(&self, name: &str) -> Result<Duration> {
        first_byte(self.gateway.port(), &format!("/function/{name}"))
    }

    /// The whole answer of a function.
    pub(crate) fn call(&self, name: &str) -> Result<String> {
        let request = request(&format!("/function/{name}"));
        raw::exchange(self.gateway.port(), request.as_bytes())
    }
}

/// The time from connecting to the first byte of a good answer.
pub(crate) fn first_byte(port: u16, path: &str) -> Result<Duration> {
    let start = Instant::now();
    let mut stream = raw::connect(port)?;
    read_answer(&mut stream, path)?;
    Ok(start.elapsed())
}

/// Sends a request and reads the first bytes of a good answer.
pub(crate) fn read_answer(stream: &mut TcpStream, path: &str) -> Result<()> {
    stream.write_all(request(path).as_bytes())?;
    let mut begin = [0; 64];
    let read = stream.read(&mut begin)?;
    let begin = String::from_utf8_lossy(&begin[..read]);
    ensure!(begin.starts_with("HTTP/1.1 200"), "{path} answered {begin:?}");
    Ok(())
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
}
