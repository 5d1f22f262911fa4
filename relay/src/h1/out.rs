//! What is to be written: heads and framing in one piece of memory, bodies where they lie.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

/// Data that is copied next to the text before it: one write of one piece costs less than that.
const SMALL: usize = 512;

/// Most pieces that are written at once.
const MAX_SLICES: usize = 32;

/// Memory for text that is kept for the next message.
const KEPT_CAPACITY: usize = 4 << 10;

/// Most queues that are kept for the next one who needs one.
const MAX_FREE: usize = 32;

thread_local! {
    static FREE: RefCell<Vec<Out>> = const { RefCell::new(Vec::new()) };
}

/// A queue of bytes to be written. Data is not copied.
#[derive(Debug, Default)]
pub(crate) struct Out {
    /// The text of heads and framing, in order.
    text: Vec<u8>,
    /// How much of `text` is written.
    text_at: usize,
    pieces: VecDeque<Piece>,
    /// How much of the first piece is written.
    at: usize,
    len: usize,
    any_written: bool,
}

#[derive(Debug)]
enum Piece {
    /// That many bytes of `text`.
    Text(usize),
    Data(Bytes),
}

impl Out {
    /// An empty queue, perhaps with memory that another one used before.
    pub(crate) fn take() -> Self {
        FREE.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// Gives a queue back; what is in it is forgotten.
    pub(crate) fn put(mut self) {
        self.clear();
        // At a thread's end there may be no list any more.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < MAX_FREE {
                free.push(self);
            }
        });
    }

    /// Adds text.
    pub(crate) fn text(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.text.len();
        write(&mut self.text);
        let added = self.text.len() - before;
        if added == 0 {
            return;
        }
        self.len += added;
        match self.pieces.back_mut() {
            Some(Piece::Text(len)) => *len += added,
            _ => self.pieces.push_back(Piece::Text(added)),
        }
    }

    /// Adds data.
    pub(crate) fn data(&mut self, data: Bytes) {
        if data.len() <= SMALL {
            self.text(|text| text.extend_from_slice(&data));
        } else {
            self.len += data.len();
            self.pieces.push_back(Piece::Data(data));
        }
    }

    /// How many bytes are not written yet.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether any byte was written.
    pub(crate) fn any_written(&self) -> bool {
        self.any_written
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gives `write` what comes next.
    pub(crate) fn with_slices<T>(&self, write: impl FnOnce(&[IoSlice<'_>]) -> T) -> T {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let (mut count, mut text, mut skip) = (0, &self.text[self.text_at..], self.at);
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            let piece = match piece {
                Piece::Data(data) => &data[skip..],
                Piece::Text(len) => {
                    let (these, rest) = text.split_at(len - skip);
                    text = rest;
                    these
                }
            };
            *slice = IoSlice::new(piece);
            count += 1;
            skip = 0;
        }
        write(&slices[..count])
    }

    /// The next `written` bytes are written.
    pub(crate) fn advance(&mut self, mut written: usize) {
        self.len -= written;
        self.any_written = true;
        while written > 0 {
            let Some(piece) = self.pieces.front() else { return };
            let (left, is_text) = match piece {
                Piece::Text(len) => (len - self.at, true),
                Piece::Data(data) => (data.len() - self.at, false),
            };
            let some = left.min(written);
            if is_text {
                self.text_at += some;
            }
            self.at += some;
            written -= some;
            if some == left {
                self.at = 0;
                self.pieces.pop_front();
            }
        }
        if self.len == 0 {
            self.text.clear();
            self.text_at = 0;
        }
    }

    /// Forgets everything, and lets go of memory that is rarely needed.
    fn clear(&mut self) {
        self.pieces.clear();
        self.text.clear();
        (self.text_at, self.at, self.len, self.any_written) = (0, 0, 0, false);
        self.text.shrink_to(KEPT_CAPACITY);
        if self.pieces.capacity() > MAX_SLICES {
            self.pieces.shrink_to(MAX_SLICES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Out {
        let mut out = Out::default();
        out.text(|text| text.extend_from_slice(b"head "));
        out.text(|text| text.extend_from_slice(b"more "));
        out.data(Bytes::from_static(b"data"));
        out.data(Bytes::new());
        out.text(|text| text.extend_from_slice(b" end "));
        out.data(Bytes::from_static(b"yes"));
        out
    }

    fn rest(out: &Out) -> String {
        let bytes =
            out.with_slices(|slices| slices.iter().map(|s| &s[..]).collect::<Vec<_>>().concat());
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn it_goes_out_in_order_however_little_is_taken() {
        let whole = "head more data end yes";
        for step in 1..=whole.len() {
            let mut out = filled();
            let mut at = 0;
            while !out.is_empty() {
                assert_eq!(rest(&out), whole[at..]);
                let some = step.min(out.len());
                out.advance(some);
                at += some;
            }
            out.text(|text| text.extend_from_slice(b"next"));
            assert_eq!(rest(&out), "next");
        }
    }

    #[test]
    fn many_pieces_go_out_in_turns() {
        let mut out = Out::default();
        for number in 0..100 {
            out.data(Bytes::from(format!("{number},")));
        }
        let mut all = String::new();
        while !out.is_empty() {
            let some = rest(&out);
            out.advance(some.len());
            all += &some;
        }
        assert!(all.starts_with("0,1,2,") && all.ends_with(",98,99,"));
    }
}
