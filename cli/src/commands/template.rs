//! `faas template`: pull templates and look at the store.

use std::path::Path;

use anyhow::Result;

use crate::args::{Format, ListArgs};
use crate::error::usage;
use crate::output::{self, Table};
use crate::template::{GitSource, Pin, Pulled, Store, StoreEntry, pull};
use crate::{Context, template};

/// The repository that is pulled when none is named (contract 6.3).
const DEFAULT_REPOSITORY: &str = "https://github.com/openfaas/templates.git";
/// The word that means the templates of the stack file.
const STACK: &str = "stack";

/// Arguments of `faas template`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Pull templates from a git repository, or all that the stack file names
    Pull(Pull),
    /// List the templates that are here
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Look for templates that others offer
    Store(StoreArgs),
}

#[derive(Debug, clap::Args)]
struct Pull {
    /// URL or path of a repository, with #BRANCH, #TAG or #sha-COMMIT; or `stack`
    /// [default: OPENFAAS_TEMPLATE_URL, then the public templates]
    source: Option<String>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
struct How {
    /// Replace templates that are there already
    #[arg(long, value_name = "BOOL", default_value = "true", hide_possible_values = true)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(action = clap::ArgAction::Set)]
    overwrite: bool,
    /// Taken and ignored
    #[arg(long, hide = true)]
    debug: bool,
}

#[derive(Debug, clap::Args)]
struct StoreArgs {
    #[command(subcommand)]
    verb: StoreVerb,
}

#[derive(Debug, clap::Subcommand)]
enum StoreVerb {
    /// List the templates of the store
    #[command(visible_alias = "ls")]
    List(StoreList),
    /// Pull a template of the store
    Pull(StorePull),
    /// Show a template of the store
    #[command(visible_alias = "inspect")]
    Describe(StoreDescribe),
}

#[derive(Debug, clap::Args)]
struct Where {
    /// The store, a URL or a file [default: OPENFAAS_TEMPLATE_STORE_URL, then the public one]
    #[arg(short, long, value_name = "URL")]
    url: Option<String>,
}

#[derive(Debug, clap::Args)]
struct StoreList {
    #[command(flatten)]
    from: Where,
    /// Only templates for this platform, such as x86_64
    #[arg(short, long)]
    platform: Option<String>,
    /// Only recommended ones
    #[arg(short, long)]
    recommended: bool,
    /// Only official ones
    #[arg(short, long)]
    official: bool,
    /// Show language and platform too
    #[arg(short, long)]
    verbose: bool,
    /// How to print
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
    /// The same as --output json
    #[arg(short, long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct StorePull {
    /// The template, NAME or SOURCE/NAME, with @BRANCH or @TAG when one is meant
    name: String,
    #[command(flatten)]
    from: Where,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
struct StoreDescribe {
    /// The template, NAME or SOURCE/NAME
    name: String,
    #[command(flatten)]
    from: Where,
    #[command(flatten)]
    list: ListArgs,
}

/// Runs it.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    match args.verb {
        Verb::Pull(args) => pull_named(args, context).await,
        Verb::List(list) => list_here(list),
        Verb::Store(StoreArgs { verb }) => match verb {
            StoreVerb::List(args) => list_store(args, context).await,
            StoreVerb::Pull(args) => pull_from_store(args, context).await,
            StoreVerb::Describe(args) => describe(args, context).await,
        },
    }
}

async fn pull_named(args: Pull, context: &Context) -> Result<()> {
    if args.source.as_deref() == Some(STACK) {
        return pull_stack(&args.how, context).await;
    }
    let configured = context.env.building.template_url.as_deref();
    let source = args.source.as_deref().or(configured).unwrap_or(DEFAULT_REPOSITORY);
    pull_one(&GitSource::parse(source)?, &args.how).await
}

