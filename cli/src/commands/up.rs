//! `faas up`: build, push, deploy.

use std::time::Instant;

use anyhow::Result;

use crate::args::GatewayArgs;
use crate::backend::{ProviderKind, to_build};
use crate::build::local::{Bundle, Outcome, build_bundles};
use crate::build::{BuildFlags, ImageFlags, Job, build_all, named_host, push_all};
use crate::deploy::{
    FunctionFlags, Options, TemplateFlags, UpdateFlags, deploy_function, prepare, prepare_bundle,
    until_ready,
};
use crate::error::{report, usage};
use crate::gateway::{Backend, Gateway};
use crate::interrupt::unless_interrupted;
use crate::output::{Table, line, print, talk};
use crate::stack::{Function, Stack};
use crate::watch::{self, Begun};
use crate::{Context, local};

/// Arguments of `faas up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(crate) build: BuildFlags,
    #[command(flatten)]
    pub(crate) images: ImageFlags,
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    function: FunctionFlags,
    #[command(flatten)]
    update: UpdateFlags,
    #[command(flatten)]
    template: TemplateFlags,
    /// The namespace
    #[arg(short, long)]
    namespace: Option<String>,
    /// Push no images
    #[arg(long)]
    skip_push: bool,
    /// Deploy nothing
    #[arg(long)]
    skip_deploy: bool,
    /// Where functions run, when a gateway has to be started [default: FAAS_PROVIDER, then auto]
    #[arg(long, value_name = "PROVIDER", value_enum)]
    provider: Option<ProviderKind>,
    /// Stay, and bring changes live as files are saved
    #[arg(short, long, conflicts_with_all = ["skip_deploy", "shrinkwrap", "replace"])]
    watch: bool,
}

/// A function on its way, and why it did not arrive.
type Failed = Vec<(String, anyhow::Error)>;

/// Builds, pushes and deploys the functions of the stack, waits until they are ready, and prints
/// their URLs.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    let started = unless_interrupted(first(&args, context)).await?;
    match started {
        Some(begun) if args.watch => watch::run(&args, context, &begun).await,
        _ => Ok(()),
    }
}

/// Everything but watching. With `--watch`, functions that fail are told and may get well later.
async fn first(args: &Args, context: &Context) -> Result<Option<Begun>> {
    let since = Instant::now();
    let (stack, functions) = context.functions().await?;
    let options = args.update.options()?;
    if args.build.shrinkwrap && !args.skip_deploy {
        return Err(usage(
            "--shrinkwrap builds nothing to deploy",
            "use `faas build --shrinkwrap`",
        ));
    }
    for function in &functions {
        args.check(stack, function)?;
    }
    let job = args.job(stack, &functions);
    if args.skip_deploy {
        return build_only(args, &job, context).await.map(|()| None);
    }
    // Before minutes of building, since it may not be there.
    let kind = ProviderKind::asked(args.provider, &context.env)?;
    let asked = local::Asked { kind, job: &job };
    let (gateway, backend) = local::gateway(context, &args.gateway, &asked).await?;
    gateway.warn_if_plain();
    let (wires, mut failed) = match backend {
        Backend::Bundles => args.bundles(stack, (&job, context), &gateway).await,
        Backend::Images => args.images(stack, (&job, context), &gateway).await?,
    };
    let (ready, late) = deploy(&gateway, wires, options).await;
    failed.extend(late);
    show(&gateway, &ready)?;
    let (good, all) = (ready.len(), functions.len());
    talk(&format!("{good} of {all} live after {:.1}s.", since.elapsed().as_secs_f64()));
    let whole = all_or_names(failed, all);
    if args.watch {
        whole.err().iter().for_each(report);
        return Ok(Some(Begun { gateway, backend, ready }));
    }
    whole.map(|()| None)
}

/// `--skip-deploy`.
async fn build_only(args: &Args, job: &Job<'_>, context: &Context) -> Result<()> {
    if !args.build.shrinkwrap && to_build(args.provider, context).await? == Backend::Bundles {
        let Outcome { failed, .. } = build_bundles(job, context).await;
        return all_or_names(failed, job.functions.len());
    }
    build_all(job, context).await?;
    args.push(job.functions, context, false).await.map(drop)
}

