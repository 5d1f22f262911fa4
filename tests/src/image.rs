//! The image that the tests deploy: the watchdog and one test program, and nothing else.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{binary, docker, project, run};

/// The authorities that this machine trusts.
const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Builds `flint-test/fn` from the binaries as they are; the engine's cache makes it quick.
pub fn test_function() -> Result<&'static str> {
    let name = "flint-test/fn:latest";
    let dockerfile = "FROM scratch\nCOPY fwatchdog testfn /\nADD tmp.tar /\nUSER 1000:1000\n\
        ENV mode=http fprocess=/testfn upstream_url=http://127.0.0.1:3000\n\
        EXPOSE 8080\nCMD [\"/fwatchdog\"]\n";
    build(name, dockerfile, &["fwatchdog", "testfn"])?;
    Ok(name)
}

/// An image without the watchdog: the program itself answers on 8080.
pub fn bare_function() -> Result<&'static str> {
    let name = "flint-test/bare:latest";
    let dockerfile = "FROM scratch\nCOPY testfn /\nUSER 1000:1000\nENV PORT=8080 HOST=0.0.0.0\n\
        CMD [\"/testfn\"]\n";
    build(name, dockerfile, &["testfn"])?;
    Ok(name)
}

/// The gateway as its Dockerfile has it, from the binary that was built with the tests.
pub fn gateway() -> Result<&'static str> {
    let name = "flint-test/gateway:latest";
    let context = tempfile::tempdir()?;
    let path = context.path();
    copy(&project().join("gateway/Dockerfile"), &path.join("Dockerfile"))?;
    let authorities = std::env::var_os("FLINT_CA_BUNDLE").map(PathBuf::from);
    let authorities = authorities.unwrap_or_else(|| PathBuf::from(CA_BUNDLE));
    std::fs::copy(&authorities, path.join("ca-certificates.crt"))
        .with_context(|| format!("{}: FLINT_CA_BUNDLE names another", authorities.display()))?;
    copy(&binary("faas-gateway"), &path.join("faas-gateway"))?;
    docker(&["build", "-q", "-t", name, &path.to_string_lossy()])?;
    Ok(name)
}

fn build(name: &str, dockerfile: &str, binaries: &[&str]) -> Result<()> {
    let context = tempfile::tempdir()?;
    let path = context.path();
    std::fs::write(path.join("Dockerfile"), dockerfile)?;
    let tmp = path.join("tmp");
    std::fs::create_dir(&tmp)?;
    std::fs::set_permissions(&tmp, Permissions::from_mode(0o1777))?;
    // Copying a folder would lose its mode; unpacking an archive keeps it.
    let archive = path.join("tmp.tar");
    run(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(path).arg("tmp"))?;
    for binary_name in binaries {
        copy(&binary(binary_name), &path.join(binary_name))?;
    }
    docker(&["build", "-q", "-t", name, &path.to_string_lossy()]).map(|_| ())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to).map(|_| ()).with_context(|| format!("{} was not built", from.display()))
}
