//! The log lines of all functions as they come, each behind its function's name.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, SelectAll};
use futures_util::{FutureExt, StreamExt};
use jiff::{SignedDuration, Timestamp};
use provider::LogLine;

use crate::args::Target;
use crate::build::plain;
use crate::config::colours_allowed;
use crate::gateway::{Gateway, LogStream, LogsQuery};
use crate::output::line;

/// Time until a stream that ended is asked for again.
const AGAIN: Duration = Duration::from_secs(1);
/// Colours that can be read on dark and on light, as the numbers of SGR.
const COLOURS: [&str; 6] = ["36", "33", "32", "35", "34", "31"];

/// The log lines of all functions.
pub(super) struct Lines<'a> {
    gateway: &'a Gateway,
    all: SelectAll<BoxStream<'a, LogLine>>,
    names: BTreeMap<String, usize>,
    colours: bool,
}

/// What is followed, and from when on.
struct Followed<'a> {
    gateway: &'a Gateway,
    target: Target,
    since: Timestamp,
    stream: Option<LogStream>,
}

impl<'a> Lines<'a> {
    /// Those of no function yet.
    pub(super) fn new(gateway: &'a Gateway) -> Self {
        let colours = std::io::stdout().is_terminal() && colours_allowed();
        Self { gateway, all: SelectAll::new(), names: BTreeMap::new(), colours }
    }

    /// Follows a function too, from now on.
    pub(super) fn add(&mut self, target: Target) {
        if self.names.contains_key(&target.name) {
            return;
        }
        self.names.insert(target.name.clone(), self.names.len());
        let (gateway, since) = (self.gateway, Timestamp::now());
        let followed = Followed { gateway, target, since, stream: None };
        self.all.push(stream::unfold(followed, |followed| followed.next().boxed()).boxed());
    }

    /// The next line; never, when nothing is followed.
    pub(super) async fn next(&mut self) -> LogLine {
        match self.all.next().await {
            Some(line) => line,
            None => std::future::pending().await,
        }
    }

    /// Prints a line.
    pub(super) fn print(&self, text: &LogLine) -> std::io::Result<()> {
        line(&self.render(text))
    }

    fn render(&self, line: &LogLine) -> String {
        let width = self.names.keys().map(String::len).max().unwrap_or_default();
        let name = format!("{:width$} |", line.name);
        let text = plain(line.text.trim_end());
        let colour = self.names.get(&line.name).map(|index| COLOURS[index % COLOURS.len()]);
        match colour.filter(|_| self.colours) {
            Some(colour) => format!("\x1b[{colour}m{name}\x1b[0m {text}"),
            None => format!("{name} {text}"),
        }
    }
}

impl Followed<'_> {
    /// Streams end when the gateway starts anew, and there are none before the first deploy.
    async fn next(mut self) -> Option<(LogLine, Self)> {
        loop {
            let line = match &mut self.stream {
                Some(stream) => stream.next().await.ok().flatten(),
                None => None,
            };
            if let Some(line) = line {
                let after = SignedDuration::from_nanos(1);
                self.since =
                    line.timestamp.checked_add(after).unwrap_or(self.since).max(self.since);
                return Some((line, self));
            }
            if self.stream.take().is_some() {
                tokio::time::sleep(AGAIN).await;
            }
            match self.gateway.logs(&self.query()).await {
                Ok(stream) => self.stream = Some(stream),
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    fn query(&self) -> LogsQuery {
        LogsQuery {
            name: self.target.name.clone(),
            namespace: self.target.namespace.clone(),
            instance: None,
            lines: -1,
            follow: true,
            since: Some(self.since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::GatewayArgs;
    use crate::config::Environment;

    #[tokio::test]
    async fn names_line_up_and_colours_are_for_terminals() {
        let args = GatewayArgs::default();
        let gateway = Gateway::new("http://127.0.0.1:1", &args, &Environment::default()).unwrap();
        let mut lines = Lines::new(&gateway);
        for name in ["a", "longer", "a"] {
            lines.add(Target { name: name.to_owned(), namespace: String::new() });
        }
        let text = r#"{"name":"a","timestamp":"2026-01-02T03:04:05Z","text":"\u001b[2Jhi\n"}"#;
        let line = serde_json::from_str(text).unwrap();
        lines.colours = false;
        assert_eq!(lines.render(&line), "a      | hi");
        lines.colours = true;
        assert_eq!(lines.render(&line), "\x1b[36ma      |\x1b[0m hi");
        assert_eq!(lines.all.len(), 2);
    }
}
