//! Lines on stdout and stderr (contract 5.8).

use std::cell::RefCell;
use std::fmt::{self, Display};
use std::future::{Future, poll_fn};
use std::io::Write;
use std::task::{Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::Offset;

/// Lines of calls are written when there are so many bytes of them, whatever else there is to do.
const MOST_PENDING: usize = 16 << 10;
/// What is kept of the buffer once it was written.
const KEPT_CAPACITY: usize = 64 << 10;

thread_local! {
    static PENDING: RefCell<Pending> = const { RefCell::new(Pending::new()) };
    static CLOCK: RefCell<Clock> = const { RefCell::new(Clock::new()) };
}

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
    let mut line = Vec::with_capacity(128);
    stamp(&mut line);
    // Writing to memory does not fail.
    let _ = writeln!(line, " {text}");
    Sink::Stderr.write(&line);
}

/// Writes the line of a call: at once, or soon when [`together`] runs on this thread. `text` is
/// asked for it as bytes: the machinery of formatting took a tenth of what a call costs here.
pub fn call_line(text: impl FnOnce(&mut Vec<u8>)) {
    PENDING.with_borrow_mut(|pending| {
        stamp(&mut pending.lines);
        pending.lines.push(b' ');
        text(&mut pending.lines);
        pending.lines.push(b'\n');
        match &pending.writer {
            Some(writer) if pending.lines.len() < MOST_PENDING => writer.wake_by_ref(),
            _ => pending.write(),
        }
    });
}

/// While this is polled, the lines of calls that end in one turn of the event loop are written
/// together: a write a call, which wakes whoever reads the log, is a large part of what a call
/// costs. A turn is over when everything that was ready has run, so no line waits for more calls.
pub fn together() -> impl Future<Output = ()> {
    let at_once = AtOnce;
    poll_fn(move |cx| {
        // Dropped with this.
        let _ = &at_once;
        PENDING.with_borrow_mut(|pending| {
            pending.write();
            pending.writer = Some(cx.waker().clone());
        });
        Poll::Pending
    })
}

/// Lines of calls that are not written yet.
struct Pending {
    lines: Vec<u8>,
    /// Wakes who writes them.
    writer: Option<Waker>,
}

impl Pending {
    const fn new() -> Self {
        Self { lines: Vec::new(), writer: None }
    }

    fn write(&mut self) {
        if !self.lines.is_empty() {
            // Nobody may be listening, which is no reason to stop.
            let _ = std::io::stderr().lock().write_all(&self.lines);
            self.lines.clear();
            self.lines.shrink_to(KEPT_CAPACITY);
        }
    }
}

/// Writes what is pending when it is dropped, and lets lines be written at once from then on.
struct AtOnce;

impl Drop for AtOnce {
    fn drop(&mut self) {
        PENDING.with_borrow_mut(|pending| {
            pending.writer = None;
            pending.write();
        });
    }
}

/// Appends the time as Go's log package writes it, in UTC.
fn stamp(out: &mut Vec<u8>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    CLOCK.with_borrow_mut(|clock| out.extend_from_slice(clock.text(now.as_secs())));
}

/// The text of the second that was last asked for.
struct Clock {
    second: u64,
    text: String,
}

impl Clock {
    const fn new() -> Self {
        Self { second: 0, text: String::new() }
    }

    fn text(&mut self, second: u64) -> &[u8] {
        if self.second != second || self.text.is_empty() {
            self.second = second;
            let time = Timestamp::from_second(second.cast_signed()).unwrap_or_default();
            let now = Offset::UTC.to_datetime(time);
            let (year, month, day) = (now.year(), now.month(), now.day());
            let (hour, minute, second) = (now.hour(), now.minute(), now.second());
            self.text = format!("{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}");
        }
        self.text.as_bytes()
    }
}

