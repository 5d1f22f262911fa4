//! The replica's output, line by line, into its log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use jiff::Timestamp;
use provider::confine::Layout;

/// Longest line; longer ones are split.
const MAX_LINE: usize = 64 << 10;

/// The log file; the one before it is kept.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    old: PathBuf,
    /// `None` when it could not be opened; that is tried again for the next lines.
    file: Option<File>,
    size: u64,
    max: u64,
}

impl Log {
    /// A log of at most `max` bytes a file.
    pub(super) fn new(layout: &Layout, max: u64) -> Self {
        Self { path: layout.log(), old: layout.old_log(), file: None, size: 0, max }
    }

    /// Appends whole lines. A function must not stop because a disk is full, so that what cannot
    /// be written is lost.
    fn append(&mut self, lines: &[u8]) {
        if self.file.is_some() && self.size + lines.len() as u64 > self.max {
            self.file = None;
            let _ = fs::rename(&self.path, &self.old);
        }
        if self.file.is_none() {
            let mut options = OpenOptions::new();
            self.file = options.append(true).create(true).mode(0o600).open(&self.path).ok();
            let length = self.file.as_ref().and_then(|file| Some(file.metadata().ok()?.len()));
            self.size = length.unwrap_or(0);
        }
        if let Some(file) = &mut self.file {
            match file.write_all(lines) {
                Ok(()) => self.size += lines.len() as u64,
                Err(_) => self.file = None,
            }
        }
    }
}

/// One stream of the replica's output.
#[derive(Debug)]
pub(super) struct Stream<R> {
    from: Option<R>,
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
}

impl<R: Read> Stream<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from: Some(from), begun: Vec::new() }
    }

    /// Takes what there is to read; call it when there is something, or the end.
    pub(super) fn take(&mut self, log: &mut Log) {
        let Some(from) = &mut self.from else { return };
        let mut buffer = [0; 16 << 10];
        let mut lines = Vec::new();
        match from.read(&mut buffer) {
            Ok(length) if length > 0 => self.split(&buffer[..length], &mut lines),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            _ => {
                self.from = None;
                self.end(&mut lines);
            }
        }
        if !lines.is_empty() {
            log.append(&lines);
        }
    }

    fn split(&mut self, bytes: &[u8], lines: &mut Vec<u8>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            for part in piece.chunks(MAX_LINE) {
                if self.begun.len() + part.len() > MAX_LINE + 1 {
                    self.end(lines);
                }
                self.begun.extend_from_slice(part);
                if part.ends_with(b"\n") {
                    self.begun.pop();
                    stamp(&self.begun, lines);
                    self.begun.clear();
                }
            }
        }
    }

    /// What has begun is a line.
    fn end(&mut self, lines: &mut Vec<u8>) {
        if !self.begun.is_empty() {
            stamp(&self.begun, lines);
            self.begun.clear();
        }
    }
}

impl<R: AsFd> Stream<R> {
    /// What to wait for; `None` after its end.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.from.as_ref().map(AsFd::as_fd)
    }
}

fn stamp(line: &[u8], lines: &mut Vec<u8>) {
    lines.extend_from_slice(format!("{:.9} ", Timestamp::now()).as_bytes());
    lines.extend_from_slice(line);
    lines.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn log(dir: &Path, max: u64) -> Log {
        Log::new(&Layout::new(dir), max)
    }

    /// The texts of a log, after its times have been checked.
    fn texts(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).expect("a log");
        let text_of = |line: &str| {
            let (time, text) = line.split_once(' ').expect("a time");
            assert_eq!(time.len(), "2026-01-02T03:04:05.123456789Z".len(), "{time}");
            time.parse::<Timestamp>().expect("a time");
            text.to_owned()
        };
        text.lines().map(text_of).collect()
    }

    fn pump(input: &[u8], max: u64) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = log(dir.path(), max);
        let mut stream = Stream::new(input);
        while stream.from.is_some() {
            stream.take(&mut log);
        }
        dir
    }

    #[test]
    fn lines_get_their_time_and_the_last_needs_no_end() {
        let dir = pump(b"one\n\ntwo\nthree", 1 << 20);
        assert_eq!(texts(&dir.path().join("log")), ["one", "", "two", "three"]);
    }

    #[test]
    fn long_lines_are_split() {
        let mut input = vec![b'a'; MAX_LINE];
        input.extend_from_slice(b"\n");
        input.extend(vec![b'b'; 3 * MAX_LINE + 5]);
        let dir = pump(&input, 1 << 30);
        let lines = texts(&dir.path().join("log"));
        assert!(lines.iter().all(|line| line.len() <= MAX_LINE + 1));
        assert_eq!(lines[0], "a".repeat(MAX_LINE));
        assert_eq!(lines[1..].concat(), "b".repeat(3 * MAX_LINE + 5));
        assert!(lines.len() <= 6, "{}", lines.len());
    }

    #[test]
    fn a_full_log_is_put_aside_and_the_one_before_forgotten() {
        let input = b"0123456789\n".repeat(200_000);
        let dir = pump(&input, 1 << 20);
        for name in ["log", "log.1"] {
            let size = fs::metadata(dir.path().join(name)).expect(name).len();
            assert!(size > 0 && size <= 1 << 20, "{name}: {size}");
        }
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 2);
        assert!(texts(&dir.path().join("log")).iter().all(|line| line == "0123456789"));
    }

    #[test]
    fn what_cannot_be_written_stops_nobody() {
        let mut log = log(Path::new("/proc/nowhere"), 10);
        let mut stream = Stream::new(&b"one\ntwo\n"[..]);
        while stream.from.is_some() {
            stream.take(&mut log);
        }
    }
}
