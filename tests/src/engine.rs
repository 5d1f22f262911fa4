//! A Docker engine of a test's own, which may be stopped and started without disturbing others.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::run;

/// Longest wait for the engine to answer.
const START: Duration = Duration::from_secs(60);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// An engine; dropping it stops it with all its containers.
pub struct Engine {
    dir: TempDir,
    child: Option<Child>,
}

impl Engine {
    /// Starts one with nothing in it. Needs root.
    pub fn start() -> Result<Self> {
        let mut engine = Self { dir: tempfile::tempdir()?, child: None };
        engine.up()?;
        Ok(engine)
    }

    /// Its address, as in `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.path("docker.sock").display())
    }

    /// Runs `docker` against it.
    pub fn docker(&self, args: &[&str]) -> Result<String> {
        run(Command::new("docker").args(["-H", &self.host()]).args(args))
    }

    /// Copies an image from the machine's engine.
    pub fn take(&self, image: &str) -> Result<()> {
        let archive = self.path("image.tar");
        let path = archive.to_string_lossy();
        crate::docker(&["save", "-o", &path, image])?;
        self.docker(&["load", "-i", &path])?;
        std::fs::remove_file(&archive).map_err(Into::into)
    }

    /// Starts it, again with what it had.
    pub fn up(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.path("log"))?;
        // In a network namespace of its own: two engines in one would take each other's bridge
        // and rules away. Its functions are reached through their sockets.
        let child = Command::new("unshare")
            .args(["--net", "dockerd"])
            .arg("--host")
            .arg(self.host())
            .arg("--data-root")
            .arg(self.path("data"))
            .arg("--exec-root")
            .arg(self.path("exec"))
            .arg("--pidfile")
            .arg(self.path("pid"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start dockerd in a network namespace")?;
        self.child = Some(child);
        let start = Instant::now();
        while self.docker(&["version"]).is_err() {
            if start.elapsed() > START {
                bail!("{}", std::fs::read_to_string(self.path("log"))?);
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Stops it, and with it every container.
    pub fn down(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            kill_process(Pid::from_child(&child), Signal::TERM)?;
            child.wait()?;
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(self.dir.path()).join(name)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.child.is_some() {
            let containers = self.docker(&["ps", "-aq"]).unwrap_or_default();
            for id in containers.split_whitespace() {
                let _ = self.docker(&["rm", "-f", "-v", id]);
            }
            let networks = self.docker(&["network", "ls", "-q", "--filter", "type=custom"]);
            for id in networks.unwrap_or_default().split_whitespace() {
                let _ = self.docker(&["network", "rm", id]);
            }
        }
        if let Err(error) = self.down() {
            eprintln!("the test's engine was not stopped: {error}");
        }
    }
}
