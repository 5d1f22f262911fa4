//! `faas logs`: what functions wrote.

use std::time::Duration;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use provider::LogLine;

use crate::args::{GatewayArgs, duration};
use crate::gateway::LogsQuery;
use crate::{Context, output};

mod time;

use time::TimeFormat;

/// Arguments of `faas logs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The function
    function: String,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// The namespace
    #[arg(short, long)]
    namespace: Option<String>,
    /// Only lines that are not older than this, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "since_time")]
    since: Option<Duration>,
    /// Only lines from this time on, RFC 3339
    #[arg(long, value_name = "TIME")]
    since_time: Option<Timestamp>,
    /// Only so many of the newest lines; -1 is all
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    lines: i64,
    /// Go on with new lines
    #[arg(short, long, visible_alias = "follow", value_name = "BOOL", default_value = "true")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(action = clap::ArgAction::Set, hide_possible_values = true)]
    tail: bool,
    /// Only lines of this replica
    #[arg(long, value_name = "ID")]
    replica: Option<String>,
    #[command(flatten)]
    shape: Shape,
}

/// How lines look.
#[derive(Debug, clap::Args)]
struct Shape {
    /// How to print lines
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
    /// The same as --output json
    #[arg(short, long)]
    json: bool,
    /// Print the function's name
    #[arg(long)]
    name: bool,
    /// Print the replica's id
    #[arg(long)]
    instance: bool,
    /// How to print times: strftime or Go layout; empty for none [default: RFC 3339]
    #[arg(long, value_name = "LAYOUT")]
    time_format: Option<TimeFormat>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Time and text
    #[default]
    Plain,
    /// key="value" pairs
    Keyvalue,
    /// A JSON object a line
    Json,
}

/// Prints log lines as they come.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    let gateway = context.gateway(&args.gateway).await?;
    let target = context.target(&args.function, args.namespace.as_deref()).await?;
    let query = LogsQuery {
        name: target.name,
        namespace: target.namespace,
        instance: args.replica,
        lines: args.lines,
        follow: args.tail,
        since: args.since_time.or_else(|| args.since.map(ago)),
    };
    let mut lines = gateway.logs(&query).await?;
    while let Some(line) = lines.next().await? {
        output::line(&args.shape.render(&line)?)?;
    }
    Ok(())
}

fn ago(age: Duration) -> Timestamp {
    let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
    Timestamp::now().checked_sub(age).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl Shape {
    fn render(&self, line: &LogLine) -> Result<String> {
        let text = line.text.trim_end_matches(['\n', '\r']);
        let time = match &self.time_format {
            Some(format) => format.write(line.timestamp)?,
            None => line.timestamp.to_string(),
        };
        Ok(match self.output {
            _ if self.json => serde_json::to_string(line)?,
            Format::Json => serde_json::to_string(line)?,
            Format::Plain => self.plain(line, &time, text),
            Format::Keyvalue => self.key_value(line, &time, text),
        })
    }

    fn plain(&self, line: &LogLine, time: &str, text: &str) -> String {
        let mut out = String::new();
        if !time.is_empty() {
            out.push_str(&format!("{time} "));
        }
        if self.name {
            out.push_str(&format!("{} ", line.name));
        }
        if self.instance {
            out.push_str(&format!("({}) ", line.instance));
        }
        out + text
    }

    fn key_value(&self, line: &LogLine, time: &str, text: &str) -> String {
        let pairs = [
            ("timestamp", time, !time.is_empty()),
            ("name", &line.name, self.name),
            ("instance", &line.instance, self.instance),
            ("text", text, true),
        ];
        let wanted = pairs.iter().filter(|(_, _, wanted)| *wanted);
        let parts: Vec<_> = wanted.map(|(key, value, _)| format!("{key}={value:?}")).collect();
        parts.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(output: Format, all: bool, time_format: Option<&str>) -> String {
        let time_format = time_format.map(|text| text.parse().unwrap());
        let shape = Shape { output, json: false, name: all, instance: all, time_format };
        let line = br#"{"name":"a","instance":"a-1","timestamp":"2026-01-02T03:04:05Z",
            "text":"say \"hi\"\n"}"#;
        shape.render(&serde_json::from_slice(line).unwrap()).unwrap()
    }

    #[test]
    fn shapes() {
        assert_eq!(render(Format::Plain, false, None), "2026-01-02T03:04:05Z say \"hi\"");
        assert_eq!(render(Format::Plain, true, Some("")), "a (a-1) say \"hi\"");
        assert_eq!(render(Format::Plain, false, Some("%H:%M")), "03:04 say \"hi\"");
        assert_eq!(
            render(Format::Keyvalue, true, None),
            r#"timestamp="2026-01-02T03:04:05Z" name="a" instance="a-1" text="say \"hi\"""#
        );
        assert!(render(Format::Json, false, None).starts_with(r#"{"name":"a","namespace":"""#));
    }

    #[test]
    fn any_age_is_a_time() {
        assert!(ago(Duration::from_secs(60)) < Timestamp::now());
        assert_eq!(ago(Duration::MAX), Timestamp::UNIX_EPOCH);
    }
}
