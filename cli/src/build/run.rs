//! From functions to images.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::context::{Parts, assemble, shrinkwrap};
use super::engine::{Engine, Request, build};
use super::progress::Progress;
use super::registry::DockerConfig;
use super::session::{self, Needs};
use super::{BuildFlags, ImageFlags, arguments, check_image, each, image_name, watchdog};
use crate::commands::all_or_error;
use crate::error::hinted;
use crate::output::talk;
use crate::stack::{Configuration, Function};
use crate::template::{self, Obtain, Template};
use crate::{Context, tree::Tree};

/// What is to be built, and how.
#[derive(Debug)]
pub struct Job<'a> {
    /// The functions.
    pub functions: &'a [&'a Function],
    /// The stack's `configuration`.
    pub configuration: &'a Configuration,
    /// Flags of building.
    pub flags: &'a BuildFlags,
    /// Flags of images.
    pub images: &'a ImageFlags,
}

/// A function that is ready to be built.
struct Prepared<'a> {
    function: &'a Function,
    template: Option<Arc<Template>>,
    arguments: BTreeMap<String, String>,
    needs: Needs,
}

/// What all builds of a run share.
struct Workshop<'a> {
    job: &'a Job<'a>,
    context: &'a Context,
    engine: Option<Engine>,
    config: DockerConfig,
    progress: Progress,
    watchdog: Option<PathBuf>,
    copy: Vec<String>,
    labels: BTreeMap<String, String>,
}

/// Builds the functions, or with `--shrinkwrap` writes their build contexts. Every one is tried
/// before it fails.
pub async fn build_all(job: &Job<'_>, context: &Context) -> Result<()> {
    let mut prepared = Vec::new();
    for function in job.functions {
        if function.skip_build {
            talk(&format!("Skipping build of: {}.", function.name));
            continue;
        }
        let named = || format!("function {} cannot be built", function.name);
        prepared.push(prepare(function, job, context).await.with_context(named)?);
    }
    if prepared.is_empty() {
        return Ok(());
    }
    let workshop = Workshop::open(job, context).await?;
    let count = prepared.len();
    let failed = each(&prepared, job.images.parallel, |one| workshop.make(one)).await;
    all_or_error(failed, count, "built")
}

/// Everything that can be wrong with a function is found before the first one is built.
async fn prepare<'a>(
    function: &'a Function,
    job: &Job<'_>,
    context: &Context,
) -> Result<Prepared<'a>> {
    check_image(&function.name, &function.image)?;
    let template = find_template(function, job, context).await?;
    let options: Vec<String> =
        function.build_options.iter().chain(&job.flags.build_options).cloned().collect();
    let manifest = template.as_ref().map(|template| template.manifest.clone()).unwrap_or_default();
    let packages = manifest.packages(&options, &function.lang)?;
    let proxies = context.env.building.proxies.iter().cloned().collect();
    let layers = [&proxies, &function.build_args, &job.flags.arguments()];
    let needs = Needs { secrets: function.build_secrets.clone(), ssh: manifest.mount_ssh };
    needs.check(&function.name)?;
    Ok(Prepared { function, template, arguments: arguments::merge(&layers, packages), needs })
}

/// The template; `None` when the handler has a Dockerfile of its own.
pub(super) async fn find_template(
    function: &Function,
    job: &Job<'_>,
    context: &Context,
) -> Result<Option<Arc<Template>>> {
    if function.lang.is_empty() {
        let hint = "set `lang:` to a template, or `skip_build: true` when the image is there";
        return Err(hinted(format!("functions.{}.lang is missing", function.name), hint));
    }
    if function.handler.is_empty() {
        let hint = "set `handler:` to the folder of its source";
        return Err(hinted(format!("functions.{}.handler is missing", function.name), hint));
    }
    if function.is_dockerfile() {
        return Ok(None);
    }
    let from = Obtain {
        project: Path::new("."),
        configured: &job.configuration.templates,
        store: context.env.building.template_store.as_deref(),
        pull: !job.flags.disable_stack_pull,
    };
    Ok(Some(Arc::new(template::obtain(&function.lang, from).await?)))
}

impl<'a> Workshop<'a> {
    async fn open(job: &'a Job<'a>, context: &'a Context) -> Result<Self> {
        let building = &context.env.building;
        let engine = match job.flags.shrinkwrap {
            true => None,
            false => Some(Engine::connect(&building.docker).await?),
        };
        let copy = job.configuration.copy.iter().chain(&job.flags.copy_extra).cloned().collect();
        Ok(Self {
            job,
            context,
            engine,
            config: DockerConfig::load(&context.env)?,
            progress: Progress::new(job.images.quiet),
            watchdog: watchdog::find(job.flags.watchdog.as_deref(), building.watchdog.as_deref())?,
            copy,
            labels: job.flags.labels(),
        })
    }

    async fn make(&self, prepared: &Prepared<'_>) -> Result<()> {
        let name = &prepared.function.name;
        let named = || format!("function {name} could not be built");
        let context = self.assemble(prepared).with_context(named)?;
        let Some(engine) = &self.engine else {
            let ci = self.context.env.ci;
            let folder = shrinkwrap(&context, Path::new("."), name, ci).with_context(named)?;
            return Ok(self
                .progress
                .result(&format!("{name} shrink-wrapped to {}", folder.display()))?);
        };
        let handler = Path::new(&prepared.function.handler);
        let image = image_name(&prepared.function.image, self.job.images.tag, handler).await?;
        let mut line = self.progress.start(name);
        let request = self.request(prepared, &image, &context);
        let built = match prepared.needs.is_empty() {
            true => build(engine, &self.config, &request, &mut line).await,
            false => session::build(&request, &prepared.needs, &mut line).await,
        };
        built.with_context(named)?;
        let elapsed = line.elapsed();
        drop(line);
        Ok(self.progress.result(&format!("Image: {image} built in {elapsed}."))?)
    }

    fn assemble(&self, prepared: &Prepared<'_>) -> Result<Tree> {
        assemble(Parts {
            name: &prepared.function.name,
            handler: Path::new(&prepared.function.handler),
            template: prepared.template.as_deref(),
            copy: &self.copy,
            watchdog: self.watchdog.as_deref(),
        })
    }

    fn request<'r>(
        &'r self,
        prepared: &'r Prepared<'_>,
        image: &'r str,
        context: &'r Tree,
    ) -> Request<'r> {
        let flags = self.job.flags;
        Request {
            image,
            context,
            arguments: &prepared.arguments,
            labels: &self.labels,
            no_cache: flags.no_cache,
            pull: flags.pull,
            squash: flags.squash,
        }
    }
}
