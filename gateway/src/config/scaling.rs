//! The flags of scaling by load.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use reqwest::Url;

use super::{ConfigError, duration};

/// Shortest panic window: two looks at the load.
const LEAST_PANIC: Duration = Duration::from_secs(2);
/// Longest stable window.
const MOST_STABLE: Duration = Duration::from_secs(3600);

/// Where loads come from, and how long they are watched.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Scaling")]
pub struct ScalingArgs {
    /// Whether load changes how many replicas a function has; schedules, alerts and the way to zero
    /// go on without
    #[arg(long, env = "FAAS_SCALE_BY_LOAD", value_name = "FAAS_SCALE_BY_LOAD",
          default_value_t = true, action = clap::ArgAction::Set)]
    pub scale_by_load: bool,

    /// Address of a Prometheus that scrapes all gateways; loads of type rps and capacity are then
    /// its, and not this gateway's own
    #[arg(long, env = "prometheus_url", value_name = "prometheus_url", value_parser = url,
          hide_env_values = true)]
    pub prometheus_url: Option<Url>,

    /// A PromQL expression that functions can be scaled by, with the name that they have as their
    /// type: NAME=EXPR; can be given several times, and has a line each in the variable
    #[arg(long, env = "FAAS_SCALING_QUERY", value_name = "FAAS_SCALING_QUERY",
          value_delimiter = '\n', value_parser = query)]
    pub scaling_query: Vec<(String, String)>,

    /// How long less load must go on before replicas are taken away
    #[arg(long, env = "FAAS_SCALING_STABLE_WINDOW", value_name = "FAAS_SCALING_STABLE_WINDOW",
          default_value = "60s", value_parser = duration)]
    pub scaling_stable_window: Duration,

    /// The window whose mean load is a reason for more replicas
    #[arg(long, env = "FAAS_SCALING_PANIC_WINDOW", value_name = "FAAS_SCALING_PANIC_WINDOW",
          default_value = "6s", value_parser = duration)]
    pub scaling_panic_window: Duration,
}

impl ScalingArgs {
    /// The queries by their names.
    pub fn queries(&self) -> BTreeMap<String, String> {
        self.scaling_query.iter().cloned().collect()
    }

    /// Checks what one flag alone cannot know.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let (panic, stable) = (self.scaling_panic_window, self.scaling_stable_window);
        if panic < LEAST_PANIC {
            let reason = format!("must be at least {LEAST_PANIC:?}");
            return Err(bad("FAAS_SCALING_PANIC_WINDOW", panic, reason));
        }
        if stable < panic || stable > MOST_STABLE {
            let reason = format!("must be from FAAS_SCALING_PANIC_WINDOW={panic:?} to 1h");
            return Err(bad("FAAS_SCALING_STABLE_WINDOW", stable, reason));
        }
        let mut names = BTreeMap::new();
        for (name, expression) in &self.scaling_query {
            if names.insert(name, expression).is_some() {
                let value = format!("{name}={expression}");
                let reason = "is the second query of that name";
                return Err(ConfigError::new("FAAS_SCALING_QUERY", value, reason));
            }
        }
        match self.scaling_query.first() {
            Some((name, expression)) if self.prometheus_url.is_none() => {
                let value = format!("{name}={expression}");
                let reason = "needs a Prometheus to ask: set prometheus_url";
                Err(ConfigError::new("FAAS_SCALING_QUERY", value, reason))
            }
            _ => Ok(()),
        }
    }
}

fn bad(variable: &'static str, value: Duration, reason: String) -> ConfigError {
    ConfigError::new(variable, format!("{value:?}"), reason)
}

fn url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("is no URL: {error}"))?;
    match url.scheme() {
        "http" | "https" if url.query().is_none() && url.fragment().is_none() => Ok(url),
        _ => Err("is not an address such as http://127.0.0.1:9090".to_owned()),
    }
}

/// `NAME=EXPR`. Names of types that are there already stand for what they are, but for `rps` and
/// `capacity`, whose queries can be replaced.
fn query(text: &str) -> Result<(String, String), String> {
    let (name, expression) = text.split_once('=').ok_or("has no = after its name")?;
    let (name, expression) = (name.trim(), expression.trim());
    let good = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if name.is_empty() || name.len() > 63 || !name.chars().all(good) {
        return Err(format!("{name:?} is no name of at most 63 letters, digits, - and _"));
    }
    if ["cpu", "memory", "none", "queue"].contains(&name) {
        return Err(format!("{name:?} is a type that needs no query"));
    }
    if expression.is_empty() {
        return Err(format!("{name} has no expression"));
    }
    Ok((name.to_owned(), expression.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::Config;

    fn parse(args: &[&str]) -> Result<Config, String> {
        let config = Config::try_parse_from(std::iter::once(&"faas-gateway").chain(args));
        let config = config.map_err(|error| error.to_string())?;
        config.validate().map_err(|error| error.to_string())?;
        Ok(config)
    }

    const PROMETHEUS: &str = "--prometheus-url=http://127.0.0.1:9090";

    #[test]
    fn queries_have_names() {
        let latency = "--scaling-query=latency=sum by (function_name) (x{a=\"b\"}) > 0";
        let config = parse(&[PROMETHEUS, latency, "--scaling-query", "rps = y"]).unwrap();
        let queries = config.scaling.queries();
        assert_eq!(queries["latency"], "sum by (function_name) (x{a=\"b\"}) > 0");
        assert_eq!(queries["rps"], "y");
        let two = parse(&[PROMETHEUS, "--scaling-query", "a=x\nb=y"]).unwrap();
        assert_eq!(two.scaling.queries().len(), 2);
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_name() {
        for (args, words) in [
            (vec!["--scaling-query=a=x"], "set prometheus_url"),
            (vec![PROMETHEUS, "--scaling-query=x"], "<FAAS_SCALING_QUERY>"),
            (vec![PROMETHEUS, "--scaling-query=a b=x"], "is no name"),
            (vec![PROMETHEUS, "--scaling-query=a="], "no expression"),
            (vec![PROMETHEUS, "--scaling-query=cpu=x"], "needs no query"),
            (vec![PROMETHEUS, "--scaling-query=a=x", "--scaling-query=a=y"], "second query"),
            (vec!["--prometheus-url=prometheus:9090"], "<prometheus_url>"),
            (vec!["--prometheus-url=http://p/?x=1"], "<prometheus_url>"),
            (vec!["--scaling-panic-window=1s"], "FAAS_SCALING_PANIC_WINDOW=1s"),
            (vec!["--scaling-stable-window=5s"], "FAAS_SCALING_STABLE_WINDOW=5s"),
            (vec!["--scaling-stable-window=61m"], "to 1h"),
            (vec!["--scaling-stable-window=soon"], "<FAAS_SCALING_STABLE_WINDOW>"),
        ] {
            let error = parse(&args).unwrap_err();
            assert!(error.contains(words), "{args:?}: {error}");
        }
    }
}
