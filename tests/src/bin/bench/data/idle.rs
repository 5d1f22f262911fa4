//! Memory of programs that do nothing, and of connections on which nothing happens.

use std::net::TcpStream;

use anyhow::{Context, Result};
use rustix::process::{Resource, getrlimit, setrlimit};
use system::raw;

use super::cpu;
use super::open::exchange;
use super::setting::{CHAIN_REAL, Contender, Setting, WATCHDOG_TCP};

/// Connections that are opened, each for one request.
const CONNECTIONS: usize = 2000;

/// Resident memory in KiB of what has not served more than a first request.
pub(crate) struct Fresh {
    pub(crate) gateway: u64,
    pub(crate) watchdog: u64,
    /// In a sandbox: the watchdog, and what made the sandbox and stays beside it.
    pub(crate) sandboxed: u64,
    pub(crate) confiner: u64,
}

/// As of now.
pub(crate) fn fresh(setting: &Setting) -> Result<Fresh> {
    let gateway = setting.gateway.pid().context("the gateway does not run")?;
    let deployed = setting.of(CHAIN_REAL)?;
    let (confiner, inner) = split(deployed)?;
    Ok(Fresh {
        gateway: cpu::resident_kib(&[gateway])?,
        watchdog: cpu::resident_kib(&setting.of(WATCHDOG_TCP)?.pids)?,
        sandboxed: cpu::resident_kib(&inner)?,
        confiner: cpu::resident_kib(&confiner)?,
    })
}

/// Processes of the replica: those around, and the innermost, which serves.
fn split(deployed: &Contender) -> Result<(Vec<u32>, Vec<u32>)> {
    let around = deployed.pids.get(1..).unwrap_or_default();
    let (last, first) = around.split_last().context("the replica has no watchdog")?;
    Ok((first.to_vec(), vec![*last]))
}

/// Growth in KiB for each of many idle connections.
pub(crate) fn each_connection(contender: &Contender) -> Result<f64> {
    let request = format!("GET {} HTTP/1.1\r\nHost: bench\r\n\r\n", contender.path);
    let open = || -> Result<TcpStream> {
        let mut stream = raw::connect(contender.port)?;
        exchange(&mut stream, &request)?;
        Ok(stream)
    };
    // What is made at first use is no connection's.
    drop((0..16).map(|_| open()).collect::<Result<Vec<_>>>()?);
    let before = cpu::resident_kib(&contender.pids)?;
    let streams = (0..CONNECTIONS).map(|_| open()).collect::<Result<Vec<_>>>()?;
    let after = cpu::resident_kib(&contender.pids)?;
    drop(streams);
    Ok(after.saturating_sub(before) as f64 / CONNECTIONS as f64)
}

/// Lets this process and all that it starts open as many files as it may.
pub(crate) fn many_files() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// What a program says of its version, in one line.
pub(crate) fn version(program: &std::path::Path, argument: &str) -> String {
    let mut command = std::process::Command::new(program);
    // nginx says it on stderr.
    let told = command.arg(argument).output().map(|output| [output.stdout, output.stderr].concat());
    let told = told.unwrap_or_default();
    String::from_utf8_lossy(&told).lines().next().unwrap_or_default().trim().to_owned()
}
