//! Log lines as they come (contract 1.11).

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use provider::LogLine;
use reqwest::{Method, Response};

use super::{Answer, Gateway};

/// Longest line of the stream that is taken, in bytes.
const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

/// Which lines are wanted.
#[derive(Clone, Debug, Default)]
pub struct LogsQuery {
    /// The function.
    pub name: String,
    /// Its namespace; empty is the default one.
    pub namespace: String,
    /// Only this replica.
    pub instance: Option<String>,
    /// So many of the newest lines; -1 is all.
    pub lines: i64,
    /// Go on with new lines.
    pub follow: bool,
    /// From this time on.
    pub since: Option<Timestamp>,
}

/// Lines as they come.
#[derive(Debug)]
pub struct LogStream {
    response: Response,
    pending: Vec<u8>,
    ended: bool,
}

impl Gateway {
    /// Asks for log lines.
    pub async fn logs(&self, query: &LogsQuery) -> Result<LogStream> {
        let request = self.request(Method::GET, "/system/logs").query(&pairs(query));
        let response = self.send(request).await?;
        if response.status().is_success() {
            return Ok(LogStream { response, pending: Vec::new(), ended: false });
        }
        let answer: Answer = self.read(response).await?;
        Err(answer.refusal(&format!("cannot read the logs of {}", query.name)))
    }
}

fn pairs(query: &LogsQuery) -> Vec<(&'static str, String)> {
    let mut pairs = vec![
        ("name", query.name.clone()),
        ("follow", query.follow.to_string()),
        ("tail", query.lines.to_string()),
    ];
    if !query.namespace.is_empty() {
        pairs.push(("namespace", query.namespace.clone()));
    }
    pairs.extend(query.since.map(|since| ("since", since.to_string())));
    pairs.extend(query.instance.clone().map(|instance| ("instance", instance)));
    pairs
}

impl LogStream {
    /// The next line; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<LogLine>> {
        loop {
            if let Some(end) = self.pending.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                if let Some(line) = parse(&line)? {
                    return Ok(Some(line));
                }
            } else if self.ended {
                return parse(&std::mem::take(&mut self.pending));
            } else {
                self.fill().await?;
            }
        }
    }

    async fn fill(&mut self) -> Result<()> {
        anyhow::ensure!(self.pending.len() < MAX_LINE_BYTES, "a log line is too long");
        match self.response.chunk().await.context("the log stream broke")? {
            Some(chunk) => self.pending.extend_from_slice(&chunk),
            None => self.ended = true,
        }
        Ok(())
    }
}

fn parse(line: &[u8]) -> Result<Option<LogLine>> {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(line).map(Some).context("a log line cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_says_only_what_is_wanted() {
        let query = LogsQuery { name: "a".to_owned(), lines: -1, ..Default::default() };
        let text = |pairs: &[(&str, String)]| {
            pairs.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("&")
        };
        assert_eq!(text(&pairs(&query)), "name=a&follow=false&tail=-1");
    }

    #[test]
    fn empty_lines_are_skipped_and_rubbish_is_told() {
        assert!(parse(b"  \n").unwrap().is_none());
        assert!(parse(b"{").is_err());
        let line = parse(br#"{"name":"a","timestamp":"2026-01-02T03:04:05Z","text":"x\n"}"#);
        assert_eq!(line.unwrap().unwrap().text, "x\n");
    }
}
