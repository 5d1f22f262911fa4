//! The flags of building.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::tag::TagMode;
use crate::args::key_value;

/// What the command line says of builds.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct BuildFlags {
    /// Take nothing from the cache
    #[arg(long)]
    pub no_cache: bool,
    /// Make one layer of all (the engine must allow experiments)
    #[arg(long)]
    pub squash: bool,
    /// Only write the build contexts to ./build
    #[arg(long)]
    pub shrinkwrap: bool,
    /// A build argument, KEY=VALUE
    #[arg(short = 'b', long = "build-arg", value_name = "KEY=VALUE", value_parser = key_value)]
    pub build_args: Vec<(String, String)>,
    /// A build option of the template
    #[arg(short = 'o', long = "build-option", value_name = "NAME")]
    pub build_options: Vec<String>,
    /// A label of the image, KEY=VALUE
    #[arg(long = "build-label", value_name = "KEY=VALUE", value_parser = key_value)]
    pub build_labels: Vec<(String, String)>,
    /// A path of the project that every function gets
    #[arg(long = "copy-extra", value_name = "PATH")]
    pub copy_extra: Vec<String>,
    /// Look for newer base images
    #[arg(long)]
    pub pull: bool,
    /// Pull no templates
    #[arg(long)]
    pub disable_stack_pull: bool,
    /// The watchdog's static binary [default: FAAS_WATCHDOG, then beside this program]
    #[arg(long, value_name = "FILE")]
    pub watchdog: Option<PathBuf>,
    /// Taken and ignored: templates that are here are used as they are
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    overwrite: Option<bool>,
    /// Taken and ignored
    #[arg(long, hide = true)]
    debug: bool,
}

/// The flags that building and pushing share.
#[derive(Clone, Debug, clap::Args)]
pub struct ImageFlags {
    /// How many functions are worked on at once
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..))]
    pub parallel: u16,
    /// What is added to the images' tags
    #[arg(long, value_name = "MODE", value_enum, ignore_case = true, default_value_t)]
    pub tag: TagMode,
    /// Show no progress
    #[arg(long)]
    pub quiet: bool,
}

impl Default for ImageFlags {
    fn default() -> Self {
        Self { parallel: 1, tag: TagMode::default(), quiet: false }
    }
}

impl BuildFlags {
    /// The build arguments.
    pub fn arguments(&self) -> BTreeMap<String, String> {
        self.build_args.iter().cloned().collect()
    }

    /// The labels.
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.build_labels.iter().cloned().collect()
    }
}
