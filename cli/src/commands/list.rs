//! `faas list`: which functions there are.

use std::fmt::Write as _;

use anyhow::Result;

use crate::args::{GatewayArgs, ListArgs};
use crate::gateway::Seen;
use crate::{Context, output};

/// Arguments of `faas list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    list: ListArgs,
    /// The namespace
    #[arg(short, long)]
    namespace: Option<String>,
    /// Only names
    #[arg(short, long)]
    quiet: bool,
    /// Images and times too
    #[arg(short, long)]
    verbose: bool,
    /// The order
    #[arg(long, value_name = "KEY", value_enum, default_value_t)]
    sort: Sort,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Sort {
    /// By name
    #[default]
    Name,
    /// Most invoked first
    Invocations,
    /// Newest first
    Creation,
}

/// Lists functions.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    let gateway = context.gateway(&args.gateway).await?;
    let mut functions = gateway.functions(args.namespace.as_deref().unwrap_or_default()).await?;
    sort(&mut functions, args.sort);
    if args.list.is_json() {
        return output::json(&functions.iter().map(|f| &f.raw).collect::<Vec<_>>());
    }
    let text = if args.quiet {
        functions.iter().map(|f| format!("{}\n", f.name())).collect()
    } else if args.verbose {
        verbose(&functions)
    } else {
        plain(&functions)
    };
    Ok(output::print(&text)?)
}

fn sort(functions: &mut [Seen], by: Sort) {
    functions.sort_by(|a, b| a.name().cmp(b.name()));
    match by {
        Sort::Name => {}
        Sort::Invocations => functions.sort_by_key(|f| std::cmp::Reverse(f.invocations)),
        Sort::Creation => functions.sort_by_key(|f| std::cmp::Reverse(f.status.created_at)),
    }
}

/// The reference's columns, so that scripts that cut them go on working (contract 7.3).
fn plain(functions: &[Seen]) -> String {
    let mut text = format!("{:<30}\t{:<15}\t{:<5}\n", "Function", "Invocations", "Replicas");
    for f in functions {
        let replicas = f.status.desired;
        let _ = writeln!(text, "{:<30}\t{:<15}\t{replicas:<5}", f.name(), f.invocations);
    }
    text
}

fn verbose(functions: &[Seen]) -> String {
    let image = |f: &Seen| f.status.function.image.clone();
    let width = functions.iter().map(|f| image(f).len()).max().unwrap_or(0).max(40);
    let mut text = format!(
        "{:<30}\t{:<width$}\t{:<15}\t{:<5}\t{:<5}\n",
        "Function", "Image", "Invocations", "Replicas", "CreatedAt"
    );
    for f in functions {
        let _ = writeln!(
            text,
            "{:<30}\t{:<width$}\t{:<15}\t{:<5}\t{:<5}",
            f.name(),
            image(f),
            f.invocations,
            f.status.desired,
            f.status.created_at.to_string(),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(name: &str, calls: u64, created: &str) -> Seen {
        let raw = json!({"name": name, "image": "flint/x:1", "invocationCount": calls,
            "replicas": 2, "createdAt": created});
        Seen::from_value(raw).unwrap()
    }

    fn names(functions: &[Seen]) -> Vec<&str> {
        functions.iter().map(Seen::name).collect()
    }

    #[test]
    fn columns_are_the_reference_s() {
        let text = plain(&[seen("echo", 7, "2026-01-02T03:04:05Z")]);
        let blanks = " ".repeat(26);
        assert_eq!(text.lines().nth(1), Some(&*format!("echo{blanks}\t7              \t2    ")));
        let text = verbose(&[seen("echo", 7, "2026-01-02T03:04:05Z")]);
        assert!(text.ends_with("\t2    \t2026-01-02T03:04:05Z\n"), "{text}");
    }

    #[test]
    fn orders() {
        let mut all = vec![
            seen("b", 1, "2026-01-02T00:00:00Z"),
            seen("a", 1, "2026-01-01T00:00:00Z"),
            seen("c", 9, "2026-01-01T00:00:00Z"),
        ];
        sort(&mut all, Sort::Name);
        assert_eq!(names(&all), ["a", "b", "c"]);
        sort(&mut all, Sort::Invocations);
        assert_eq!(names(&all), ["c", "a", "b"]);
        sort(&mut all, Sort::Creation);
        assert_eq!(names(&all), ["b", "a", "c"]);
    }
}
