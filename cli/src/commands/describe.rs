//! `faas describe`: everything about one function.

mod scaling;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use provider::{Replica, Resources, State};

use crate::args::{GatewayArgs, ListArgs, Target};
use crate::error::hinted;
use crate::gateway::{Gateway, Seen, Usage};
use crate::{Context, output};

/// Arguments of `faas describe`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The function
    name: String,
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    list: ListArgs,
    /// The namespace
    #[arg(short, long)]
    namespace: Option<String>,
    /// Empty sections too
    #[arg(short, long)]
    verbose: bool,
    /// How it is scaled: the last decisions, with the numbers that made them
    #[arg(long)]
    scaling: bool,
}

/// Describes a function.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    let gateway = context.gateway(&args.gateway).await?;
    let target = context.target(&args.name, args.namespace.as_deref()).await?;
    let Some(seen) = gateway.function(&target.name, &target.namespace).await? else {
        return Err(not_found(&target));
    };
    if args.scaling {
        return show_scaling(&args, &gateway, &target).await;
    }
    let seen = with_count(&gateway, &target, seen).await;
    if args.list.is_json() {
        return output::json(&seen.raw);
    }
    let page = Page { verbose: args.verbose, text: String::new() };
    Ok(output::print(&page.render(&seen, &gateway, &target))?)
}

async fn show_scaling(args: &Args, gateway: &Gateway, target: &Target) -> Result<()> {
    let Some(raw) = gateway.scaling(&target.name, &target.namespace).await? else {
        let hint = "only Flint's gateway does; see `faas version`";
        return Err(hinted("this gateway does not tell how it scales".to_owned(), hint));
    };
    match args.list.is_json() {
        true => output::json(&raw),
        false => Ok(output::print(&scaling::page(&raw)?)?),
    }
}

/// There is no such function.
pub fn not_found(target: &Target) -> anyhow::Error {
    let hint = "see `faas list` for what there is; -n names another namespace";
    hinted(format!("no such function: {}", target.name), hint)
}

/// Some gateways count calls in the list only (contract 1.6). Without the list, 0 must do.
async fn with_count(gateway: &Gateway, target: &Target, mut seen: Seen) -> Seen {
    if seen.raw.get("invocationCount").is_some() {
        return seen;
    }
    let all = gateway.functions(&target.namespace).await.unwrap_or_default();
    if let Some(listed) = all.iter().find(|f| f.name() == target.name) {
        seen.invocations = listed.invocations;
    }
    seen
}

/// The page as it grows.
struct Page {
    verbose: bool,
    text: String,
}

impl Page {
    fn render(mut self, seen: &Seen, gateway: &Gateway, target: &Target) -> String {
        let function = &seen.status.function;
        let status = if seen.available > 0 { "Ready" } else { "Not Ready" };
        self.line("Name", &function.service);
        self.line("Status", status);
        if !seen.status.reason.is_empty() {
            self.line("Reason", &seen.status.reason);
        }
        for warning in &seen.status.warnings {
            self.line("Warning", warning);
        }
        self.line("Replicas", &seen.status.desired.to_string());
        self.line("Available Replicas", &seen.available.to_string());
        self.line("Invocations", &seen.invocations.to_string());
        self.line("Image", &function.image);
        let process = Some(&*function.env_process).filter(|p| !p.is_empty());
        self.line("Function Process", process.unwrap_or("<default>"));
        self.line("URL", &gateway.function_url(&target.name, &target.namespace));
        self.line("Async URL", &gateway.async_url(&target.name, &target.namespace));
        self.section("Instances", &instances(&seen.status.replicas));
        self.section("Labels", &pairs(&function.labels));
        self.section("Annotations", &pairs(&function.annotations));
        self.section("Constraints", &function.constraints);
        self.section("Environment", &pairs(&function.env_vars));
        self.section("Secrets", &function.secrets);
        self.section("Requests", &function.requests.as_ref().map(amounts).unwrap_or_default());
        self.section("Limits", &function.limits.as_ref().map(amounts).unwrap_or_default());
        self.section("Usage", &seen.usage.map(usage).unwrap_or_default());
        self.text
    }

