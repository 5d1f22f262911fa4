//! The flags that change a function on its way to the gateway.

use std::time::Duration;

use anyhow::Result;
use clap::ArgAction;
use provider::{Function, Resources, annotation};

use crate::args::{duration, key_value};
use crate::error::usage;
use crate::gateway::TIMEOUT;

/// What the command line says of functions; it wins over the stack file.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FunctionFlags {
    /// The process that the watchdog runs
    #[arg(long, value_name = "COMMAND")]
    pub fprocess: Option<String>,
    /// An environment variable, KEY=VALUE
    #[arg(short = 'e', long = "env", value_name = "KEY=VALUE", value_parser = key_value)]
    pub env: Vec<(String, String)>,
    /// A label, KEY=VALUE
    #[arg(short = 'l', long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    pub labels: Vec<(String, String)>,
    /// An annotation, KEY=VALUE
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = key_value)]
    pub annotations: Vec<(String, String)>,
    /// Where it may run, KEY=VALUE
    #[arg(long = "constraint", value_name = "KEY=VALUE")]
    pub constraints: Vec<String>,
    /// A secret to mount
    #[arg(long = "secret", value_name = "NAME")]
    pub secrets: Vec<String>,
    /// Make the root file system read-only
    #[arg(long)]
    pub readonly: bool,
    /// What it may reach: `none` is nothing, and it is still called
    #[arg(long, value_name = "NETWORK", value_parser = ["none"])]
    pub network: Option<String>,
    /// `required`: fail rather than run it with a gap in its sandbox
    #[arg(long, value_name = "SANDBOX", value_parser = ["required"])]
    pub sandbox: Option<String>,
    /// The most processor time, such as 500m
    #[arg(long, value_name = "CPU")]
    pub cpu_limit: Option<String>,
    /// The processor time to set aside
    #[arg(long, value_name = "CPU")]
    pub cpu_request: Option<String>,
    /// The most memory, such as 128Mi
    #[arg(long, value_name = "MEMORY")]
    pub memory_limit: Option<String>,
    /// The memory to set aside
    #[arg(long, value_name = "MEMORY")]
    pub memory_request: Option<String>,
}

/// How functions reach the gateway.
#[derive(Clone, Debug, clap::Args)]
pub struct UpdateFlags {
    /// Update functions that are there already [default: true, but false with --replace]
    #[arg(long, value_name = "BOOL", hide_possible_values = true)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(action = ArgAction::Set)]
    pub update: Option<bool>,
    /// Remove functions that are there already, then create them
    #[arg(long)]
    pub replace: bool,
    /// Wait until the functions are ready, and fail with the reason when they do not get so
    #[arg(long)]
    pub wait: bool,
    /// Longest wait for the gateway, and with --wait for each function
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub timeout: Duration,
}

/// How one function reaches the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Update when it is there already; else that is an error.
    pub update: bool,
    /// Remove it first.
    pub replace: bool,
    /// Wait until it is ready.
    pub wait: bool,
    /// Longest wait for an answer, and for the function to be ready.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { update: true, replace: false, wait: false, timeout: TIMEOUT }
    }
}

impl UpdateFlags {
    /// What the flags mean. Updating and replacing exclude each other.
    pub fn options(&self) -> Result<Options> {
        if self.replace && self.update == Some(true) {
            return Err(usage("--update and --replace exclude each other", "give one of them"));
        }
        let update = self.update.unwrap_or(!self.replace);
        Ok(Options { update, replace: self.replace, wait: self.wait, timeout: self.timeout })
    }
}

impl FunctionFlags {
    /// Changes a function as the flags say.
    pub fn apply(&self, function: &mut Function) {
        if let Some(process) = &self.fprocess {
            function.env_process.clone_from(process);
        }
        function.env_vars.extend(self.env.iter().cloned());
        function.labels.extend(self.labels.iter().cloned());
        function.annotations.extend(self.annotations.iter().cloned());
        let narrowing =
            [(annotation::NETWORK, &self.network), (annotation::SANDBOX, &self.sandbox)];
        for (key, value) in narrowing {
            function.annotations.extend(value.clone().map(|value| (key.to_owned(), value)));
        }
        add(&mut function.constraints, &self.constraints);
        add(&mut function.secrets, &self.secrets);
        function.read_only_root_filesystem |= self.readonly;
        amounts(&mut function.limits, &self.cpu_limit, &self.memory_limit);
        amounts(&mut function.requests, &self.cpu_request, &self.memory_request);
    }
}

fn add(list: &mut Vec<String>, more: &[String]) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

fn amounts(all: &mut Option<Resources>, cpu: &Option<String>, memory: &Option<String>) {
    if cpu.is_none() && memory.is_none() {
        return;
    }
    let all = all.get_or_insert_default();
    all.cpu = cpu.clone().or(all.cpu.take());
    all.memory = memory.clone().or(all.memory.take());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn flags_win_over_the_stack_and_add_to_it() {
        let mut function = Function {
            env_vars: [pair("a", "1"), pair("b", "1")].into(),
            secrets: vec!["s".to_owned()],
            limits: Some(Resources { cpu: Some("1".to_owned()), ..Default::default() }),
            ..Default::default()
        };
        let flags = FunctionFlags {
            env: vec![pair("a", "2")],
            secrets: vec!["s".to_owned(), "t".to_owned()],
            memory_limit: Some("1Gi".to_owned()),
            readonly: true,
            network: Some("none".to_owned()),
            ..Default::default()
        };
        flags.apply(&mut function);
        assert_eq!((&*function.env_vars["a"], &*function.env_vars["b"]), ("2", "1"));
        assert_eq!(function.secrets, ["s", "t"]);
        assert!(function.has_network().is_ok_and(|has| !has));
        let limits = function.limits.unwrap();
        assert_eq!((limits.cpu.as_deref(), limits.memory.as_deref()), (Some("1"), Some("1Gi")));
        assert!(function.requests.is_none() && function.read_only_root_filesystem);
    }

    #[test]
    fn replace_turns_update_off_unless_both_are_wanted() {
        let flags =
            |update, replace| UpdateFlags { update, replace, wait: false, timeout: TIMEOUT };
        assert!(flags(None, false).options().unwrap().update);
        assert!(!flags(None, true).options().unwrap().update);
        assert!(!flags(Some(false), true).options().unwrap().update);
        assert!(flags(Some(true), true).options().is_err());
    }
}
