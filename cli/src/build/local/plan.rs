//! Everything that is known of a function before it is built.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::programs::Programs;
use crate::Context;
use crate::build::context::{Parts, sources};
use crate::build::run::find_template;
use crate::build::{Job, arguments};
use crate::error::hinted;
use crate::stack::Function;
use crate::template::{Local, Template};
use crate::tree::Tree;

/// The build argument that names packages of the machine.
const PACKAGES: &str = "ADDITIONAL_PACKAGE";
/// What to do where only an image will do.
const USE_DOCKER: &str = "use `--provider docker`, or a gateway that runs containers";

/// A function that can be built on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Its name.
    pub(crate) name: String,
    /// The folder of its source.
    pub(crate) handler: PathBuf,
    /// Its template.
    pub(crate) template: Arc<Template>,
    /// The template's `local:` part.
    pub(crate) local: Local,
    /// Variables of the steps.
    pub(crate) arguments: BTreeMap<String, String>,
    /// Paths of the project that it gets beside its own.
    pub(crate) copy: Vec<String>,
    /// Where programs are.
    pub(crate) path: String,
    /// Whether nothing that was made before is used.
    pub(crate) fresh: bool,
    /// What cannot be done without Docker, but stops nothing.
    pub(crate) warnings: Vec<String>,
}

/// Why a function cannot run without images, as far as it alone tells; `None` when it can.
pub(crate) fn needs_images(function: &Function, template: Option<&Template>) -> Option<String> {
    if function.skip_build || (function.lang.is_empty() && !function.image.is_empty()) {
        return Some(format!("it is the image {}, which needs Docker", function.image));
    }
    if function.is_dockerfile() {
        return Some("template dockerfile needs Docker".to_owned());
    }
    let template = template.filter(|template| template.manifest.local.is_none())?;
    let name = &template.name;
    Some(format!("template {name} cannot run without Docker: it has no `local:` part"))
}

/// The template of a function; `None` when it has none, or one that only Docker builds.
pub(crate) async fn template_of(
    function: &Function,
    job: &Job<'_>,
    context: &Context,
) -> Result<Option<Arc<Template>>> {
    match needs_images(function, None) {
        Some(_) => Ok(None),
        None => find_template(function, job, context).await,
    }
}

impl Plan {
    /// Finds everything that can be wrong with a function before it is built.
    pub(crate) async fn new(function: &Function, job: &Job<'_>, context: &Context) -> Result<Self> {
        let named = || format!("function {} cannot be built", function.name);
        let plan = Self::read(function, job, context).await.with_context(named)?;
        let programs = Programs { path: &plan.path };
        programs.require(&plan.template.name, plan.local.programs.iter()).with_context(named)?;
        Ok(plan)
    }

    async fn read(function: &Function, job: &Job<'_>, context: &Context) -> Result<Self> {
        let template = template_of(function, job, context).await?;
        if let Some(reason) = needs_images(function, template.as_deref()) {
            return Err(hinted(reason, USE_DOCKER));
        }
        let local = template.as_ref().and_then(|template| template.manifest.local.clone());
        let (Some(template), Some(local)) = (template, local) else {
            return Err(hinted("it has no template", "set `lang:` to one"));
        };
        let proxies = context.env.building.proxies.iter().cloned().collect();
        let layers = [&proxies, &function.build_args, &job.flags.arguments()];
        let options: Vec<String> =
            function.build_options.iter().chain(&job.flags.build_options).cloned().collect();
        let packages = template.manifest.packages(&options, &function.lang)?;
        let mut arguments = arguments::merge(&layers, packages);
        let mut warnings = local.warnings.clone();
        warnings.extend(unmet(function, arguments.remove(PACKAGES)));
        let copy = job.configuration.copy.iter().chain(&job.flags.copy_extra).cloned().collect();
        Ok(Self {
            name: function.name.clone(),
            handler: PathBuf::from(&function.handler),
            template,
            local,
            arguments,
            copy,
            path: context.env.building.path.clone().unwrap_or_default(),
            fresh: job.flags.no_cache,
            warnings,
        })
    }

    /// The build folder before any step: what Docker's build context would be.
    pub(crate) fn sources(&self) -> Result<Tree> {
        sources(Parts {
            name: &self.name,
            handler: Path::new(&self.handler),
            template: Some(&self.template),
            copy: &self.copy,
            watchdog: None,
        })
    }
}

/// What a function asks of its build that only Docker can give.
fn unmet(function: &Function, packages: Option<String>) -> Vec<String> {
    let name = &function.name;
    let packages = packages.map(|packages| {
        format!(
            "function {name}: without Docker no packages are installed; \
             if it needs them, install on this machine: {packages}"
        )
    });
    let secrets = (!function.build_secrets.is_empty()).then(|| {
        format!("function {name}: without Docker, `build_secrets` are not given to the build")
    });
    packages.into_iter().chain(secrets).collect()
}
