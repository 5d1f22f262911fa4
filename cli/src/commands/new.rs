//! `faas new`: a function from a template.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use provider::is_dns_label;

use crate::error::{hinted, usage};
use crate::stack::{self, Amounts, NewFunction, Source};
use crate::template::{self, Obtain, Template};
use crate::{Context, config, output};

/// What git must not take: pulled templates, build contexts, secrets.
const IGNORED: [&str; 3] = ["template", "build", ".secrets"];

/// Arguments of `faas new`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The function's name
    name: Option<String>,
    /// The template, such as node22
    #[arg(long, value_name = "TEMPLATE")]
    lang: Option<String>,
    /// The prefix of its image [default: OPENFAAS_PREFIX]
    #[arg(short, long)]
    prefix: Option<String>,
    /// The folder of its source [default: its name]
    #[arg(long, value_name = "FOLDER")]
    handler: Option<String>,
    /// The stack file to add it to [default: the one that is here, else stack.yaml is made]
    #[arg(short, long, value_name = "FILE", conflicts_with = "yaml")]
    append: Option<String>,
    /// List the templates that are here
    #[arg(long)]
    list: bool,
    /// Say nothing of how the template is used
    #[arg(short, long)]
    quiet: bool,
    /// The most memory, such as 128Mi
    #[arg(long, value_name = "MEMORY")]
    memory_limit: Option<String>,
    /// The memory to set aside
    #[arg(long, value_name = "MEMORY")]
    memory_request: Option<String>,
    /// The most processor time, such as 500m
    #[arg(long, value_name = "CPU")]
    cpu_limit: Option<String>,
    /// The processor time to set aside
    #[arg(long, value_name = "CPU")]
    cpu_request: Option<String>,
    /// The gateway's URL, for a new stack file
    #[arg(short, long, value_name = "URL")]
    gateway: Option<String>,
}

/// Writes the function's folder and adds it to the stack file.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    let project = Path::new(".");
    if args.list {
        return list(project);
    }
    let (name, lang) = checked(&args)?;
    let file = stack_file(&args, context)?;
    let folder = args.handler.clone().unwrap_or_else(|| name.to_owned());
    let function = function(&args, context, name, &folder);
    let gateway = config::gateway_url(args.gateway.as_deref(), None, &context.env);
    let text = if file.exists() {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        stack::append(&file.display().to_string(), &text, &function)?
    } else {
        stack::create(&gateway, &function)
    };
    if Path::new(&folder).exists() {
        return Err(hinted(
            format!("folder {folder} exists already"),
            "name another one with --handler",
        ));
    }
    let template = obtain(context, project, lang).await?;
    write_handler(&template, Path::new(&folder))?;
    replace(&file, &text)?;
    ignore(project)?;
    say(&args, &folder, &file, &template)
}

fn list(project: &Path) -> Result<()> {
    let names = template::names(project);
    let lines: Vec<String> = names.iter().map(|name| format!("- {name}\n")).collect();
    Ok(output::print(&format!("Languages available as templates:\n{}", lines.concat()))?)
}

fn checked(args: &Args) -> Result<(&str, &str)> {
    let example = "faas new --lang node22 hello";
    let name = args.name.as_deref().ok_or_else(|| usage("the function needs a name", example))?;
    if !is_dns_label(name) {
        let hint =
            "a name is of a-z, 0-9 and '-', at most 63, and starts and ends with a letter or digit";
        return Err(usage(format!("{name:?} is not a function's name"), hint));
    }
    let hint = "`faas new --list` lists templates; for example: faas new --lang node22 hello";
    let lang =
        args.lang.as_deref().ok_or_else(|| usage("the function needs a template: --lang", hint))?;
    Ok((name, lang))
}

/// The stack file to write: the one that is named, the one that is here, else a new `stack.yaml`.
fn stack_file(args: &Args, context: &Context) -> Result<PathBuf> {
    if let Some(file) = &args.append {
        let path = PathBuf::from(file);
        if !path.is_file() {
            let hint = "without --append, the function goes to stack.yaml";
            return Err(hinted(format!("there is no {file} to add the function to"), hint));
        }
        return Ok(path);
    }
    match stack::find(context.globals.yaml.as_deref(), Path::new(".")) {
        Some(Source::Path(path)) => Ok(path),
        Some(Source::Url(url)) => Err(usage(format!("{url} cannot be written to"), "name a file")),
        None => Ok(PathBuf::from(stack::DEFAULT_FILES[0])),
    }
}

fn function(args: &Args, context: &Context, name: &str, folder: &str) -> NewFunction {
    let prefix = args.prefix.as_ref().or(context.env.building.prefix.as_ref());
    let prefix = prefix.map(|prefix| prefix.trim().trim_end_matches('/')).filter(|p| !p.is_empty());
    let image = match prefix {
        Some(prefix) => format!("{prefix}/{name}:latest"),
        None => format!("{name}:latest"),
    };
    let is_path = folder.starts_with(['/', '.']);
    NewFunction {
        name: name.to_owned(),
        lang: template::canonical(args.lang.as_deref().unwrap_or_default()),
        handler: if is_path { folder.to_owned() } else { format!("./{folder}") },
        image,
        limits: Amounts { memory: args.memory_limit.clone(), cpu: args.cpu_limit.clone() },
        requests: Amounts { memory: args.memory_request.clone(), cpu: args.cpu_request.clone() },
    }
}

async fn obtain(context: &Context, project: &Path, lang: &str) -> Result<Template> {
    let store = context.env.building.template_store.as_deref();
    let configured = match context.stack().await {
        Ok(Some(stack)) => stack.configuration.templates.as_slice(),
        _ => &[],
    };
    template::obtain(lang, Obtain { project, configured, store, pull: true }).await
}

fn write_handler(template: &Template, folder: &Path) -> Result<()> {
    let starter = template.tree()?.below(template.handler_folder());
    if starter.is_empty() {
        let hint = "a template has a starter in its folder `function`";
        return Err(hinted(format!("template {} has no starter", template.name), hint));
    }
    starter.write(folder)
}

/// Writes a file whole or not at all.
fn replace(path: &Path, text: &str) -> Result<()> {
    let shown = || format!("cannot write {}", path.display());
    let folder = path.parent().filter(|f| *f != Path::new("")).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .with_context(shown)?;
    file.write_all(text.as_bytes()).with_context(shown)?;
    file.persist(path).with_context(shown)?;
    Ok(())
}

fn ignore(project: &Path) -> Result<()> {
    let path = project.join(".gitignore");
    let old = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).context(".gitignore"),
    };
    let has = |name: &str| old.lines().any(|line| line.trim().trim_matches('/') == name);
    let missing: Vec<&str> = IGNORED.into_iter().filter(|name| !has(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let gap = if old.is_empty() || old.ends_with('\n') { "" } else { "\n" };
    fs::write(&path, format!("{old}{gap}{}\n", missing.join("\n"))).context(".gitignore")
}

fn say(args: &Args, folder: &str, file: &Path, template: &Template) -> Result<()> {
    output::line(&format!("Function created in folder: {folder}"))?;
    output::line(&format!("Stack file written: {}", file.display()))?;
    match &template.manifest.welcome_message {
        Some(notes) if !args.quiet => Ok(output::line(&format!("\nNotes:\n{}", notes.trim_end()))?),
        _ => Ok(()),
    }
}
