//! From a function of a stack to the one that is deployed.

use std::path::Path;

use anyhow::Result;
use clap::ArgAction;
use provider::Function;

use crate::build::{TagMode, image_name};
use crate::stack::{self, Stack};
use crate::template;

/// Whether a function without a process gets its template's.
#[derive(Clone, Debug, clap::Args)]
pub struct TemplateFlags {
    /// Functions that name no process get their template's
    #[arg(long, value_name = "BOOL", default_value = "true", hide_possible_values = true)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(action = ArgAction::Set)]
    pub read_template: bool,
}

/// The function as it is deployed: with its environment files, with the tag that its image was
/// built under, and with its template's process when it names none.
pub async fn prepare(
    stack: &Stack,
    function: &stack::Function,
    tag: TagMode,
    flags: &TemplateFlags,
) -> Result<Function> {
    let mut wire = stack.to_function(function)?;
    if !wire.image.is_empty() && !function.skip_build {
        wire.image = image_name(&wire.image, tag, Path::new(&function.handler)).await?;
    }
    if flags.read_template && wire.env_process.is_empty() {
        wire.env_process = template::process(Path::new("."), &function.lang)?.unwrap_or_default();
    }
    Ok(wire)
}

/// The function as it is deployed from a bundle, which says itself how it is run.
pub fn prepare_bundle(
    stack: &Stack,
    function: &stack::Function,
    image: String,
) -> Result<Function> {
    Ok(Function { image, ..stack.to_function(function)? })
}
