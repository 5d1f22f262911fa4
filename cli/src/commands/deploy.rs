//! `faas deploy`: functions go to the gateway.

use std::path::Path;

use anyhow::{Context as _, Result};
use provider::{Function, is_dns_label};

use crate::args::{GatewayArgs, Target};
use crate::deploy::{FunctionFlags, UpdateFlags, deploy_function};
use crate::error::usage;
use crate::{Context, stack};

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
    /// Take the process of a function that names none from its template, when that is here
    #[arg(long, value_name = "BOOL", default_value = "true", hide_possible_values = true)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(action = clap::ArgAction::Set)]
    read_template: bool,
    #[command(flatten)]
    function: FunctionFlags,
    #[command(flatten)]
    update: UpdateFlags,
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
    let functions = wanted(&args, context).await?;
    let gateway = context.gateway(&args.gateway).await?;
    gateway.warn_if_plain();
    let mut failed = Vec::new();
    for function in &functions {
        if let Err(error) = deploy_function(&gateway, function, &options).await {
            failed.push(error);
        }
    }
    super::all_or_error(failed, functions.len(), "deployed")
}

async fn wanted(args: &Args, context: &Context) -> Result<Vec<Function>> {
    let mut functions = match (&args.name, &args.image) {
        (Some(name), Some(image)) => vec![single(name, image)?],
        _ => of_stack(args, context).await?,
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

async fn of_stack(args: &Args, context: &Context) -> Result<Vec<Function>> {
    if context.stack().await?.is_none() {
        let hint = "give --name and --image, or a stack file with -f";
        return Err(usage("there is nothing to deploy", hint));
    }
    let (stack, functions) = context.functions().await?;
    let wire = |function: &stack::Function| {
        let mut wire = stack.to_function(function)?;
        if args.read_template && wire.env_process.is_empty() {
            wire.env_process = template_process(function.template().0)?;
        }
        Ok(wire)
    };
    functions.into_iter().map(wire).collect()
}

/// The process that a template names; empty when it names none or is not here.
fn template_process(template: &str) -> Result<String> {
    let path = Path::new("template").join(template).join("template.yml");
    if !is_dns_label(template) || !path.is_file() {
        return Ok(String::new());
    }
    let what = || format!("cannot read {}", path.display());
    let text = std::fs::read_to_string(&path).with_context(what)?;
    let template: serde_yaml::Value = serde_yaml::from_str(&text).with_context(what)?;
    let process = template.get("fprocess").and_then(serde_yaml::Value::as_str);
    Ok(process.unwrap_or_default().to_owned())
}
