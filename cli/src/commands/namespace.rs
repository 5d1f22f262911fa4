//! `faas namespace`: where functions live.

use std::collections::BTreeMap;

use anyhow::Result;
use provider::Namespace;
use reqwest::{Method, StatusCode};

use crate::args::{GatewayArgs, ListArgs, key_value};
use crate::error::hinted;
use crate::{Context, output};

/// The label and annotation that mark a namespace as one for functions (contract 1.9).
const MARK: (&str, &str) = ("openfaas", "1");

/// Arguments of `faas namespace`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Create a namespace
    Create(Change),
    /// Change labels and annotations of a namespace
    #[command(visible_alias = "u")]
    Update(Change),
    /// Remove an empty namespace
    #[command(visible_aliases = ["rm", "delete"])]
    Remove(One),
    /// Show a namespace
    Get(One),
    /// List namespaces
    #[command(visible_alias = "ls")]
    List(List),
}

#[derive(Debug, clap::Args)]
struct Change {
    /// The namespace
    name: String,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// A label, KEY=VALUE
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    labels: Vec<(String, String)>,
    /// An annotation, KEY=VALUE
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = key_value)]
    annotations: Vec<(String, String)>,
}

#[derive(Debug, clap::Args)]
struct One {
    /// The namespace
    name: String,
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    list: ListArgs,
}

/// Runs one of the verbs of namespaces.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    match args.verb {
        Verb::Create(change) => put(change, Method::POST, context).await,
        Verb::Update(change) => put(change, Method::PUT, context).await,
        Verb::Remove(one) => remove(one, context).await,
        Verb::Get(one) => get(one, context).await,
        Verb::List(args) => list(args, context).await,
    }
}

async fn put(change: Change, method: Method, context: &Context) -> Result<()> {
    let gateway = context.gateway(&change.gateway).await?;
    let done = if method == Method::POST { "created" } else { "updated" };
    let namespace = Namespace {
        name: change.name,
        labels: marked(change.labels),
        annotations: marked(change.annotations),
    };
    let answer = gateway.put_namespace(method, &namespace).await?;
    let name = &namespace.name;
    let error = match answer.status {
        StatusCode::CONFLICT => {
            hinted(format!("namespace {name} exists already"), "use `faas namespace update`")
        }
        StatusCode::NOT_FOUND => missing(name),
        status if status.is_success() => {
            return Ok(output::line(&format!("Namespace {name} {done}."))?);
        }
        _ => answer.refusal(&format!("namespace {name} is not {done}")),
    };
    Err(error)
}

fn marked(pairs: Vec<(String, String)>) -> BTreeMap<String, String> {
    let mut map: BTreeMap<_, _> = pairs.into_iter().collect();
    map.entry(MARK.0.to_owned()).or_insert_with(|| MARK.1.to_owned());
    map
}

async fn remove(one: One, context: &Context) -> Result<()> {
    let gateway = context.gateway(&one.gateway).await?;
    let namespace = Namespace { name: one.name, ..Default::default() };
    let answer = gateway.put_namespace(Method::DELETE, &namespace).await?;
    let name = &namespace.name;
    if answer.status == StatusCode::NOT_FOUND {
        return Err(missing(name));
    }
    answer.success(&format!("namespace {name} is not removed"))?;
    Ok(output::line(&format!("Namespace {name} removed."))?)
}

async fn get(one: One, context: &Context) -> Result<()> {
    let gateway = context.gateway(&one.gateway).await?;
    let Some(namespace) = gateway.namespace(&one.name).await? else {
        return Err(missing(&one.name));
    };
    if one.list.is_json() {
        return output::json(&namespace);
    }
    let mut text = format!("Name:        {}\n", namespace.name);
    for (title, map) in [("Labels:", &namespace.labels), ("Annotations:", &namespace.annotations)] {
        for (i, (key, value)) in map.iter().enumerate() {
            let title = if i == 0 { title } else { "" };
            text.push_str(&format!("{title:<13}{key}: {value}\n"));
        }
    }
    Ok(output::print(&text)?)
}

async fn list(args: List, context: &Context) -> Result<()> {
    let gateway = context.gateway(&args.gateway).await?;
    let names = gateway.namespaces().await?;
    if args.list.is_json() {
        return output::json(&names);
    }
    let lines: String = names.iter().map(|name| format!(" - {name}\n")).collect();
    Ok(output::print(&format!("Namespaces:\n{lines}"))?)
}

fn missing(name: &str) -> anyhow::Error {
    hinted(format!("no such namespace: {name}"), "see `faas namespace list` for what there is")
}
