//! Log lines of containers, read whole and merged by time.

use std::collections::VecDeque;
use std::sync::Arc;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptions;
use futures_util::stream::{self, BoxStream, Peekable};
use futures_util::{StreamExt, future};
use jiff::Timestamp;

use super::core::{Core, not_found};
use super::engine::error;
use crate::{LogLine, LogQuery, Name, Result};

/// A longer line is cut into several.
const MAX_LINE_BYTES: usize = 1 << 20;
/// How many of a container's last lines its status shows.
const LAST_WORDS: u64 = 3;
/// How many characters of them.
const LAST_WORDS_CHARS: usize = 400;

/// Lines of one container.
pub(super) struct Source {
    pub(super) name: Name,
    pub(super) replica: String,
    /// The engine's id of the container.
    pub(super) container: String,
}

/// Which lines of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Range {
    pub(super) tail: Option<u64>,
    pub(super) since: Option<Timestamp>,
    pub(super) follow: bool,
}

impl Range {
    fn options(&self) -> LogsOptions {
        // The engine takes whole seconds only; the rest is sorted out on the way.
        let since = self.since.map_or(0, Timestamp::as_second);
        LogsOptions {
            stdout: true,
            stderr: true,
            timestamps: true,
            follow: self.follow,
            since: since.try_into().unwrap_or(0),
            tail: self.tail.map_or_else(|| "all".to_owned(), |tail| tail.to_string()),
            ..LogsOptions::default()
        }
    }
}

impl Core {
    /// Log lines; see [`crate::Provider::logs`].
    pub(super) fn logs(
        self: &Arc<Self>,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogLine>>> {
        if self.read(&query.name, |group| group.wanted().is_none()) {
            return Err(not_found(&query.name));
        }
        if query.follow {
            return Ok(self.follow_logs(query));
        }
        let range = Range { tail: query.tail, since: query.since, follow: false };
        let sources = self.sources(&query.name, query.instance.as_deref());
        let streams = sources.into_iter().map(|source| self.lines(source, range));
        Ok(merge(streams.collect()))
    }

    /// The containers of a function, or the one that is asked for.
    pub(super) fn sources(&self, name: &Name, instance: Option<&str>) -> Vec<Source> {
        self.read(name, |group| {
            let asked = group
                .members
                .values()
                .filter(|member| instance.is_none_or(|instance| instance == member.seen.replica));
            let source = |member: &super::group::Member| Source {
                name: name.clone(),
                replica: member.seen.replica.clone(),
                container: member.seen.container.clone(),
            };
            asked.map(source).collect()
        })
    }

    /// One container's lines.
    pub(super) fn lines(
        &self,
        source: Source,
        range: Range,
    ) -> BoxStream<'static, Result<LogLine>> {
        let options = range.options();
        let api = self.engine.api.clone();
        let frames =
            stream::once(async move { api.logs(&source.container, Some(options)).boxed() });
        let frames = frames.flatten().map(Some).chain(stream::once(future::ready(None)));
        let mut assembler = Assembler::new(source.name, source.replica);
        let lines = frames.flat_map(move |frame| {
            stream::iter(match frame {
                Some(Ok(frame)) => assembler.take(frame).into_iter().map(Ok).collect(),
                Some(Err(e)) => vec![Err(error(e))],
                None => assembler.finish().into_iter().map(Ok).collect::<Vec<_>>(),
            })
        });
        let wanted = move |line: &Result<LogLine>| match (line, range.since) {
            (Ok(line), Some(since)) => line.timestamp >= since,
            _ => true,
        };
        lines.filter(move |line| future::ready(wanted(line))).boxed()
    }

    /// The last lines that a container wrote, for people.
    pub(super) async fn last_words(&self, replica: &str) -> String {
        let Ok(name) = Name::new("x", "") else { return String::new() };
        let source = Source { name, replica: replica.to_owned(), container: replica.to_owned() };
        let range = Range { tail: Some(LAST_WORDS), ..Range::default() };
        let lines: Vec<_> = self.lines(source, range).collect().await;
        let texts: Vec<_> = lines.into_iter().flatten().map(|line| line.text).collect();
        texts.join("; ").chars().take(LAST_WORDS_CHARS).collect()
    }
}

