//! From the engine to a registry.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::engine::Engine;
use super::progress::Progress;
use super::registry::DockerConfig;
use super::{ImageFlags, check_image, each, image_name};
use crate::Context;
use crate::commands::all_or_error;
use crate::error::hinted;
use crate::output::talk;
use crate::stack::Function;

/// Pushes the images of functions. Every one is tried before it fails.
pub async fn push_all(
    functions: &[&Function],
    images: &ImageFlags,
    context: &Context,
) -> Result<()> {
    let (skipped, pushed): (Vec<&Function>, Vec<&Function>) =
        functions.iter().partition(|function| function.skip_build);
    for function in skipped {
        talk(&format!("Skipping push of: {}.", function.name));
    }
    check_names(&pushed)?;
    if pushed.is_empty() {
        return Ok(());
    }
    let engine = Engine::connect(&context.env.building.docker).await?;
    let config = DockerConfig::load(&context.env)?;
    let progress = Progress::new(images.quiet);
    let push = async |function: &Function| -> Result<()> {
        let name = &function.name;
        let image = image_name(&function.image, images.tag, Path::new(&function.handler)).await?;
        let login = config.credentials(&image)?;
        let mut line = progress.start(name);
        engine
            .push(&image, login.as_ref(), &mut line)
            .await
            .with_context(|| format!("function {name}"))?;
        let elapsed = line.elapsed();
        drop(line);
        Ok(progress.result(&format!("Image: {image} pushed in {elapsed}."))?)
    };
    let failed = each(pushed.iter().copied(), images.parallel, &push).await;
    all_or_error(failed, pushed.len(), "pushed")
}

/// An image without a prefix would go to a place on Docker Hub that is nobody's.
fn check_names(functions: &[&Function]) -> Result<()> {
    for function in functions {
        check_image(&function.name, &function.image)?;
    }
    let bare: Vec<&str> = functions
        .iter()
        .filter(|function| !function.image.contains('/'))
        .map(|function| function.name.as_str())
        .collect();
    if bare.is_empty() {
        return Ok(());
    }
    let message =
        format!("the images of these functions name no registry or user: {}", bare.join(", "));
    Err(hinted(message, "write user/NAME or registry.example.com/NAME in `image:`"))
}
