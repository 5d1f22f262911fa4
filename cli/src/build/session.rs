//! Builds that need something of the user while they run: secrets, or the SSH agent.
//!
//! BuildKit asks for those over a session, which only the `docker` program has.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, anyhow};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;

use super::engine::Request;
use super::progress::Line;
use crate::error::{caused, hinted};

/// What a build needs of the user.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs {
    /// Files with secrets, by the ids that the Dockerfile knows.
    pub(crate) secrets: BTreeMap<String, String>,
    /// Whether it needs the SSH agent.
    pub(crate) ssh: bool,
}

impl Needs {
    /// Whether it needs nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.secrets.is_empty() && !self.ssh
    }

    /// Checks that the files are there.
    pub(crate) fn check(&self, function: &str) -> Result<()> {
        match self.secrets.iter().find(|(_, path)| !Path::new(path).is_file()) {
            Some((id, path)) => {
                let message = format!("functions.{function}.build_secrets.{id}: {path} is no file");
                Err(hinted(message, "write the secret into that file"))
            }
            None => Ok(()),
        }
    }
}

/// Builds an image with the `docker` program.
pub(crate) async fn build(request: &Request<'_>, needs: &Needs, line: &mut Line) -> Result<()> {
    let folder = tempfile::tempdir().context("a temporary folder cannot be made")?;
    request.context.write(folder.path())?;
    let mut child = Command::new("docker")
        .args(arguments(request, needs))
        .arg(folder.path())
        .env("DOCKER_BUILDKIT", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(not_run)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut tail = VecDeque::new();
    let mut show = |text: String| {
        line.log(&text);
        if tail.len() == 40 {
            tail.pop_front();
        }
        tail.push_back(text);
    };
    // Progress goes to stderr; stdout has the image's digest, if anything.
    let quiet = drain(stdout, |_| {});
    let (shown, _) = tokio::join!(drain(stderr, &mut show), quiet);
    shown?;
    let status = child.wait().await?;
    if status.success() {
        return Ok(());
    }
    let lines: String = tail.iter().map(|line| format!("\n  | {line}")).collect();
    Err(anyhow!("docker build ended with {status}{lines}"))
}

fn not_run(error: std::io::Error) -> anyhow::Error {
    let hint = "install Docker's command line with its buildx component";
    let message = "build_secrets and mount_ssh need the program `docker`";
    match error.kind() {
        ErrorKind::NotFound => hinted(format!("{message}, which is not installed"), hint),
        _ => caused(message, hint, error),
    }
}

async fn drain(from: Option<impl AsyncRead + Unpin>, mut each: impl FnMut(String)) -> Result<()> {
    let Some(from) = from else { return Ok(()) };
    let mut lines = BufReader::new(from).split(b'\n');
    while let Some(line) = lines.next_segment().await? {
        each(String::from_utf8_lossy(&line).trim_end().to_owned());
    }
    Ok(())
}

fn arguments(request: &Request<'_>, needs: &Needs) -> Vec<String> {
    let mut all =
        vec!["build".to_owned(), "--progress=plain".to_owned(), format!("--tag={}", request.image)];
    let switches =
        [("--no-cache", request.no_cache), ("--pull", request.pull), ("--squash", request.squash)];
    all.extend(switches.iter().filter(|(_, on)| *on).map(|(name, _)| (*name).to_owned()));
    all.extend(request.arguments.iter().map(|(key, value)| format!("--build-arg={key}={value}")));
    all.extend(request.labels.iter().map(|(key, value)| format!("--label={key}={value}")));
    all.extend(needs.secrets.iter().map(|(id, path)| format!("--secret=id={id},src={path}")));
    if needs.ssh {
        all.push("--ssh=default".to_owned());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn secrets_travel_as_paths() {
        let context = Tree::default();
        let none = BTreeMap::new();
        let arguments_of = [("A".to_owned(), "b c".to_owned())].into();
        let request = Request {
            image: "i:1",
            context: &context,
            arguments: &arguments_of,
            labels: &none,
            no_cache: false,
            pull: true,
            squash: false,
        };
        let needs =
            Needs { secrets: [("npm".to_owned(), ".secrets/npm".to_owned())].into(), ssh: true };
        let want = [
            "build",
            "--progress=plain",
            "--tag=i:1",
            "--pull",
            "--build-arg=A=b c",
            "--secret=id=npm,src=.secrets/npm",
            "--ssh=default",
        ];
        assert_eq!(arguments(&request, &needs), want);
        assert!(
            needs
                .check("f")
                .unwrap_err()
                .to_string()
                .starts_with("functions.f.build_secrets.npm: ")
        );
        assert!(Needs::default().is_empty());
    }
}