impl Args {
    /// What is to be built.
    pub(crate) fn job<'a>(&'a self, stack: &'a Stack, functions: &'a [&'a Function]) -> Job<'a> {
        let configuration = &stack.configuration;
        Job { functions, configuration, flags: &self.build, images: &self.images }
    }

    /// Finds what the gateway would refuse after the building.
    pub(crate) fn check(&self, stack: &Stack, function: &Function) -> Result<()> {
        Ok(stack.check_limits(&self.applied(stack.to_function(function)?))?)
    }

    /// The function as it is deployed from a bundle.
    pub(crate) fn of_bundle(
        &self,
        stack: &Stack,
        function: &Function,
        bundle: &Bundle,
    ) -> Result<provider::Function> {
        Ok(self.applied(prepare_bundle(stack, function, bundle.image())?))
    }

    /// The function as it is deployed from an image.
    pub(crate) async fn of_image(
        &self,
        stack: &Stack,
        function: &Function,
    ) -> Result<provider::Function> {
        Ok(self.applied(prepare(stack, function, self.images.tag, &self.template).await?))
    }

    /// Longest wait for the gateway, and for a function to be ready.
    pub(crate) fn options(&self) -> Result<Options> {
        self.update.options()
    }

    fn applied(&self, mut wire: provider::Function) -> provider::Function {
        if let Some(namespace) = &self.namespace {
            wire.namespace.clone_from(namespace);
        }
        self.function.apply(&mut wire);
        wire
    }

    /// Builds bundles and gives them to the gateway; what fails stops nothing else.
    async fn bundles(
        &self,
        stack: &Stack,
        (job, context): (&Job<'_>, &Context),
        gateway: &Gateway,
    ) -> (Vec<provider::Function>, Failed) {
        let Outcome { built, mut failed } = build_bundles(job, context).await;
        let mut wires = Vec::new();
        for bundle in &built {
            let function = job.functions.iter().find(|function| function.name == bundle.name);
            let given = gateway.put_bundle(bundle.digest, &bundle.archive, None).await;
            let wire = function.map(|function| self.of_bundle(stack, function, bundle));
            match (given, wire) {
                (Ok(_), Some(Ok(wire))) => wires.push(wire),
                (Err(error), _) | (_, Some(Err(error))) => {
                    failed.push((bundle.name.clone(), error));
                }
                (Ok(_), None) => {}
            }
        }
        (wires, failed)
    }

    /// Builds images and pushes those that have a place to go.
    async fn images(
        &self,
        stack: &Stack,
        (job, context): (&Job<'_>, &Context),
        gateway: &Gateway,
    ) -> Result<(Vec<provider::Function>, Failed)> {
        build_all(job, context).await?;
        let local = local::is_local(gateway.url());
        let kept = self.push(job.functions, context, local).await?;
        if !kept.is_empty() {
            let names = kept.join(", ");
            talk(&format!(
                "Not pushed, since the gateway is at an address of this machine and the images name no registry: \
                 {names}. For Docker Hub, name it: docker.io/me/hello:1."
            ));
        }
        let mut wires = Vec::new();
        for function in job.functions {
            wires.push(self.of_image(stack, function).await?);
        }
        Ok((wires, Failed::new()))
    }

    /// Pushes images. A gateway of this machine runs what this machine's engine has built, so those
    /// that name no registry are pushed only when they go elsewhere; gives back the others.
    pub(crate) async fn push(
        &self,
        functions: &[&Function],
        context: &Context,
        local: bool,
    ) -> Result<Vec<String>> {
        if self.skip_push || self.build.shrinkwrap {
            return Ok(Vec::new());
        }
        let goes = |function: &&Function| !local || named_host(&function.image).is_some();
        let (pushed, kept): (Vec<&Function>, Vec<&Function>) =
            functions.iter().copied().partition(goes);
        push_all(&pushed, &self.images, context).await?;
        let kept = kept.iter().filter(|function| !function.skip_build);
        Ok(kept.map(|function| function.name.clone()).collect())
    }
}

/// Deploys functions and waits for them; what fails stops nothing else.
async fn deploy(
    gateway: &Gateway,
    wires: Vec<provider::Function>,
    options: Options,
) -> (Vec<provider::Function>, Failed) {
    let (mut deployed, mut ready, mut failed) = (Vec::new(), Vec::new(), Failed::new());
    for wire in wires {
        match deploy_function(gateway, &wire, &Options { wait: false, ..options }).await {
            Ok(()) => deployed.push(wire),
            Err(error) => failed.push((wire.service, error)),
        }
    }
    for wire in deployed {
        match until_ready(gateway, &wire, options.timeout).await {
            Ok(()) => ready.push(wire),
            Err(error) => failed.push((wire.service, error)),
        }
    }
    (ready, failed)
}

/// One failure of one is that failure; else each is told, and a summary says which they were.
fn all_or_names(mut failed: Failed, all: usize) -> Result<()> {
    match (failed.len(), all) {
        (0, _) => Ok(()),
        (1, 1) => Err(failed.remove(0).1),
        (count, _) => {
            failed.iter().for_each(|(_, error)| report(error));
            let names: Vec<&str> = failed.iter().map(|(name, _)| name.as_str()).collect();
            Err(anyhow::anyhow!("{count} of {all} could not be deployed: {}", names.join(", ")))
        }
    }
}

/// The URLs, and how to call the first one.
fn show(gateway: &Gateway, functions: &[provider::Function]) -> Result<()> {
    let Some(first) = functions.first() else { return Ok(()) };
    let url = |function: &provider::Function| {
        gateway.function_url(&function.service, &function.namespace)
    };
    let mut table = Table::new(&["FUNCTION", "URL"]);
    for function in functions {
        table.row([function.service.clone(), url(function)]);
    }
    print(&format!("\n{}", table.render()))?;
    Ok(line(&format!("\nTry it:\n  curl -d hello {}", url(first)))?)
}
