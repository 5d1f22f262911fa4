//! Builds functions on this machine, without Docker: from a handler and a template's `local:` part
//! to a bundle.

mod cache;
mod check;
mod exec;
mod kept;
mod pack;
mod plan;
mod programs;
mod steps;
mod work;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use futures_util::{StreamExt, stream};
use provider::bundle::{Digest, Reference};

use super::Job;
use super::progress::{Line, Progress};
use crate::Context;
use crate::config::Environment;
use crate::output::{talk, warn};
use crate::tree::Tree;

pub(crate) use cache::latest;
pub(crate) use check::check;
pub(crate) use pack::archive;
pub(crate) use plan::{Plan, needs_images, template_of};
pub(crate) use programs::Programs;

use cache::Slot;
use steps::Steps;

/// A function, built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The function.
    pub name: String,
    /// The archive's digest.
    pub digest: Digest,
    /// The archive.
    pub archive: PathBuf,
}

impl Bundle {
    /// What stands in the place of the image's name.
    pub fn image(&self) -> String {
        Reference { name: self.name.clone(), digest: self.digest }.to_string()
    }
}

/// What came of building several functions: one that fails does not stop the others.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Those that were built.
    pub built: Vec<Bundle>,
    /// The others, and why they were not.
    pub failed: Vec<(String, anyhow::Error)>,
}

/// Builds the functions of a job, several at once.
pub async fn build_bundles(job: &Job<'_>, context: &Context) -> Outcome {
    let mut outcome = Outcome::default();
    let mut plans = Vec::new();
    for function in job.functions {
        match Plan::new(function, job, context).await {
            Ok(plan) => plans.push(plan),
            Err(error) => outcome.failed.push((function.name.clone(), error)),
        }
    }
    for plan in &plans {
        plan.warnings.iter().for_each(|warning| warn(warning));
    }
    let progress = Progress::new(job.images.quiet);
    let make = async |plan: &Plan| -> Result<Bundle> {
        let mut line = progress.start(&plan.name);
        let bundle = build(plan, &context.env, &mut line).await?;
        let text = format!("Bundle: {} built in {}.", bundle.image(), line.elapsed());
        drop(line);
        progress.result(&text)?;
        Ok(bundle)
    };
    // In the order of the stack, whichever is finished first.
    let mut all = stream::iter(plans.iter().map(make)).buffered(usize::from(job.images.parallel));
    for plan in &plans {
        match all.next().await {
            Some(Ok(bundle)) => outcome.built.push(bundle),
            Some(Err(error)) => outcome.failed.push((plan.name.clone(), error)),
            None => {}
        }
    }
    outcome
}

/// Builds one function.
pub(crate) async fn build(plan: &Plan, env: &Environment, line: &mut Line) -> Result<Bundle> {
    let named = || format!("function {} could not be built", plan.name);
    let slot = open(plan, env, line).await.with_context(named)?;
    let packed = pack(plan, &slot, line).await;
    let (archive, digest) = match packed {
        Err(error) if is_damage(&error) => {
            talk(&format!("What was kept of {} is damaged: all steps run again.", plan.name));
            cache::remove(&slot.steps()).with_context(named)?;
            pack(plan, &slot, line).await.with_context(named)?
        }
        other => other.with_context(named)?,
    };
    let archive = slot.keep(&archive, digest).with_context(named)?;
    Ok(Bundle { name: plan.name.clone(), digest, archive })
}

/// The files of a function's bundle, handed to `write` while nobody else builds the function.
pub(crate) async fn build_folder(
    plan: &Plan,
    env: &Environment,
    (line, folder): (&mut Line, &Path),
) -> Result<provider::bundle::Config> {
    let named = || format!("function {} could not be built", plan.name);
    let slot = open(plan, env, line).await.with_context(named)?;
    let bundle = contents(plan, &slot, line).await.with_context(named)?;
    bundle.write(folder).with_context(named)?;
    Ok(pack::config(&plan.template))
}

async fn open(plan: &Plan, env: &Environment, line: &mut Line) -> Result<Slot> {
    let waiting = || line.step("waiting for another build of it to end");
    let slot = Slot::open(env, (&plan.name, &plan.handler), waiting).await?;
    if plan.fresh {
        slot.clear()?;
    }
    Ok(slot)
}

/// Whether kept files are not as they were kept.
fn is_damage(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes.any(|error| error.kind() == std::io::ErrorKind::InvalidData)
}

async fn contents(plan: &Plan, slot: &Slot, line: &mut Line) -> Result<Tree> {
    let sources = plan.clone();
    let tree = blocking(move || sources.sources()).await?;
    let steps = Steps {
        slot,
        template: &plan.template.name,
        local: &plan.local,
        arguments: &plan.arguments,
        programs: Programs { path: &plan.path },
    };
    let stepped = steps.run(tree, line).await?;
    slot.collect(&stepped.used)?;
    pack::contents(&stepped.tree, &plan.template)
}

async fn pack(plan: &Plan, slot: &Slot, line: &mut Line) -> Result<(PathBuf, Digest)> {
    let bundle = contents(plan, slot, line).await?;
    let folder = slot.temporary()?;
    line.step("packing");
    blocking(move || archive(&bundle, &folder)).await
}

/// Does something with files where it holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("the work was broken off")?
}

#[cfg(test)]
mod tests;