async fn pull_one(source: &GitSource, how: &How) -> Result<()> {
    output::talk(&format!("Fetching templates from {}", source.repository));
    let Pulled { written, kept } = pull(Path::new("."), source, how.overwrite).await?;
    if !kept.is_empty() {
        output::talk(&format!("Left as they are: {}", kept.join(", ")));
    }
    let names = written.join(", ");
    Ok(output::line(&format!("Wrote {} template(s): {names}", written.len()))?)
}

async fn pull_stack(how: &How, context: &Context) -> Result<()> {
    let none =
        || usage("the stack file names no templates", "add them under configuration.templates");
    let stack = context.stack().await?.ok_or_else(none)?;
    let templates = &stack.configuration.templates;
    if templates.is_empty() {
        return Err(none());
    }
    let mut store = None;
    for template in templates {
        let source = match &template.source {
            Some(source) => GitSource::parse(source)?,
            None => {
                if store.is_none() {
                    store = Some(fetch(&Where { url: None }, context).await?);
                }
                let found = store.as_ref().map(|store| store.find(&template.name));
                found.ok_or_else(none)??.git()?
            }
        };
        pull_one(&source, how).await?;
    }
    Ok(())
}

fn list_here(list: ListArgs) -> Result<()> {
    let names = template::names(Path::new("."));
    if list.is_json() {
        return output::json(&names);
    }
    let mut table = Table::new(&["NAME"]);
    names.into_iter().for_each(|name| table.row([name]));
    Ok(output::print(&table.render())?)
}

async fn fetch(from: &Where, context: &Context) -> Result<Store> {
    Store::fetch(from.url.as_deref().or(context.env.building.template_store.as_deref())).await
}

async fn list_store(args: StoreList, context: &Context) -> Result<()> {
    let store = fetch(&args.from, context).await?;
    let wanted = |entry: &&StoreEntry| {
        (!args.recommended || entry.recommended)
            && (!args.official || entry.official == "true")
            && args.platform.as_ref().is_none_or(|p| entry.platform.eq_ignore_ascii_case(p))
    };
    let entries: Vec<&StoreEntry> = store.entries.iter().filter(wanted).collect();
    if args.json || args.output == Format::Json {
        return output::json(&entries);
    }
    let mut header = vec!["NAME", "RECOMMENDED", "DESCRIPTION", "SOURCE"];
    if args.verbose {
        header.splice(1..1, ["LANGUAGE", "PLATFORM"]);
    }
    let mut table = Table::new(&header);
    for entry in entries {
        let mark = if entry.recommended { "[x]" } else { "[ ]" };
        let mut row = vec![
            entry.template.clone(),
            mark.into(),
            entry.description.clone(),
            entry.source.clone(),
        ];
        if args.verbose {
            row.splice(1..1, [entry.language.clone(), entry.platform.clone()]);
        }
        table.row(row);
    }
    Ok(output::print(&table.render())?)
}

async fn pull_from_store(args: StorePull, context: &Context) -> Result<()> {
    let (name, pin) = match args.name.split_once(['@', '#']) {
        Some((name, pin)) => (name, Some(Pin::parse(pin)?)),
        None => (args.name.as_str(), None),
    };
    let store = fetch(&args.from, context).await?;
    let source = store.find(name)?.git()?.at(pin);
    pull_one(&source, &args.how).await
}

async fn describe(args: StoreDescribe, context: &Context) -> Result<()> {
    let store = fetch(&args.from, context).await?;
    let entry = store.find(&args.name)?;
    if args.list.is_json() {
        return output::json(entry);
    }
    let yes_no = |yes: bool| if yes { "true" } else { "false" };
    let rows = [
        ("Name:", entry.template.as_str()),
        ("Description:", &entry.description),
        ("Platform:", &entry.platform),
        ("Language:", &entry.language),
        ("Source:", &entry.source),
        ("Repository:", &entry.repository),
        ("Official:", yes_no(entry.official == "true")),
        ("Recommended:", yes_no(entry.recommended)),
    ];
    let text: String = rows.iter().map(|(key, value)| format!("{key:<14}{value}\n")).collect();
    Ok(output::print(&text)?)
}
