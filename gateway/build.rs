//! Tells the build which commit it is, for `/system/info`.

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
}
