//! `faas push`: images to their registries.

use anyhow::Result;

use crate::Context;
use crate::backend::of_gateway;
use crate::build::{ImageFlags, push_all};
use crate::gateway::Backend;
use crate::output::talk;

/// Arguments of `faas push`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    images: ImageFlags,
}

/// Pushes the images of the stack's functions.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    let (_, functions) = context.functions().await?;
    if of_gateway(context).await == Some(Backend::Bundles) {
        let text =
            "Nothing to push: the gateway runs bundles, which `faas up` and `faas deploy` give it.";
        talk(text);
        return Ok(());
    }
    push_all(&functions, &args.images, context).await
}
