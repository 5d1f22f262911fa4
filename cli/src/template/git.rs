//! Pulls templates with the `git` program.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result};
use tokio::process::Command;

use super::{FOLDER, GitSource, Pin, check_name};
use crate::error::{caused, hinted};
use crate::tree::Tree;

/// The file that says where a template came from (contract 6.3).
const META: &str = "meta.json";

/// What pulling did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pulled {
    /// Templates that were written.
    pub written: Vec<String>,
    /// Templates that were there already, and were left.
    pub kept: Vec<String>,
}

/// Which templates of a repository are wanted, and what becomes of those that are there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// The template's name in the repository and its name here; `None` is all of them.
    pub(super) only: Option<(&'a str, &'a str)>,
    /// Whether those that are there are replaced.
    pub(super) overwrite: bool,
}

/// Pulls every template of a repository into the project's folder.
pub async fn pull(project: &Path, source: &GitSource, overwrite: bool) -> Result<Pulled> {
    pull_some(project, source, Wanted { only: None, overwrite }).await
}

/// Pulls templates of a repository into the project's folder.
pub(super) async fn pull_some(
    project: &Path,
    source: &GitSource,
    wanted: Wanted<'_>,
) -> Result<Pulled> {
    let checkout = tempfile::tempdir().context("a temporary folder cannot be made")?;
    clone(source, checkout.path()).await?;
    let sha = git(&["rev-parse", "HEAD"], checkout.path()).await?;
    let meta = meta(source, &sha);
    let offered = offered(&checkout.path().join(FOLDER), source)?;
    let mut pulled = Pulled::default();
    for (theirs, folder) in offered {
        let ours = match wanted.only {
            Some((name, ours)) if name == theirs => ours.to_owned(),
            Some(_) => continue,
            None => theirs,
        };
        let target = project.join(FOLDER).join(&ours);
        if target.exists() && !wanted.overwrite {
            pulled.kept.push(ours);
            continue;
        }
        replace(&folder, &target, &meta)
            .with_context(|| format!("cannot write template {ours}"))?;
        pulled.written.push(ours);
    }
    if let (Some((name, _)), true, true) =
        (wanted.only, pulled.written.is_empty(), pulled.kept.is_empty())
    {
        let message = format!("{} has no template {name}", source.repository);
        return Err(hinted(message, "see `faas template store list`"));
    }
    Ok(pulled)
}

/// The templates in a checkout.
fn offered(folder: &Path, source: &GitSource) -> Result<BTreeMap<String, PathBuf>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() && check_name(&name).is_ok() {
            all.insert(name, entry.path());
        }
    }
    if all.is_empty() {
        let message = format!("{} holds no templates", source.repository);
        return Err(hinted(message, "templates are folders in its folder `template`"));
    }
    Ok(all)
}

/// Puts a template in its place: whole or not at all.
fn replace(from: &Path, to: &Path, meta: &str) -> Result<()> {
    let parent = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    let beside = tempfile::Builder::new().prefix(".pull-").tempdir_in(parent)?;
    let new = beside.path().join("new");
    // Its own .dockerignore is for the build, not for the copy.
    Tree::read_all(from)?.write(&new)?;
    fs::write(new.join(META), meta)?;
    if to.exists() {
        fs::rename(to, beside.path().join("old"))?;
    }
    Ok(fs::rename(&new, to)?)
}

fn meta(source: &GitSource, sha: &str) -> String {
    let meta = serde_json::json!({
        "repository": source.repository,
        "ref_name": source.pin.as_ref().map(Pin::text).unwrap_or_default(),
        "sha": sha,
        "written_at": jiff::Timestamp::now().to_string(),
    });
    format!("{meta:#}\n")
}

async fn clone(source: &GitSource, into: &Path) -> Result<()> {
    let into_text = into.display().to_string();
    let repository = source.repository.as_str();
    let said = match &source.pin {
        None => {
            git(&["clone", "--quiet", "--depth=1", "--", repository, &into_text], Path::new("."))
                .await
        }
        Some(Pin::Name(name)) => {
            let branch = format!("--branch={name}");
            git(
                &["clone", "--quiet", "--depth=1", &branch, "--", repository, &into_text],
                Path::new("."),
            )
            .await
        }
        Some(Pin::Commit(sha)) => {
            git(
                &["clone", "--quiet", "--no-checkout", "--", repository, &into_text],
                Path::new("."),
            )
            .await?;
            git(&["checkout", "--quiet", "--detach", sha], into).await
        }
    };
    said.map(drop)
}

