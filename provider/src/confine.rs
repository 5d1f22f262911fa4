//! What the process backend and `fwatchdog confine` tell each other.
//!
//! One replica is one folder. The backend writes [`Layout::spec`] and starts `fwatchdog confine
//! <folder>`, the *confiner*: it holds the lock [`Layout::lock`] as long as anything of the replica
//! runs, makes the sandbox, writes [`Layout::report`], runs the watchdog in it, takes its output
//! into [`Layout::log`], and in the end writes [`Layout::exit`]. It needs no gateway to go on.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where the bundle is in the sandbox; the function's working directory.
pub const BUNDLE_DIR: &str = "/home/app";
/// Where the directory that holds the socket is in the sandbox.
pub const RUN_DIR: &str = "/run/flint";
/// Where the secrets are in the sandbox (contract 5.12).
pub const SECRETS_DIR: &str = "/var/openfaas/secrets";
/// The socket that the watchdog makes in the run directory when it is ready.
pub const SOCKET: &str = "fn.sock";

/// The files of one replica's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The folder.
    pub dir: PathBuf,
}

/// What is to be run, and how narrowly. It may hold secrets: only its owner may read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spec {
    /// The replica's id; names its cgroup too.
    pub replica: String,
    /// The unpacked bundle; read-only, and the working directory.
    pub bundle: PathBuf,
    /// The watchdog's whole environment, but for what depends on the sandbox: `PATH`, `HOME`,
    /// `TMPDIR`, `listen_socket`, `secret_mount_path` and the like are the confiner's to add.
    pub environment: BTreeMap<String, String>,
    /// The `PATH` in the sandbox.
    pub path: Vec<PathBuf>,
    /// Folders and files that programs need beyond the system's own; readable and executable, and
    /// found at the same paths in the sandbox.
    pub readable: Vec<PathBuf>,
    /// The most it may use.
    pub limits: Limits,
    /// What it can reach.
    pub network: Network,
    /// Names and addresses for its `/etc/hosts`.
    pub hosts: BTreeMap<String, IpAddr>,
    /// The user, and group of the same number, that it runs as; `None` is the confiner's own user.
    /// Only root can be told another.
    pub user: Option<u32>,
    /// Whether it is better not run at all than with a gap in its sandbox.
    pub required: bool,
    /// Largest size of the log file in bytes before it is put aside as [`Layout::old_log`]; 0 is
    /// no log file: the output stays with whoever started the confiner.
    pub log_bytes: u64,
}

/// The most that a replica may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Memory in bytes; `None` is no limit.
    pub memory: Option<u64>,
    /// Processor in thousandths of a core; `None` is no limit.
    pub cpu: Option<u64>,
    /// Processes and threads.
    pub pids: u64,
    /// Open files of one process.
    pub files: u64,
}

/// What a replica can reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// What the machine can.
    #[default]
    Host,
    /// Nothing but its own loopback.
    None,
}

/// What became of the sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The watchdog's process, as the confiner sees it.
    pub pid: u32,
    /// Its control groups, one a hierarchy; empty where none could be made.
    pub cgroups: Vec<PathBuf>,
    /// What could not be enforced.
    pub gaps: Vec<Gap>,
}

/// One thing that this machine does not let us enforce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// What, such as `memory limit`.
    pub measure: String,
    /// Why, and what stands in for it, such as `no cgroup may be made; bounded by rlimit`.
    pub reason: String,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code, when it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel killed something in it for want of memory.
    pub out_of_memory: bool,
    /// Why it never ran; empty when it did.
    pub error: String,
    /// When.
    pub at: Timestamp,
}

impl Layout {
    /// The layout of a replica's folder.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The [`Spec`], as JSON.
    pub fn spec(&self) -> PathBuf {
        self.dir.join("spec.json")
    }

    /// Locked (`flock`) by the confiner while anything runs; holds its pid in decimal.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// The [`Report`], as JSON.
    pub fn report(&self) -> PathBuf {
        self.dir.join("report.json")
    }

    /// The [`Exit`], as JSON; removed when a run begins.
    pub fn exit(&self) -> PathBuf {
        self.dir.join("exit.json")
    }

    /// The output: lines `<RFC 3339 time with nanoseconds> <text>`.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// The output before that.
    pub fn old_log(&self) -> PathBuf {
        self.dir.join("log.1")
    }

    /// Shared with the replica, which writes its socket there.
    pub fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// The replica's `/tmp`.
    pub fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    /// The replica's copies of its secrets.
    pub fn secrets(&self) -> PathBuf {
        self.dir.join("secrets")
    }

    /// The socket that the watchdog makes when it is ready.
    pub fn socket(&self) -> PathBuf {
        self.run().join(SOCKET)
    }
}
