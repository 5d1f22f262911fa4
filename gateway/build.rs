//! Tells the build which commit and which compiler it is, for `/system/info` and metrics.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=../.git/HEAD");
    println!("cargo::rerun-if-changed=../.git/refs/heads");
    let commit = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    if let Ok(output) = commit
        && output.status.success()
    {
        println!(
            "cargo::rustc-env=FLINT_COMMIT={}",
            String::from_utf8_lossy(&output.stdout).trim()
        );
    }
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(compiler).arg("--version").output().map(|output| output.stdout);
    let version = String::from_utf8(version.unwrap_or_default()).unwrap_or_default();
    // `rustc 1.91.0 (commit date)`
    if let Some(number) = version.split_whitespace().nth(1) {
        println!("cargo::rustc-env=FLINT_RUSTC={number}");
    }
}
