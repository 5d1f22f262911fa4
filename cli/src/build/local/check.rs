//! Looks through changed files before they go live.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use super::exec::Exec;
use super::plan::Plan;
use super::programs::Programs;
use crate::build::progress::plain;
use crate::tree::Globs;

/// Folders whose files are others' work.
const FOREIGN: &str = "node_modules";

/// Runs the template's checks on files of the handler's folder, given relative to it. A failure
/// says what the tool said of each.
pub(crate) async fn check(plan: &Plan, changed: &BTreeSet<PathBuf>) -> Result<()> {
    let mut wrong = String::new();
    for check in &plan.local.check {
        let globs = Globs::new(&check.files)?;
        let words = shell_words::split(&check.run)?;
        for path in changed.iter().filter(|path| is_checked(plan, &globs, path)) {
            // Named as its author knows it, since the tool's words do so too.
            let file = plan.handler.join(path);
            let words: Vec<String> =
                words.iter().cloned().chain([file.to_string_lossy().into_owned()]).collect();
            wrong.push_str(&one(plan, &words).await?);
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(anyhow!("{}", wrong.trim_end())) }
}

fn is_checked(plan: &Plan, globs: &Globs, path: &Path) -> bool {
    let foreign = path.components().any(|part| part.as_os_str() == FOREIGN);
    let inside = plan.template.handler_folder().join(path);
    !foreign && globs.take(&inside) && plan.handler.join(path).is_file()
}

/// What a tool says of a file that it does not like; empty when it likes it.
async fn one(plan: &Plan, words: &[String]) -> Result<String> {
    let mut said = String::new();
    let exec = Exec {
        words,
        folder: Path::new("."),
        environment: &BTreeMap::new(),
        programs: Programs { path: &plan.path },
    };
    let status = exec.run(&mut |line| said.push_str(&format!("{}\n", plain(line)))).await?;
    match status.success() {
        true => Ok(String::new()),
        false if said.is_empty() => Ok(format!("{} ended with {status}\n", words.join(" "))),
        false => Ok(said),
    }
}