    fn line(&mut self, key: &str, value: &str) {
        let key = if key.is_empty() { String::new() } else { format!("{key}:") };
        let line = format!("{key:<20}{value}");
        let _ = writeln!(self.text, "{}", line.trim_end());
    }

    fn section(&mut self, key: &str, lines: &[String]) {
        if lines.is_empty() && self.verbose {
            self.line(key, "<none>");
        }
        for (i, line) in lines.iter().enumerate() {
            self.line(if i == 0 { key } else { "" }, line);
        }
    }
}

fn pairs(map: &BTreeMap<String, String>) -> Vec<String> {
    map.iter().map(|(key, value)| format!("{key}: {value}")).collect()
}

fn instances(replicas: &[Replica]) -> Vec<String> {
    replicas.iter().map(instance).collect()
}

fn instance(replica: &Replica) -> String {
    let state = match replica.state {
        State::Starting => "starting",
        State::Ready => "ready",
        State::Frozen => "frozen",
        State::Draining => "draining",
        State::Stopped => "stopped",
    };
    let mut text = format!("{}  {state}", replica.id);
    match replica.restarts {
        0 => {}
        1 => text.push_str(", 1 restart"),
        n => text.push_str(&format!(", {n} restarts")),
    }
    if !replica.last_exit.is_empty() {
        text.push_str(&format!(", last exit: {}", replica.last_exit));
    }
    text
}

fn amounts(resources: &Resources) -> Vec<String> {
    let all = [
        ("CPU", &resources.cpu),
        ("Memory", &resources.memory),
        ("PIDs", &resources.pids),
        ("nvidia.com/gpu", &resources.nvidia_gpu),
        ("amd.com/gpu", &resources.amd_gpu),
        ("intel.com/gpu", &resources.intel_gpu),
    ];
    let some = |(key, value): (&str, &Option<String>)| {
        value.as_deref().filter(|v| !v.is_empty()).map(|v| format!("{key}: {v}"))
    };
    all.into_iter().filter_map(some).collect()
}

fn usage(usage: Usage) -> Vec<String> {
    let megabytes = usage.total_memory_bytes / 1024.0 / 1024.0;
    vec![format!("RAM: {megabytes:.2} MB"), format!("CPU: {:.0} Mi", usage.cpu)]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Environment;

    fn page(raw: serde_json::Value, verbose: bool) -> String {
        let gateway =
            Gateway::new("http://g", &GatewayArgs::default(), &Environment::default()).unwrap();
        let target = Target::new("echo", Some("dev")).unwrap();
        let seen = Seen::from_value(raw).unwrap();
        Page { verbose, text: String::new() }.render(&seen, &gateway, &target)
    }

    #[test]
    fn what_went_wrong_is_shown() {
        let text = page(
            json!({"name": "echo", "image": "i", "replicas": 1, "reason": "crash loop",
                "envVars": {"b": "2", "a": "1"}, "limits": {"memory": "64Mi"},
                "instances": [{"id": "echo-1", "state": "starting", "generation": 1,
                    "restarts": 3, "lastExit": "exit code 1"}]}),
            false,
        );
        for line in [
            "Status:             Not Ready",
            "Reason:             crash loop",
            "Function Process:   <default>",
            "URL:                http://g/function/echo.dev",
            "Instances:          echo-1  starting, 3 restarts, last exit: exit code 1",
            "Environment:        a: 1",
            "                    b: 2",
            "Limits:             Memory: 64Mi",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        assert!(!text.contains("Secrets"));
    }

    #[test]
    fn verbose_shows_what_is_not_there() {
        let text = page(json!({"name": "echo", "image": "i", "availableReplicas": 1}), true);
        assert!(text.contains("Status:             Ready\n"));
        assert!(text.contains("Secrets:            <none>\n"));
    }
}
