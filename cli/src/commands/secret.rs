//! `faas secret`: what functions may know.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use provider::Secret;
use reqwest::{Method, StatusCode};

use crate::args::{GatewayArgs, ListArgs};
use crate::error::{caused, hinted};
use crate::gateway::{Answer, Gateway};
use crate::output::Table;
use crate::{Context, output};

/// Where `secret apply` finds values, one file each, beside the stack.
const FOLDER: &str = ".secrets";

/// Arguments of `faas secret`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Create a secret from a file, stdin or a literal
    Create(Create),
    /// Give a secret a new value
    #[command(visible_alias = "u")]
    Update(Put),
    /// Remove a secret
    #[command(visible_aliases = ["rm", "delete"])]
    Remove(Remove),
    /// List the names of secrets
    #[command(visible_alias = "ls")]
    List(List),
    /// Create or update the secrets of the stack from files in ./.secrets
    Apply(Apply),
}

#[derive(Debug, clap::Args)]
struct Create {
    #[command(flatten)]
    put: Put,
    /// Update the secret when there is one already
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, clap::Args)]
struct Put {
    /// The secret
    name: String,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// The namespace
    #[arg(short, long)]
    namespace: Option<String>,
    /// The value; other users of this machine can see it, better are a file or stdin
    #[arg(long, value_name = "VALUE", conflicts_with = "from_file")]
    from_literal: Option<String>,
    /// A file with the value
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// Leave out white space at both ends of a text
    #[arg(long, value_name = "BOOL", default_value = "true", hide_possible_values = true)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(action = clap::ArgAction::Set)]
    trim: bool,
}

#[derive(Debug, clap::Args)]
struct Remove {
    /// The secret
    name: String,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// The namespace
    #[arg(short, long)]
    namespace: Option<String>,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    list: ListArgs,
    /// The namespace
    #[arg(short, long)]
    namespace: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Apply {
    #[command(flatten)]
    gateway: GatewayArgs,
    /// The namespace, instead of the functions' own
    #[arg(short, long)]
    namespace: Option<String>,
}

/// Runs one of the verbs of secrets.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    match args.verb {
        Verb::Create(args) => create(args, context).await,
        Verb::Update(args) => update(args, context).await,
        Verb::Remove(args) => remove(args, context).await,
        Verb::List(args) => list(args, context).await,
        Verb::Apply(args) => apply(args, context).await,
    }
}

async fn create(args: Create, context: &Context) -> Result<()> {
    let gateway = context.gateway(&args.put.gateway).await?;
    let secret = secret(&args.put)?;
    output::talk(&format!("Creating secret: {}.", secret.name));
    let mut answer = gateway.put_secret(Method::POST, &secret).await?;
    if answer.status == StatusCode::CONFLICT && args.replace {
        answer = gateway.put_secret(Method::PUT, &secret).await?;
    }
    done("Created", &secret.name, answer)
}

async fn update(args: Put, context: &Context) -> Result<()> {
    let gateway = context.gateway(&args.gateway).await?;
    let secret = secret(&args)?;
    output::talk(&format!("Updating secret: {}.", secret.name));
    let answer = gateway.put_secret(Method::PUT, &secret).await?;
    done("Updated", &secret.name, answer)
}

async fn remove(args: Remove, context: &Context) -> Result<()> {
    let gateway = context.gateway(&args.gateway).await?;
    let namespace = args.namespace.unwrap_or_default();
    let secret = Secret { name: args.name, namespace, ..Default::default() };
    let answer = gateway.put_secret(Method::DELETE, &secret).await?;
    done("Removed", &secret.name, answer)
}

async fn list(args: List, context: &Context) -> Result<()> {
    let gateway = context.gateway(&args.gateway).await?;
    let mut secrets = gateway.secrets(args.namespace.as_deref().unwrap_or_default()).await?;
    secrets.sort_by(|a, b| a.name.cmp(&b.name));
    if args.list.is_json() {
        return output::json(&secrets);
    }
    if secrets.is_empty() {
        output::talk("No secrets found.");
        return Ok(());
    }
    let mut table = Table::new(&["NAME"]);
    secrets.into_iter().for_each(|secret| table.row([secret.name]));
    Ok(output::print(&table.render())?)
}