impl Sink {
    /// Writes all of it at once. Nobody may be listening, which is no reason to stop.
    pub fn write(self, bytes: &[u8]) {
        let _ = match self {
            Sink::Stdout => {
                let mut out = std::io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
            Sink::Stderr => {
                // What was logged earlier stands before it.
                PENDING.with_borrow_mut(Pending::write);
                std::io::stderr().lock().write_all(bytes)
            }
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
            stamp(out);
            out.push(b' ');
            out.extend_from_slice(self.sink.name().as_bytes());
            out.extend_from_slice(b": ");
        }
        out.append(&mut self.rest);
        out.push(b'\n');
    }
}

/// Seconds with so many digits after the point; what comes after these is left out.
pub struct Seconds<const DIGITS: usize>(pub Duration);

impl<const DIGITS: usize> Seconds<DIGITS> {
    /// Appends them.
    pub fn write(&self, out: &mut Vec<u8>) {
        number(out, self.0.as_secs());
        out.push(b'.');
        let start = out.len();
        out.resize(start + DIGITS, b'0');
        let mut part = self.0.subsec_nanos() / 10_u32.pow(9 - DIGITS as u32);
        for digit in out[start..].iter_mut().rev() {
            *digit += (part % 10) as u8;
            part /= 10;
        }
    }
}

/// Appends a number.
pub fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A size as people write it, with at most four digits: `10B`, `1.234kB`; `-1B` when unknown.
pub struct HumanSize(pub Option<u64>);

impl HumanSize {
    /// Appends it. Most are small and need no fractions.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self.0 {
            Some(bytes @ ..1000) => {
                number(out, bytes);
                out.push(b'B');
            }
            _ => {
                // Writing to memory does not fail.
                let _ = write!(out, "{self}");
            }
        }
    }
}

impl Display for HumanSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = match self.0 {
            None => return f.write_str("-1B"),
            Some(bytes @ ..1000) => return write!(f, "{bytes}B"),
            Some(bytes) => bytes,
        };
        let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
        let (mut size, mut unit) = (bytes as f64, 0);
        while size >= 1000.0 && unit + 1 < units.len() {
            (size, unit) = (size / 1000.0, unit + 1);
        }
        let digits = if size >= 100.0 { 1 } else { 3 - usize::from(size >= 10.0) };
        let text = format!("{size:.digits$}");
        write!(f, "{}{}", text.trim_end_matches('0').trim_end_matches('.'), units[unit])
    }
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
            assert_eq!(HumanSize(Some(bytes)).to_string(), text);
            assert_eq!(written(|out| HumanSize(Some(bytes)).write(out)), text);
        }
        assert_eq!(written(|out| HumanSize(None).write(out)), "-1B");
    }

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn seconds_have_their_digits() {
        let time = Duration::from_nanos(61_002_345_678);
        assert_eq!(written(|out| Seconds::<4>(time).write(out)), "61.0023");
        assert_eq!(written(|out| Seconds::<6>(time).write(out)), "61.002345");
        assert_eq!(written(|out| Seconds::<6>(Duration::ZERO).write(out)), "0.000000");
        assert_eq!(written(|out| Seconds::<9>(Duration::from_nanos(1)).write(out)), "0.000000001");
    }

    #[test]
    fn the_clock_goes_on() {
        let mut clock = Clock::new();
        for (second, text) in [
            (0, "1970/01/01 00:00:00"),
            (951_782_399, "2000/02/28 23:59:59"),
            (0, "1970/01/01 00:00:00"),
        ] {
            assert_eq!(clock.text(second), text.as_bytes());
        }
    }

    #[test]
    fn lines_wait_only_while_somebody_writes_them() {
        let pending = || PENDING.with_borrow(|pending| pending.lines.len());
        let call = |text: &str| call_line(|out| out.extend_from_slice(text.as_bytes()));
        call("alone");
        assert_eq!(pending(), 0);
        let mut together = Box::pin(together());
        let mut cx = std::task::Context::from_waker(Waker::noop());
        assert!(together.as_mut().poll(&mut cx).is_pending());
        call("one");
        let one = pending();
        call("two");
        assert!(one > 0 && pending() == 2 * one);
        assert!(together.as_mut().poll(&mut cx).is_pending());
        assert_eq!(pending(), 0, "at the end of the turn");
        call("before a line of another kind");
        line("another");
        assert_eq!(pending(), 0);
        call(&"x".repeat(MOST_PENDING));
        assert_eq!(pending(), 0, "there is a bound");
        call("the last");
        drop(together);
        assert_eq!(pending(), 0);
        call("alone again");
        assert_eq!(pending(), 0);
    }
}
