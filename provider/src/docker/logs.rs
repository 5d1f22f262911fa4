//! Log lines of containers, read whole.

use std::collections::VecDeque;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptions;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, future};
use jiff::Timestamp;

use super::api::error;
use crate::replicas::logs::{Range, Source};
use crate::{LogLine, Name, Result};

/// A longer line is cut into several.
const MAX_LINE_BYTES: usize = 1 << 20;

fn options(range: &Range) -> LogsOptions {
    // The engine takes whole seconds only; the rest is sorted out on the way.
    let since = range.since.map_or(0, Timestamp::as_second);
    LogsOptions {
        stdout: true,
        stderr: true,
        timestamps: true,
        follow: range.follow,
        since: since.try_into().unwrap_or(0),
        tail: range.tail.map_or_else(|| "all".to_owned(), |tail| tail.to_string()),
        ..LogsOptions::default()
    }
}

/// One container's lines.
pub(super) fn lines(
    api: bollard::Docker,
    source: Source,
    range: Range,
) -> BoxStream<'static, Result<LogLine>> {
    let options = options(&range);
    let frames = stream::once(async move { api.logs(&source.id, Some(options)).boxed() });
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
}
