//! `faas deploy`: functions go to the gateway.

use std::path::Path;

use anyhow::Result;
use provider::Function;

use crate::Context;
use crate::args::{GatewayArgs, Target};
use crate::build::TagMode;
use crate::build::local::latest;
use crate::deploy::{
    FunctionFlags, TemplateFlags, UpdateFlags, deploy_function, prepare, prepare_bundle,
};
use crate::error::{hinted, usage};
use crate::gateway::{Backend, Gateway};
use crate::stack;

/// Arguments of `faas deploy`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    gateway: GatewayArgs,
    /// The namespace
    #[arg(short, long)]
    namespace: Option<String>,
    /// Deploy this image instead of a stack
    #[arg(long, requires = "name")]
    image: Option<String>,
    /// The function's name, with --image
    #[arg(long, requires = "image")]
    name: Option<String>,
    #[command(flatten)]
    function: FunctionFlags,
    #[command(flatten)]
    update: UpdateFlags,
    #[command(flatten)]
    template: TemplateFlags,
    /// What was added to the images' tags when they were built
    #[arg(long, value_name = "MODE", value_enum, ignore_case = true, default_value_t)]
    tag: TagMode,
    /// Taken and ignored: only building needs it
    #[arg(long, hide = true)]
    handler: Option<String>,
    /// Taken and ignored: only building needs it
    #[arg(long, hide = true)]
    lang: Option<String>,
}

/// Deploys one image, or the functions of the stack; tries all of them before it fails.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    let options = args.update.options()?;
    let gateway = context.gateway(&args.gateway).await?;
    let functions = wanted(&args, context, &gateway).await?;
    gateway.warn_if_plain();
    let mut failed = Vec::new();
    for function in &functions {
        if let Err(error) = deploy_function(&gateway, function, &options).await {
            failed.push(error);
        }
    }
    super::all_or_error(failed, functions.len(), "deployed")
}

async fn wanted(args: &Args, context: &Context, gateway: &Gateway) -> Result<Vec<Function>> {
    let mut functions = match (&args.name, &args.image) {
        (Some(name), Some(image)) => vec![single(name, image)?],
        _ => of_stack(args, context, gateway).await?,
    };
    for function in &mut functions {
        if let Some(namespace) = &args.namespace {
            function.namespace.clone_from(namespace);
        }
        args.function.apply(function);
    }
    Ok(functions)
}

fn single(name: &str, image: &str) -> Result<Function> {
    let Target { name, namespace } = Target::new(name, None)?;
    Ok(Function { service: name, namespace, image: image.to_owned(), ..Default::default() })
}

async fn of_stack(args: &Args, context: &Context, gateway: &Gateway) -> Result<Vec<Function>> {
    if context.stack().await?.is_none() {
        let hint = "give --name and --image, or a stack file with -f";
        return Err(usage("there is nothing to deploy", hint));
    }
    let (stack, functions) = context.functions().await?;
    let built = functions.iter().any(|function| is_built(function));
    let bundles = built && gateway.backend().await == Backend::Bundles;
    let mut all = Vec::new();
    for function in functions {
        all.push(match bundles && is_built(function) {
            true => prepare_bundle(stack, function, given(function, context, gateway).await?)?,
            false => prepare(stack, function, args.tag, &args.template).await?,
        });
    }
    Ok(all)
}

/// Whether it comes from a handler, and not from elsewhere.
fn is_built(function: &stack::Function) -> bool {
    !function.skip_build && !function.lang.is_empty() && !function.handler.is_empty()
}

/// Gives the gateway the bundle that was built last; what stands in the place of its image.
async fn given(function: &stack::Function, context: &Context, gateway: &Gateway) -> Result<String> {
    let name = &function.name;
    let Some(bundle) = latest(&context.env, name, Path::new(&function.handler))? else {
        let message = format!("function {name} is not built for a gateway that runs processes");
        return Err(hinted(message, "use `faas build --provider process` first, or `faas up`"));
    };
    gateway.put_bundle(bundle.digest, &bundle.archive, None).await?;
    Ok(bundle.image())
}
