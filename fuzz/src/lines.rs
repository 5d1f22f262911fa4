//! Lines of a function's output.

use watchdog::log::{LineStyle, Lines, Sink};

/// Lines come out the same however the output was cut, none is longer than it may be, and no
/// byte is lost.
///
/// The first byte gives the longest line, the second how long the pieces are.
pub fn run(data: &[u8]) {
    let [max, piece, output @ ..] = data else { return };
    let max_bytes = usize::from(*max) + 1;
    let whole = framed(max_bytes, [output]);
    let pieces = framed(max_bytes, output.chunks(usize::from(*piece) + 1));
    assert_eq!(whole, pieces, "it depends on how the output was cut");
    assert_eq!(whole, expected(max_bytes, output));
}

fn framed<'a>(max_bytes: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut lines = Lines::new(Sink::Stdout, LineStyle { prefix: false, max_bytes });
    let mut out = Vec::new();
    pieces.into_iter().for_each(|piece| out.extend(lines.take(piece)));
    out.extend(lines.end());
    out
}

/// Each line, and those that are too long cut where they are.
fn expected(max_bytes: usize, output: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in output.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        if text.is_empty() {
            out.push(b'\n');
        }
        for part in text.chunks(max_bytes) {
            out.extend_from_slice(part);
            out.push(b'\n');
        }
    }
    out
}
