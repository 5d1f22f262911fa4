//! Plain objects of a cluster, rendered by the gateway's program, which knows how it would apply them.

use std::process::Stdio;

use anyhow::{Result, bail};
use provider::Function;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::config::Environment;
use crate::error::{caused, hinted};
use crate::local;

/// Their text: YAML, a document for each object.
pub(super) async fn render(env: &Environment, functions: &[Function]) -> Result<String> {
    let wanted = "plain manifests are rendered by the gateway's program";
    let program = local::program(env, wanted, "write objects with --api flint.dev/v1")?;
    let mut input = Vec::new();
    for function in functions {
        serde_json::to_writer(&mut input, function)?;
        input.push(b'\n');
    }
    let failed = |error| {
        caused(format!("{} cannot be run", program.display()), "see whether this user may", error)
    };
    let mut child = Command::new(&program)
        .args(["--provider", "kubernetes", "manifests"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut stdin = child.stdin.take();
    let feed = async {
        if let Some(stdin) = &mut stdin {
            // One that ends before it has read all says why.
            let _ended = stdin.write_all(&input).await;
        }
        drop(stdin);
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), feed);
    let output = output?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let error = said.lines().find_map(|line| line.strip_prefix("error: "));
    let Some(error) = error else {
        let version = "is it of this version?";
        return Err(hinted(
            format!("{} ended with {}: {}", program.display(), output.status, said.trim()),
            version,
        ));
    };
    // It knows functions by their lines.
    let known = error.strip_prefix("line ").and_then(|rest| rest.split_once(": "));
    let known = known.and_then(|(n, rest)| {
        Some((functions.get(n.parse::<usize>().ok()?.checked_sub(1)?)?, rest))
    });
    match known {
        Some((function, reason)) => bail!("function {}: {reason}", function.service),
        None => bail!("{error}"),
    }
}