/// Merges streams that are each in order.
fn merge(streams: Vec<BoxStream<'static, Result<LogLine>>>) -> BoxStream<'static, Result<LogLine>> {
    let heads: Vec<_> = streams.into_iter().map(|stream| Box::pin(stream.peekable())).collect();
    let next = |mut heads: Vec<std::pin::Pin<Box<Peekable<_>>>>| async {
        let mut first: Option<(usize, Option<Timestamp>)> = None;
        for (index, head) in heads.iter_mut().enumerate() {
            let Some(line) = head.as_mut().peek().await else { continue };
            let line: &Result<LogLine> = line;
            // An error has no time: it comes at once.
            let time = line.as_ref().ok().map(|line| line.timestamp);
            if first.is_none_or(|(_, earliest)| time < earliest) {
                first = Some((index, time));
            }
        }
        let line = heads[first?.0].next().await?;
        Some((line, heads))
    };
    stream::unfold(heads, next).boxed()
}

/// Makes lines of frames: the engine cuts long lines into several frames.
struct Assembler {
    name: Name,
    replica: String,
    stdout: Part,
    stderr: Part,
}

/// The begin of a line.
#[derive(Default)]
struct Part {
    timestamp: Option<Timestamp>,
    bytes: Vec<u8>,
}

impl Assembler {
    fn new(name: Name, replica: String) -> Self {
        Self { name, replica, stdout: Part::default(), stderr: Part::default() }
    }

    /// Takes a frame; returns the lines that it completes.
    fn take(&mut self, frame: LogOutput) -> VecDeque<LogLine> {
        let is_stderr = matches!(frame, LogOutput::StdErr { .. });
        let bytes = frame.into_bytes();
        let mut lines = VecDeque::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let part = if is_stderr { &mut self.stderr } else { &mut self.stdout };
            part.push(piece);
            if piece.ends_with(b"\n") || part.bytes.len() >= MAX_LINE_BYTES {
                let part = std::mem::take(part);
                lines.push_back(self.line(&part));
            }
        }
        lines
    }

    /// What is left when the stream ends.
    fn finish(&mut self) -> Vec<LogLine> {
        let parts = [std::mem::take(&mut self.stdout), std::mem::take(&mut self.stderr)];
        parts.into_iter().filter(|p| p.timestamp.is_some()).map(|p| self.line(&p)).collect()
    }

    fn line(&self, part: &Part) -> LogLine {
        let text = String::from_utf8_lossy(&part.bytes);
        LogLine {
            name: self.name.function().to_owned(),
            namespace: self.name.namespace().to_owned(),
            instance: self.replica.clone(),
            timestamp: part.timestamp.unwrap_or_default(),
            text: text.trim_end_matches(['\n', '\r']).to_owned(),
        }
    }
}

impl Part {
    /// Every piece begins with its time; the first piece's is the line's.
    fn push(&mut self, piece: &[u8]) {
        let (timestamp, text) = split_time(piece);
        self.timestamp = self.timestamp.or(timestamp);
        self.bytes.extend_from_slice(text);
    }
}

fn split_time(piece: &[u8]) -> (Option<Timestamp>, &[u8]) {
    let split = piece.iter().position(|byte| *byte == b' ').unwrap_or(0);
    let time = std::str::from_utf8(&piece[..split]).ok().and_then(|text| text.parse().ok());
    match time {
        Some(time) => (Some(time), &piece[split + 1..]),
        None => (None, piece),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "2026-01-02T03:04:05.000000001Z";

    fn frame(text: &str) -> LogOutput {
        LogOutput::StdOut { message: text.to_owned().into() }
    }

    fn assembler() -> Assembler {
        Assembler::new(Name::parse("echo").unwrap(), "echo.1".to_owned())
    }

    #[test]
    fn frames_become_lines_without_their_ends() {
        let mut assembler = assembler();
        let lines = assembler.take(frame(&format!("{AT} one\r\n")));
        assert_eq!((lines.len(), lines[0].text.as_str()), (1, "one"));
        assert_eq!(lines[0].timestamp.to_string(), AT);
        assert_eq!(lines[0].instance, "echo.1");
        assert_eq!(assembler.take(frame(&format!("{AT} \n")))[0].text, "");
    }

    #[test]
    fn a_cut_line_is_put_together_and_the_streams_do_not_mix() {
        let mut assembler = assembler();
        assert!(assembler.take(frame(&format!("{AT} lo"))).is_empty());
        let other = LogOutput::StdErr { message: format!("{AT} x\n").into() };
        assert_eq!(assembler.take(other)[0].text, "x");
        assert_eq!(assembler.take(frame(&format!("{AT} ng\n")))[0].text, "long");
        assert!(assembler.take(frame(&format!("{AT} end"))).is_empty());
        assert_eq!(assembler.finish()[0].text, "end");
        assert!(assembler.finish().is_empty());
    }

    #[tokio::test]
    async fn streams_are_merged_by_time() {
        let line = |second: i64| LogLine {
            name: String::new(),
            namespace: String::new(),
            instance: String::new(),
            timestamp: Timestamp::from_second(second).unwrap(),
            text: second.to_string(),
        };
        let streams = vec![
            stream::iter(vec![Ok(line(1)), Ok(line(4))]).boxed(),
            stream::iter(vec![Ok(line(2)), Ok(line(3))]).boxed(),
            stream::empty().boxed(),
        ];
        let merged: Vec<_> = merge(streams).map(|line| line.unwrap().text).collect().await;
        assert_eq!(merged, ["1", "2", "3", "4"]);
    }
}
