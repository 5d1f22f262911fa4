//! `faas store`: functions that others made.

use anyhow::Result;

use crate::args::{GatewayArgs, ListArgs, Target};
use crate::deploy::{FunctionFlags, UpdateFlags, deploy_function};
use crate::output::Table;
use crate::store::{DEFAULT_STORE, Item, Store, this_platform};
use crate::{Context, output};

/// Most characters of a description in the table.
const MAX_DESCRIPTION: usize = 60;

/// Arguments of `faas store`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the functions of the store
    #[command(visible_alias = "ls")]
    List(List),
    /// Show a function of the store
    #[command(visible_alias = "describe")]
    Inspect(Inspect),
    /// Deploy a function of the store
    Deploy(Box<Deploy>),
}

/// Which store, for which platform.
#[derive(Clone, Debug, clap::Args)]
pub struct StoreArgs {
    /// The store, a URL or a file [default: OPENFAAS_STORE, then the public one]
    #[arg(short, long, value_name = "URL")]
    url: Option<String>,
    /// The platform that the functions will run on [default: this machine's]
    #[arg(short, long, visible_alias = "arch")]
    platform: Option<String>,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    list: ListArgs,
    /// Whole descriptions
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Debug, clap::Args)]
struct Inspect {
    /// The function
    name: String,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    list: ListArgs,
    /// Taken for the reference's sake: everything is shown
    #[arg(short, long, hide = true)]
    verbose: bool,
}

#[derive(Debug, clap::Args)]
struct Deploy {
    /// The function
    function: String,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// The namespace
    #[arg(short, long)]
    namespace: Option<String>,
    /// Another name for it
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    flags: FunctionFlags,
    #[command(flatten)]
    update: UpdateFlags,
}

/// Runs one of the verbs of stores.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    match args.verb {
        Verb::List(args) => list(args, context).await,
        Verb::Inspect(args) => inspect(args, context).await,
        Verb::Deploy(args) => deploy(*args, context).await,
    }
}

impl StoreArgs {
    /// Reads the store.
    pub async fn open(&self, context: &Context) -> Result<Store> {
        let place = self.url.as_deref().or(context.env.store.as_deref());
        Store::open(place.unwrap_or(DEFAULT_STORE)).await
    }

    /// The platform that is meant.
    pub fn platform(&self) -> &str {
        self.platform.as_deref().unwrap_or(this_platform())
    }
}

async fn list(args: List, context: &Context) -> Result<()> {
    let store = args.store.open(context).await?;
    let items = store.on(args.store.platform());
    if args.list.is_json() {
        return output::json(&items);
    }
    let mut table = Table::new(&["FUNCTION", "AUTHOR", "DESCRIPTION"]);
    for item in items {
        let description = if args.verbose { item.description.clone() } else { short(item) };
        table.row([item.name.clone(), item.author.clone(), description]);
    }
    Ok(output::print(&table.render())?)
}

fn short(item: &Item) -> String {
    let text = item.description.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= MAX_DESCRIPTION {
        return text;
    }
    text.chars().take(MAX_DESCRIPTION - 3).chain("...".chars()).collect()
}

async fn inspect(args: Inspect, context: &Context) -> Result<()> {
    let store = args.store.open(context).await?;
    let item = store.item(&args.name)?;
    if args.list.is_json() {
        return output::json(item);
    }
    let image = item.image(args.store.platform()).unwrap_or("<none for this platform>");
    let lines = [
        ("Title", &*item.title),
        ("Name", &item.name),
        ("Author", &item.author),
        ("Description", &item.description),
        ("Image", image),
        ("Process", &item.fprocess),
        ("Repo URL", &item.repo_url),
    ];
    let mut text = String::new();
    for (key, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        text.push_str(&format!("{:<14}{value}\n", format!("{key}:")));
    }
    for (key, map) in [("Environment", &item.environment), ("Labels", &item.labels)] {
        for (i, (name, value)) in map.iter().flatten().enumerate() {
            let key = if i == 0 { format!("{key}:") } else { String::new() };
            text.push_str(&format!("{key:<14}{name}: {value}\n"));
        }
    }
    Ok(output::print(&text)?)
}

async fn deploy(args: Deploy, context: &Context) -> Result<()> {
    let options = args.update.options()?;
    let store = args.store.open(context).await?;
    let mut function = store.item(&args.function)?.function(args.store.platform())?;
    let name = args.name.as_deref().unwrap_or(&function.service);
    let target = Target::new(name, args.namespace.as_deref())?;
    (function.service, function.namespace) = (target.name, target.namespace);
    args.flags.apply(&mut function);
    let gateway = context.gateway(&args.gateway).await?;
    gateway.warn_if_plain();
    deploy_function(&gateway, &function, &options).await
}
