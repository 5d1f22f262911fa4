//! `faas push`: images to their registries.

use anyhow::Result;

use crate::Context;
use crate::build::{ImageFlags, push_all};

/// Arguments of `faas push`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    images: ImageFlags,
}

/// Pushes the images of the stack's functions.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    let (_, functions) = context.functions().await?;
    push_all(&functions, &args.images, context).await
}