async fn apply(args: Apply, context: &Context) -> Result<()> {
    let gateway = context.gateway(&args.gateway).await?;
    let wanted = wanted(&args, context).await?;
    let mut failed = Vec::new();
    for (name, namespace) in &wanted {
        if let Err(error) = apply_one(&gateway, name, namespace).await {
            failed.push(error);
        }
    }
    super::all_or_error(failed, wanted.len(), "applied")
}

/// Names and namespaces of the secrets that the stack's functions mount, each once.
async fn wanted(args: &Apply, context: &Context) -> Result<BTreeSet<(String, String)>> {
    let (stack, functions) = context.functions().await?;
    let namespace = args.namespace.as_deref();
    let mut wanted = BTreeSet::new();
    for function in functions {
        let namespace = namespace.unwrap_or(&function.namespace);
        wanted.extend(function.secrets.iter().map(|name| (name.clone(), namespace.to_owned())));
    }
    if wanted.is_empty() {
        output::talk(&format!("The functions of {} mount no secrets.", stack.file));
    }
    Ok(wanted)
}

async fn apply_one(gateway: &Gateway, name: &str, namespace: &str) -> Result<()> {
    let value = from_file(&Path::new(FOLDER).join(name))?;
    let secret = with_value(name, namespace, trimmed(value));
    let answer = gateway.put_secret(Method::POST, &secret).await?;
    if answer.status != StatusCode::CONFLICT {
        return done("Created", name, answer);
    }
    let answer = gateway.put_secret(Method::PUT, &secret).await?;
    done("Updated", name, answer)
}

fn done(what: &str, name: &str, answer: Answer) -> Result<()> {
    match answer.status {
        StatusCode::CONFLICT if what == "Created" => {
            let hint = "use `faas secret update`, or --replace";
            Err(hinted(format!("secret {name} exists already"), hint))
        }
        StatusCode::NOT_FOUND => {
            let hint = "see `faas secret list` for what there is";
            Err(hinted(format!("no such secret: {name}"), hint))
        }
        _ => {
            let answer = answer.success(&format!("secret {name}"))?;
            Ok(output::line(&format!("{what}: {}", answer.status))?)
        }
    }
}

fn secret(args: &Put) -> Result<Secret> {
    let value = match (&args.from_literal, &args.from_file) {
        (Some(literal), _) => literal.clone().into_bytes(),
        (None, Some(path)) => from_file(path)?,
        (None, None) => from_stdin()?,
    };
    let value = if args.trim { trimmed(value) } else { value };
    if value.is_empty() {
        return Err(hinted("the secret's value is empty", "give it with --from-file or on stdin"));
    }
    Ok(with_value(&args.name, args.namespace.as_deref().unwrap_or_default(), value))
}

/// The raw value wins at the gateway; the text is for gateways that know no other.
fn with_value(name: &str, namespace: &str, value: Vec<u8>) -> Secret {
    Secret {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        raw_value: Some(STANDARD.encode(&value)),
        value: String::from_utf8(value).ok(),
    }
}

fn from_file(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| {
        let hint = "each secret of the stack needs a file with its value in ./.secrets";
        let hint = if path.starts_with(FOLDER) { hint } else { "--from-file takes a path" };
        caused(format!("cannot read the secret from {}", path.display()), hint, e)
    })
}

fn from_stdin() -> Result<Vec<u8>> {
    let mut stdin = std::io::stdin().lock();
    if stdin.is_terminal() {
        output::talk("Reading from STDIN - hit (Control + D) to stop.");
    }
    let mut value = Vec::new();
    stdin.read_to_end(&mut value).context("the secret cannot be read from stdin")?;
    Ok(value)
}

/// Without white space at both ends, when it is text; bytes are left alone.
fn trimmed(value: Vec<u8>) -> Vec<u8> {
    match String::from_utf8(value) {
        Ok(text) => text.trim().as_bytes().to_vec(),
        Err(bytes) => bytes.into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_trimmed_and_bytes_are_not() {
        assert_eq!(trimmed(b" a b\n".to_vec()), b"a b");
        assert_eq!(trimmed(b"\xff\n".to_vec()), b"\xff\n");
    }

    #[test]
    fn bytes_travel_raw_only() {
        let secret = with_value("a", "", b"\xff".to_vec());
        assert_eq!((secret.value, secret.raw_value.as_deref()), (None, Some("/w==")));
        let secret = with_value("a", "", b"x".to_vec());
        assert_eq!(
            (secret.value.as_deref(), secret.raw_value.as_deref()),
            (Some("x"), Some("eA=="))
        );
    }
}
