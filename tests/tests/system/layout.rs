//! The house rules that a machine can check: who imports whom, and how long files may be.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use system::project;

/// Longest file of code, in lines; tests apart.
const MAX_LINES: usize = 500;

/// Crates and the ones of ours that they may depend on.
const CRATES: [(&str, &[&str]); 6] = [
    ("provider", &[]),
    ("relay", &[]),
    ("watchdog", &["relay", "provider"]),
    ("cli", &["provider"]),
    ("gateway", &["relay", "provider"]),
    ("tests", &["cli"]),
];

/// Modules of the gateway that import nothing of the gateway's but what is named.
const LEAVES: [(&str, &[&str]); 30] = [
    ("error.rs", &[]),
    ("metrics/mod.rs", &[]),
    ("metrics/function.rs", &[]),
    ("metrics/process.rs", &[]),
    ("metrics/requests.rs", &[]),
    ("metrics/starts.rs", &[]),
    // Its tests make a directory, which needs metrics.
    ("usage.rs", &["directory", "metrics"]),
    ("config/mod.rs", &[]),
    ("config/clients.rs", &[]),
    ("config/tls.rs", &[]),
    // What it makes of the flags belongs to all of them.
    ("config/kubernetes.rs", &[]),
    ("tls.rs", &[]),
    ("balance.rs", &[]),
    ("queue.rs", &[]),
    ("limits/bucket.rs", &[]),
    ("limits/addresses.rs", &[]),
    ("limits/clients.rs", &[]),
    ("handover/desk.rs", &[]),
    ("handover/heir.rs", &[]),
    ("scaling/journal.rs", &[]),
    ("scaling/window.rs", &[]),
    ("scaling/desired.rs", &[]),
    ("scaling/prometheus.rs", &[]),
    // Of scaling it holds the journal, which is a leaf.
    ("directory.rs", &["balance", "limits", "metrics", "queue", "scaling"]),
    ("scaling/scaler.rs", &["directory", "handover", "peers"]),
    ("peers/circle.rs", &["directory"]),
    ("peers/lead.rs", &[]),
    // Of scaling it holds decisions, which are the journal's.
    ("peers/letter.rs", &["scaling"]),
    ("peers/tally.rs", &[]),
    ("peers/report.rs", &["directory", "scaling"]),
];

fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = project().join(path);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

fn rust_files(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[test]
fn crates_depend_only_on_what_the_design_allows() -> Result<()> {
    for (name, allowed) in CRATES {
        let manifest = read(format!("{name}/Cargo.toml"))?;
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        let dependencies = dependencies.split("\n[").next().unwrap_or_default();
        for other in ["provider", "relay", "watchdog", "gateway", "cli"] {
            let used = dependencies.lines().any(|line| {
                line.split(['.', ' ', '=']).next().is_some_and(|key| key.trim() == other)
            });
            assert!(!used || allowed.contains(&other), "{name} must not depend on {other}");
        }
    }
    Ok(())
}

#[test]
fn the_cli_and_the_watchdog_use_the_vocabulary_only() -> Result<()> {
    for name in ["cli", "watchdog"] {
        let manifest = read(format!("{name}/Cargo.toml"))?;
        for heavy in ["bollard", "kube", "k8s-openapi"] {
            assert!(!manifest.contains(heavy), "{name} must not compile {heavy}");
        }
        let line = manifest.lines().find(|line| line.starts_with("provider"));
        // Finding programs needs nothing beside the vocabulary.
        let line = line.unwrap_or_default().replace("features = [\"programs\"]", "");
        assert!(!line.contains("features"), "{name}: {line:?}");
    }
    Ok(())
}

#[test]
fn modules_of_the_gateway_import_downwards() -> Result<()> {
    for (file, allowed) in LEAVES {
        let text = read(format!("gateway/src/{file}"))?;
        for line in text.lines() {
            let Some(rest) = line.trim().strip_prefix("use crate::") else { continue };
            let module = rest.split([':', ';', '{']).next().unwrap_or_default();
            assert!(allowed.contains(&module), "gateway/src/{file} must not import {module}");
        }
    }
    let mut files = Vec::new();
    rust_files(&project().join("gateway/src"), &mut files)?;
    for path in files
        .iter()
        .filter(|p| !["/app/", "/api/"].iter().any(|dir| p.to_string_lossy().contains(dir)))
    {
        let text = std::fs::read_to_string(path)?;
        assert!(!text.contains("crate::api"), "{} must not import api", path.display());
    }
    Ok(())
}

#[test]
fn files_are_short() -> Result<()> {
    for name in ["provider", "relay", "watchdog", "cli", "gateway"] {
        let mut files = Vec::new();
        rust_files(&project().join(name).join("src"), &mut files)?;
        assert!(!files.is_empty(), "{name} has no source");
        for path in files {
            let lines = std::fs::read_to_string(&path)?.lines().count();
            assert!(lines <= MAX_LINES, "{} has {lines} lines", path.display());
        }
    }
    Ok(())
}
