//! Lines on stdout and stderr (contract 5.8).

use std::fmt::Display;
use std::io::Write;

use jiff::Timestamp;
use jiff::tz::Offset;

/// Where lines of the function go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How the function's lines are written.
#[derive(Clone, Copy, Debug)]
pub struct LineStyle {
    /// Whether date and stream come before each line.
    pub prefix: bool,
    /// Longest line; longer ones are split.
    pub max_bytes: usize,
}

/// Writes a line of the watchdog's own.
pub fn line(text: impl Display) {
    Sink::Stderr.write(format!("{} {text}\n", now()).as_bytes());
}

/// The time as Go's log package writes it, in UTC.
fn now() -> String {
    let now = Offset::UTC.to_datetime(Timestamp::now());
    let (year, month, day) = (now.year(), now.month(), now.day());
    let (hour, minute, second) = (now.hour(), now.minute(), now.second());
    format!("{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}")
}

impl Sink {
    /// Writes all of it at once. Nobody may be listening, which is no reason to stop.
    pub fn write(self, bytes: &[u8]) {
        let _ = match self {
            Sink::Stdout => {
                let mut out = std::io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
            Sink::Stderr => std::io::stderr().lock().write_all(bytes),
        };
    }

    fn name(self) -> &'static str {
        match self {
            Sink::Stdout => "stdout",
            Sink::Stderr => "stderr",
        }
    }
}

/// Makes lines of what a process writes.
#[derive(Debug)]
pub struct Lines {
    sink: Sink,
    style: LineStyle,
    /// The line that has no end yet.
    rest: Vec<u8>,
}

impl Lines {
    /// Lines for `sink`.
    pub fn new(sink: Sink, style: LineStyle) -> Self {
        Self { sink, style, rest: Vec::new() }
    }

    /// Takes what was written and logs the lines that are complete.
    pub fn push(&mut self, bytes: &[u8]) {
        let out = self.take(bytes);
        if !out.is_empty() {
            self.sink.write(&out);
        }
    }

    /// Logs what has no end of line, at the end.
    pub fn finish(&mut self) {
        let out = self.end();
        if !out.is_empty() {
            self.sink.write(&out);
        }
    }

    /// Takes what was written and gives the lines that are complete.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + 64);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.piece(piece, &mut out);
        }
        out
    }

    /// Gives what has no end of line, at the end.
    pub fn end(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.rest.is_empty() {
            self.emit(&mut out);
        }
        out
    }

    fn piece(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let (mut text, ended) = match piece.strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (piece, false),
        };
        while self.rest.len() + text.len() > self.style.max_bytes {
            let (head, tail) = text.split_at(self.style.max_bytes - self.rest.len());
            self.rest.extend_from_slice(head);
            self.emit(out);
            text = tail;
        }
        self.rest.extend_from_slice(text);
        if ended {
            self.emit(out);
        }
    }

    fn emit(&mut self, out: &mut Vec<u8>) {
        if self.style.prefix {
            out.extend_from_slice(format!("{} {}: ", now(), self.sink.name()).as_bytes());
        }
        out.append(&mut self.rest);
        out.push(b'\n');
    }
}

/// A size as people write it, with at most four digits: `10B`, `1.234kB`; `-1B` when unknown.
pub fn human_size(bytes: Option<u64>) -> String {
    let Some(bytes) = bytes else { return "-1B".to_owned() };
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let (mut size, mut unit) = (bytes as f64, 0);
    while size >= 1000.0 && unit + 1 < units.len() {
        (size, unit) = (size / 1000.0, unit + 1);
    }
    let digits = if size >= 100.0 { 1 } else { 3 - usize::from(size >= 10.0) };
    let text = format!("{size:.digits$}");
    format!("{}{}", text.trim_end_matches('0').trim_end_matches('.'), units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(max_bytes: usize, pieces: &[&str]) -> String {
        let style = LineStyle { prefix: false, max_bytes };
        let mut lines = Lines::new(Sink::Stdout, style);
        let mut out = Vec::new();
        for piece in pieces {
            for part in piece.as_bytes().split_inclusive(|byte| *byte == b'\n') {
                lines.piece(part, &mut out);
            }
        }
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn lines_come_whole() {
        assert_eq!(split(10, &["a\nb", "c", "\n\nd\ne"]), "a\nbc\n\nd\n");
    }

    #[test]
    fn long_lines_are_split_and_nothing_is_lost() {
        assert_eq!(split(3, &["abcdefg\n"]), "abc\ndef\ng\n");
        assert_eq!(split(3, &["ab", "cd", "ef", "\nx\n"]), "abc\ndef\nx\n");
        assert_eq!(split(3, &["abc\n"]), "abc\n");
    }

    #[test]
    fn a_prefix_tells_the_stream() {
        let style = LineStyle { prefix: true, max_bytes: 10 };
        let mut lines = Lines::new(Sink::Stderr, style);
        let mut out = Vec::new();
        lines.piece(b"x\n", &mut out);
        let text = String::from_utf8(out).expect("text");
        assert!(text.ends_with(" stderr: x\n"), "{text}");
        assert_eq!(text.len(), "2006/01/02 15:04:05 stderr: x\n".len());
    }

    #[test]
    fn sizes_for_people() {
        let cases = [
            (0, "0B"),
            (10, "10B"),
            (999, "999B"),
            (1000, "1kB"),
            (1200, "1.2kB"),
            (12_345, "12.35kB"),
            (123_456, "123.5kB"),
            (2_147_483_648, "2.147GB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(human_size(Some(bytes)), text);
        }
        assert_eq!(human_size(None), "-1B");
    }
}
