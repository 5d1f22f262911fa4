//! `faas build`: functions to images or bundles.

use anyhow::Result;

use crate::Context;
use crate::backend::{ProviderKind, to_build};
use crate::build::local::{Outcome, build_bundles};
use crate::build::{BuildFlags, ImageFlags, Job, build_all};
use crate::error::usage;
use crate::gateway::Backend;
use crate::interrupt::unless_interrupted;
use crate::stack::{Configuration, Function};

/// Arguments of `faas build`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: BuildFlags,
    #[command(flatten)]
    images: ImageFlags,
    #[command(flatten)]
    single: Single,
    /// What functions will run as [default: FAAS_PROVIDER, then as the gateway runs them, then
    /// docker where an engine answers]
    #[arg(long, value_name = "PROVIDER", value_enum)]
    provider: Option<ProviderKind>,
}

/// A function without a stack file.
#[derive(Debug, clap::Args)]
struct Single {
    /// Build this image instead of a stack
    #[arg(long, requires_all = ["handler", "name", "lang"])]
    image: Option<String>,
    /// The folder of its source, with --image
    #[arg(long, requires = "image", value_name = "FOLDER")]
    handler: Option<String>,
    /// Its name, with --image
    #[arg(long, requires = "image")]
    name: Option<String>,
    /// Its template, with --image
    #[arg(long, requires = "image", value_name = "TEMPLATE")]
    lang: Option<String>,
}

impl Single {
    fn function(&self) -> Option<Function> {
        Some(Function {
            image: self.image.clone()?,
            handler: self.handler.clone()?,
            name: self.name.clone()?,
            lang: self.lang.clone()?,
            ..Function::default()
        })
    }
}

/// Builds one function, or those of the stack.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    unless_interrupted(build(args, context)).await
}

async fn build(args: Args, context: &Context) -> Result<()> {
    let (flags, images) = (&args.flags, &args.images);
    if let Some(function) = args.single.function() {
        if !provider::is_dns_label(&function.name) {
            let hint = "a name is of a-z, 0-9 and '-'";
            return Err(usage(format!("{:?} is not a function's name", function.name), hint));
        }
        let configuration = &Configuration::default();
        let functions = &[&function][..];
        return build_all(&Job { functions, configuration, flags, images }, context).await;
    }
    let (stack, functions) = context.functions().await?;
    for function in &functions {
        stack.check_limits(&stack.to_function(function)?)?;
    }
    let configuration = &stack.configuration;
    let job = Job { functions: &functions, configuration, flags, images };
    if !flags.shrinkwrap && to_build(args.provider, context).await? == Backend::Bundles {
        let Outcome { failed, .. } = build_bundles(&job, context).await;
        let failed = failed.into_iter().map(|(_, error)| error).collect();
        return super::all_or_error(failed, functions.len(), "built");
    }
    build_all(&job, context).await
}
