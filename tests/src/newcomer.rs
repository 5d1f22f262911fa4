//! Somebody who has just put the three programs on the `PATH` of a machine: no rights, no
//! configuration, and a network in which nothing listens.

use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::{binary, run};

/// The programs.
const PROGRAMS: [&str; 3] = ["faas", "faas-gateway", "fwatchdog"];
/// Where the system's programs are.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A user that the machine does not know, when the tests run as root.
const USER: u32 = 23_457;

/// The newcomer's machine.
pub struct Newcomer {
    root: TempDir,
    path: OsString,
    variables: Vec<(String, String)>,
}

impl Newcomer {
    /// With all programs of the system.
    pub fn new() -> Result<Self> {
        let root = tempfile::tempdir()?;
        std::fs::set_permissions(root.path(), Permissions::from_mode(0o755))?;
        let bin = root.path().join("bin");
        std::fs::create_dir(&bin)?;
        for program in PROGRAMS {
            std::fs::copy(binary(program), bin.join(program))
                .with_context(|| format!("{program} was not built"))?;
        }
        let mut path = bin.into_os_string();
        path.push(":");
        path.push(SYSTEM_PATH);
        let mut newcomer = Self { root, path, variables: Vec::new() };
        newcomer.folder("home")?;
        let home = newcomer.at("home").display().to_string();
        newcomer.set("HOME", &home);
        Ok(newcomer)
    }

    /// Leaves nothing on the `PATH` but these of the system's programs, and ours.
    pub fn keep_only(&mut self, programs: &[&str]) -> Result<()> {
        let bin = self.at("bin");
        for program in programs {
            let found = std::env::split_paths(SYSTEM_PATH).map(|folder| folder.join(program));
            let found = found.into_iter().find(|file| file.exists());
            symlink(found.with_context(|| format!("no {program} here"))?, bin.join(program))?;
        }
        self.path = bin.into_os_string();
        Ok(())
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// A path of the newcomer's.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// Makes a folder that is the newcomer's own.
    pub fn folder(&self, path: &str) -> Result<PathBuf> {
        let folder = self.at(path);
        std::fs::create_dir_all(&folder)?;
        self.give(&folder)?;
        Ok(folder)
    }

    /// Makes something, with all that is in it, the newcomer's own.
    pub fn give(&self, path: &Path) -> Result<()> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        chown(path, Some(USER), Some(USER))?;
        if path.is_dir() {
            for entry in std::fs::read_dir(path)? {
                self.give(&entry?.path())?;
            }
        }
        Ok(())
    }

    /// Runs lines of shell in a folder, in a network of their own; the first that fails ends them.
    /// What they leave running goes on, so they end it themselves.
    pub fn shell(&self, folder: &Path, script: &str) -> Result<Output> {
        let (network, user) = match rustix::process::geteuid().is_root() {
            true => (
                ["--net"].as_slice(),
                format!("setpriv --reuid {USER} --regid {USER} --clear-groups --"),
            ),
            false => {
                (["--net", "--user", "--map-current-user", "--keep-caps"].as_slice(), String::new())
            }
        };
        // The loopback of a new network is down.
        let begin = format!("ip link set lo up && exec {user} env PATH=\"$2\" /bin/sh -euc \"$1\"");
        let mut command = Command::new("unshare");
        command.args(network).args(["--", "/bin/sh", "-euc", &begin, "sh", script]);
        command.arg(&self.path).current_dir(folder).env_clear();
        command.env("PATH", SYSTEM_PATH).envs(self.variables.iter().cloned());
        command.output().context("cannot start unshare")
    }

    /// The same, which must succeed; its output.
    pub fn ok(&self, folder: &Path, script: &str) -> Result<String> {
        let output = self.shell(folder, script)?;
        let said = said(&output);
        anyhow::ensure!(output.status.success(), "{script} ended with {}:\n{said}", output.status);
        Ok(said)
    }

    /// Processes that have a folder of the newcomer's in their arguments.
    pub fn processes(&self) -> Result<Vec<String>> {
        let all = run(Command::new("ps").args(["-eo", "args"]))?;
        let root = self.root.path().display().to_string();
        Ok(all.lines().filter(|line| line.contains(&root)).map(str::to_owned).collect())
    }
}

/// Both outputs.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}
