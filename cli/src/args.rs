//! The command line, and the arguments that verbs share.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, CommandFactory, Parser};

use crate::commands::Command;
use crate::error::usage;

/// Builds, deploys and calls functions.
#[derive(Debug, Parser)]
#[command(name = "faas", version, propagate_version = true, infer_long_args = false)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.")]
pub struct Cli {
    /// Flags of every verb.
    #[command(flatten)]
    pub globals: Globals,
    /// The verb.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every verb.
#[derive(Clone, Debug, clap::Args)]
pub struct Globals {
    /// The stack file, a path or a URL [default: stack.yaml or stack.yml, when there is one]
    #[arg(short = 'f', long = "yaml", value_name = "FILE", global = true)]
    pub yaml: Option<String>,
    /// Only functions of the stack whose names match a wildcard
    #[arg(long, value_name = "WILDCARD", global = true, conflicts_with = "regex")]
    pub filter: Option<String>,
    /// Only functions of the stack whose names match a regular expression
    #[arg(long, value_name = "REGEX", global = true)]
    pub regex: Option<String>,
    /// Replace ${VARIABLES} in the stack file
    #[arg(long, value_name = "BOOL", global = true, default_value = "true")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(action = ArgAction::Set, hide_possible_values = true)]
    pub envsubst: bool,
}

/// How to reach the gateway.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct GatewayArgs {
    /// The gateway's URL [default: the stack's, then OPENFAAS_URL, then http://127.0.0.1:8080]
    #[arg(short, long, value_name = "URL")]
    pub gateway: Option<String>,
    /// Trust certificates of this authority, too: a PEM file [default: FAAS_TLS_CA]
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// Take any TLS certificate
    #[arg(long)]
    pub tls_no_verify: bool,
    /// A token to send instead of the saved login
    #[arg(short = 'k', long, value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// Lists print a table, or JSON.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct ListArgs {
    /// How to print
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Format,
    /// The same as --output json
    #[arg(short, long)]
    pub json: bool,
}

impl ListArgs {
    /// Whether JSON is wanted.
    pub fn is_json(self) -> bool {
        self.json || self.output == Format::Json
    }
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// Indented JSON.
    Json,
}

/// The command line's grammar.
///
/// Switches also take `=true` and `=false`, as scripts for the reference CLI write them.
pub fn command() -> clap::Command {
    let mut command = Cli::command();
    command.build();
    go_switches(command)
}

fn go_switches(command: clap::Command) -> clap::Command {
    command.mut_args(go_switch).mut_subcommands(go_switches)
}

fn go_switch(arg: clap::Arg) -> clap::Arg {
    if !matches!(arg.get_action(), ArgAction::SetTrue) {
        return arg;
    }
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_value("false")
        .default_missing_value("true")
        .value_parser(BoolishValueParser::new())
        .value_name("BOOL")
        .hide_default_value(true)
        .hide_possible_values(true)
}

/// A function that a person named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its namespace; empty is the gateway's default one.
    pub namespace: String,
}

impl Target {
    /// Reads `fn`, or `fn.ns` when no flag names the namespace.
    pub fn new(text: &str, namespace: Option<&str>) -> anyhow::Result<Self> {
        let (name, namespace) = match (namespace, text.rsplit_once('.')) {
            (Some(namespace), _) => (text, namespace),
            (None, Some((name, namespace))) => (name, namespace),
            (None, None) => (text, ""),
        };
        let checked = provider::Name::new(name, namespace);
        let hint = "functions are named as in `faas list`, or NAME.NAMESPACE";
        checked.map_err(|e| usage(format!("{text:?} is not a function's name: {e}"), hint))?;
        Ok(Self { name: name.to_owned(), namespace: namespace.to_owned() })
    }
}

/// Splits `KEY=VALUE`; for value parsers.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE".to_owned()),
    }
}

/// Reads a duration as Go writes it, or seconds; for value parsers.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    provider::parse_duration(text)
        .ok_or_else(|| "must be a duration such as 30s, 1m30s or 2h".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        let matches = command().try_get_matches_from(line.split(' '))?;
        Cli::from_arg_matches(&matches)
    }

    #[test]
    fn the_grammar_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn switches_take_go_values() {
        assert!(parse("faas list -q -v").is_ok());
        assert!(parse("faas list -qv").is_ok());
        assert!(parse("faas list --quiet=true --json=false").is_ok());
        assert!(parse("faas list --quiet=maybe").is_err());
    }

    #[test]
    fn names_with_and_without_namespaces() {
        let target = |text, flag| Target::new(text, flag).map(|t| (t.name, t.namespace)).ok();
        let some = |name: &str, ns: &str| Some((name.to_owned(), ns.to_owned()));
        assert_eq!(target("a", None), some("a", ""));
        assert_eq!(target("a.b", None), some("a", "b"));
        assert_eq!(target("a", Some("c")), some("a", "c"));
        assert_eq!(target("a.b", Some("c")), None);
        assert_eq!(target("../a", None), None);
    }

    #[test]
    fn pairs_and_durations() {
        assert_eq!(key_value("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(key_value("=b").is_err());
        assert!(key_value("a").is_err());
        assert!(duration("5s").is_ok());
        assert!(duration("soon").is_err());
    }
}
