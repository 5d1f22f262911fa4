//! `faas up`: build, push, deploy.

use anyhow::Result;

use crate::args::GatewayArgs;
use crate::build::{BuildFlags, ImageFlags, Job, build_all, named_host, push_all};
use crate::deploy::{
    FunctionFlags, Options, TemplateFlags, UpdateFlags, deploy_function, prepare, until_ready,
};
use crate::error::usage;
use crate::gateway::Gateway;
use crate::output::{Table, line, print, talk};
use crate::stack::{Function, Stack};
use crate::{Context, local};

/// Arguments of `faas up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    build: BuildFlags,
    #[command(flatten)]
    images: ImageFlags,
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
    /// Where functions run, when a gateway has to be started
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,
}

/// Builds, pushes and deploys the functions of the stack, waits until they are ready, and prints
/// their URLs.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    let (stack, functions) = context.functions().await?;
    let options = args.update.options()?;
    if args.build.shrinkwrap && !args.skip_deploy {
        return Err(usage(
            "--shrinkwrap builds nothing to deploy",
            "use `faas build --shrinkwrap`",
        ));
    }
    // Before minutes of building, since it may not be there.
    let gateway = match args.skip_deploy {
        true => None,
        false => Some(local::gateway(context, &args.gateway, args.provider.as_deref()).await?),
    };
    let configuration = &stack.configuration;
    let job =
        Job { functions: &functions, configuration, flags: &args.build, images: &args.images };
    build_all(&job, context).await?;
    push(&args, &functions, gateway.as_ref(), context).await?;
    match gateway {
        Some(gateway) => deploy(&args, (stack, &functions), &gateway, options).await,
        None => Ok(()),
    }
}

/// A gateway of this machine runs what this machine's engine has built, so images that name no
/// registry are pushed only when they go elsewhere.
async fn push(
    args: &Args,
    functions: &[&Function],
    gateway: Option<&Gateway>,
    context: &Context,
) -> Result<()> {
    if args.skip_push || args.build.shrinkwrap {
        return Ok(());
    }
    let local = gateway.is_some_and(|gateway| local::is_local(gateway.url()));
    let goes = |function: &&Function| !local || named_host(&function.image).is_some();
    let (pushed, kept): (Vec<&Function>, Vec<&Function>) =
        functions.iter().copied().partition(goes);
    let kept: Vec<&str> = kept.iter().filter(|f| !f.skip_build).map(|f| f.name.as_str()).collect();
    if !kept.is_empty() {
        talk(&format!("Not pushed, since the gateway is on this machine: {}.", kept.join(", ")));
    }
    push_all(&pushed, &args.images, context).await
}

async fn deploy(
    args: &Args,
    (stack, functions): (&Stack, &[&Function]),
    gateway: &Gateway,
    options: Options,
) -> Result<()> {
    gateway.warn_if_plain();
    let mut deployed = Vec::new();
    let mut failed = Vec::new();
    for function in functions {
        let mut wire = prepare(stack, function, args.images.tag, &args.template).await?;
        if let Some(namespace) = &args.namespace {
            wire.namespace.clone_from(namespace);
        }
        args.function.apply(&mut wire);
        match deploy_function(gateway, &wire, &Options { wait: false, ..options }).await {
            Ok(()) => deployed.push(wire),
            Err(error) => failed.push(error),
        }
    }
    let mut ready = Vec::new();
    for function in deployed {
        match until_ready(gateway, &function, options.timeout).await {
            Ok(()) => ready.push(function),
            Err(error) => failed.push(error),
        }
    }
    show(gateway, &ready)?;
    super::all_or_error(failed, functions.len(), "deployed")
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
