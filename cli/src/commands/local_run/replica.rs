//! The folder of a replica, as the confiner wants it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use provider::Function;
use provider::bundle::Config;
use provider::confine::{Layout, Limits, Network, Spec};
use provider::programs::{Found, Programs};

use crate::config::Environment;
use crate::output::warn;

/// Most processes and threads; as on a gateway.
const DEFAULT_PIDS: u64 = 1024;
/// Most open files.
const OPEN_FILES: u64 = 4096;
/// The user that it runs as when root starts it: nobody's, and below those of a gateway's.
const USER: u32 = 1_999_999_999;
/// Where the system's programs are.
const SYSTEM_PATH: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// How functions know the gateway; one may run here.
const GATEWAY: [&str; 2] = ["gateway", "gateway.openfaas"];

/// Writes the confiner's orders, and opens the bundle to the user that runs it.
pub(super) fn write(
    layout: &Layout,
    (function, config): (&Function, &Config),
    (port, env): (u16, &Environment),
) -> Result<()> {
    let path = env.building.path.clone().unwrap_or_default();
    let programs = Programs::new(OsStr::new(&path), env.home.clone(), vec![layout.dir.clone()]);
    let find = |program| programs.find(program, &config.template);
    let found: Vec<Found> = config
        .programs
        .iter()
        .map(find)
        .collect::<provider::Result<_>>()
        .map_err(|e| anyhow!(e))?;
    let mut spec = spec(layout, (function, config), &found)?;
    spec.environment.insert("port".to_owned(), port.to_string());
    if rustix::process::geteuid().is_root() {
        spec.user = Some(USER);
    }
    open(&spec.bundle).with_context(|| spec.bundle.display().to_string())?;
    fs::write(layout.spec(), serde_json::to_vec(&spec)?)?;
    Ok(fs::set_permissions(layout.spec(), PermissionsExt::from_mode(0o600))?)
}

fn spec(
    layout: &Layout,
    (function, config): (&Function, &Config),
    found: &[Found],
) -> Result<Spec> {
    if !function.has_network()? {
        warn("`network: none` has no effect here: nobody could call it");
    }
    let limits = function.limits.clone().unwrap_or_default();
    let mut environment = config.environment.clone();
    environment.extend(function.environment());
    Ok(Spec {
        replica: format!("local-run-{}-{}", function.service, std::process::id()),
        bundle: layout.dir.join("bundle"),
        environment,
        path: search_path(found),
        readable: found.iter().flat_map(|found| found.readable.clone()).collect(),
        limits: Limits {
            memory: limits.memory_bytes(),
            cpu: limits.cpu_millicores(),
            pids: limits.pids_max().and_then(|n| u64::try_from(n).ok()).unwrap_or(DEFAULT_PIDS),
            files: OPEN_FILES,
        },
        network: Network::Host,
        hosts: hosts(),
        user: None,
        required: function.needs_sandbox()?,
        log_bytes: 0,
    })
}

fn hosts() -> BTreeMap<String, IpAddr> {
    GATEWAY.map(|name| (name.to_owned(), IpAddr::V4(Ipv4Addr::LOCALHOST))).into()
}

/// The programs' own folders come first.
fn search_path(found: &[Found]) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = Vec::new();
    let system = SYSTEM_PATH.iter().map(PathBuf::from);
    for folder in found.iter().map(|found| found.dir.clone()).chain(system) {
        if !all.contains(&folder) {
            all.push(folder);
        }
    }
    all
}

/// Whatever the umask was: others may read it, and nobody else may write it.
fn open(path: &Path) -> std::io::Result<()> {
    let about = path.symlink_metadata()?;
    if about.is_symlink() {
        return Ok(());
    }
    let executable = about.is_dir() || about.permissions().mode() & 0o111 != 0;
    fs::set_permissions(path, PermissionsExt::from_mode(if executable { 0o755 } else { 0o644 }))?;
    if about.is_dir() {
        for entry in fs::read_dir(path)? {
            open(&entry?.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_orders_for_one_function() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        let bundle = folder.path().join("bundle");
        fs::create_dir(&bundle).unwrap();
        fs::write(bundle.join("x"), "").unwrap();
        fs::set_permissions(bundle.join("x"), PermissionsExt::from_mode(0o600)).unwrap();
        let body = r#"{"service":"f","image":"i","envVars":{"mode":"own"},"limits":{"memory":"1Ki"},
            "annotations":{"flint.dev/sandbox":"required"}}"#;
        let function = Function::from_json(body.as_bytes()).unwrap();
        let mut config = Config::default();
        for (key, value) in [("fprocess", "x"), ("mode", "http")] {
            config.environment.insert(key.to_owned(), value.to_owned());
        }
        let env = Environment::default();
        write(&layout, (&function, &config), (8123, &env)).unwrap();
        let spec: Spec = serde_json::from_slice(&fs::read(layout.spec()).unwrap()).unwrap();
        let variables = ["fprocess", "mode", "port"].map(|key| spec.environment[key].as_str());
        assert_eq!(variables, ["x", "own", "8123"]);
        assert_eq!((spec.limits.memory, spec.log_bytes, spec.required), (Some(1024), 0, true));
        assert_eq!(bundle.join("x").metadata().unwrap().permissions().mode() & 0o777, 0o644);
        config.programs.push(provider::bundle::Program {
            name: "no-such-program".to_owned(),
            install: "it".to_owned(),
        });
        let error = write(&layout, (&function, &config), (8123, &env)).unwrap_err().to_string();
        assert!(error.contains("no-such-program"), "{error}");
    }
}
