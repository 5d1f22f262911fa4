//! The CLI as its users run it: in a folder, with a gateway.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::gateway::Gateway;
use crate::{binary, run};

/// A folder with the CLI's own configuration, logged in to a gateway.
pub struct Cli {
    home: TempDir,
    url: String,
    docker_config: String,
}

impl Cli {
    /// Logs in.
    pub fn new(gateway: &Gateway) -> Result<Self> {
        let (home, url) = (tempfile::tempdir()?, gateway.url.clone());
        let docker_config = home.path().join(".docker").to_string_lossy().into_owned();
        let cli = Self { home, url, docker_config };
        let password = gateway.password()?;
        cli.ok(cli.home.path(), &["login", &format!("--password={password}")])?;
        Ok(cli)
    }

    /// Uses this folder's `config.json` for registries.
    pub fn set_docker_config(&mut self, dir: &str) {
        dir.clone_into(&mut self.docker_config);
    }

    /// Runs it in a folder.
    pub fn output(&self, dir: &Path, args: &[&str]) -> Result<Output> {
        self.command(dir, args).output().context("cannot start faas")
    }

    /// Runs it in a folder, and gives what it printed; fails when it fails.
    pub fn ok(&self, dir: &Path, args: &[&str]) -> Result<String> {
        run(&mut self.command(dir, args))
    }

    /// Runs it and gives what it complained of; fails when it does not fail.
    pub fn fails(&self, dir: &Path, args: &[&str]) -> Result<String> {
        let output = self.output(dir, args)?;
        if output.status.success() {
            bail!("faas {args:?} did not fail");
        }
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// It, to be started in a folder.
    pub fn command(&self, dir: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(binary("faas"));
        command
            .args(args)
            .current_dir(dir)
            .env("HOME", self.home.path())
            .env("OPENFAAS_CONFIG", self.home.path().join("config"))
            .env("OPENFAAS_URL", &self.url)
            .env("DOCKER_CONFIG", &self.docker_config)
            .env("FAAS_WATCHDOG", binary("fwatchdog"))
            .env_remove("CI");
        // A folder of the test's own is no place for Rust's toolchain, which is the user's, nor for
        // what package managers keep.
        for (variable, folder) in [
            ("RUSTUP_HOME", ".rustup"),
            ("CARGO_HOME", ".cargo"),
            ("GOCACHE", ".cache/go-build"),
            ("npm_config_cache", ".npm"),
            ("PIP_CACHE_DIR", ".cache/pip"),
        ] {
            if let (None, Some(home)) = (std::env::var_os(variable), std::env::var_os("HOME")) {
                command.env(variable, Path::new(&home).join(folder));
            }
        }
        command
    }
}