/// Runs git and returns what it prints, trimmed.
pub(crate) async fn git(arguments: &[&str], folder: &Path) -> Result<String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .env("LC_ALL", "C")
        .stdin(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                hinted("the program `git` is not installed", "install git, then try again")
            }
            _ => caused("the program `git` cannot be run", "is it executable?", error),
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(anyhow::anyhow!("git {} failed: {said}", arguments.first().unwrap_or(&"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn repository(folder: &Path) -> String {
        for name in ["one", "two"] {
            let at = folder.join("template").join(name);
            fs::create_dir_all(&at).unwrap();
            fs::write(at.join("template.yml"), "language: x\n").unwrap();
            fs::write(at.join(".dockerignore"), "*\n").unwrap();
            fs::write(at.join("index.js"), "1").unwrap();
        }
        let id = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"];
        git(&["init", "--quiet", "--initial-branch=main"], folder).await.unwrap();
        git(&["add", "-A", "-f"], folder).await.unwrap();
        git(&[&id[..], &["commit", "--quiet", "-m", "1"]].concat(), folder).await.unwrap();
        git(&["tag", "v1"], folder).await.unwrap();
        fs::write(folder.join("template/one/index.js"), "2").unwrap();
        git(&[&id[..], &["commit", "--quiet", "-am", "2"]].concat(), folder).await.unwrap();
        git(&["rev-parse", "v1"], folder).await.unwrap()
    }

    #[tokio::test]
    async fn pulling_from_a_repository() {
        let from = tempfile::tempdir().unwrap();
        let first = repository(from.path()).await;
        let project = tempfile::tempdir().unwrap();
        let index = project.path().join("template/one/index.js");
        let source =
            |pin: &str| GitSource::parse(&format!("{}{pin}", from.path().display())).unwrap();

        let pulled = pull(project.path(), &source(""), true).await.unwrap();
        assert_eq!(pulled.written, ["one", "two"]);
        assert_eq!(fs::read_to_string(&index).unwrap(), "2");
        let meta = fs::read_to_string(project.path().join("template/two/meta.json")).unwrap();
        assert!(meta.contains("\"ref_name\": \"\"") && meta.contains("written_at"), "{meta}");

        let pulled = pull(project.path(), &source("#v1"), false).await.unwrap();
        assert_eq!(pulled.kept, ["one", "two"]);
        pull(project.path(), &source(&format!("#sha-{}", &first[..8])), true).await.unwrap();
        assert_eq!(fs::read_to_string(&index).unwrap(), "1");

        let only = Wanted { only: Some(("two", "two@v1")), overwrite: true };
        let pulled = pull_some(project.path(), &source("#v1"), only).await.unwrap();
        assert_eq!(pulled.written, ["two@v1"]);
        assert!(project.path().join("template/two@v1/.dockerignore").is_file());
        let left: Vec<_> = fs::read_dir(project.path().join("template")).unwrap().collect();
        assert_eq!(left.len(), 3, "nothing temporary is left: {left:?}");
    }

    #[tokio::test]
    async fn failures_say_what_git_said() {
        let project = tempfile::tempdir().unwrap();
        let source = GitSource::parse("/nonexistent/repository").unwrap();
        let error = pull(project.path(), &source, true).await.unwrap_err().to_string();
        assert!(
            error.starts_with("git clone failed: ") && error.contains("/nonexistent"),
            "{error}"
        );
        let from = tempfile::tempdir().unwrap();
        repository(from.path()).await;
        let source = GitSource::parse(&from.path().display().to_string()).unwrap();
        let only = Wanted { only: Some(("three", "three")), overwrite: true };
        let error = pull_some(project.path(), &source, only).await.unwrap_err().to_string();
        assert!(error.ends_with("has no template three"), "{error}");
    }
}
