//! Header lines that are added to a message as it is sent. As text they cost a tenth of what they
//! cost in a map of headers, and a hop adds eight of them to each call.

use std::cell::RefCell;

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Most buffers that are kept for the next call.
const MAX_SPARE: usize = 32;
/// The largest buffer that is kept.
const MAX_KEPT: usize = 4 << 10;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Header lines as they are sent.
#[derive(Debug, Default)]
pub struct Lines(Vec<u8>);

impl Lines {
    /// None, perhaps with memory that others used before.
    pub(crate) fn take() -> Self {
        Self(SPARE.with_borrow_mut(Vec::pop).unwrap_or_default())
    }

    /// Adds a line.
    pub fn add(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.line(name, |text| text.extend_from_slice(value.as_bytes()));
    }

    /// Adds a line with a number.
    pub fn add_number(&mut self, name: &HeaderName, number: u64) {
        let mut digits = itoa::Buffer::new();
        self.line(name, |text| text.extend_from_slice(digits.format(number).as_bytes()));
    }

    /// Adds a line with what `value` appends, which should be what a header's value may be; a line
    /// break in it ends it.
    pub fn add_with(&mut self, name: &HeaderName, value: impl FnOnce(&mut Vec<u8>)) {
        self.line(name, |text| {
            let start = text.len();
            value(text);
            let end = memchr::memchr2(b'\r', b'\n', &text[start..]);
            text.truncate(end.map_or(text.len(), |end| start + end));
        });
    }

    /// Adds a line; `value` writes what a header's value may hold.
    pub(crate) fn line(&mut self, name: &HeaderName, value: impl FnOnce(&mut Vec<u8>)) {
        self.0.extend_from_slice(name.as_str().as_bytes());
        self.0.extend_from_slice(b": ");
        value(&mut self.0);
        self.0.extend_from_slice(b"\r\n");
    }

    /// How long they are, for [`Lines::truncate`].
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes back what was added since they were so long.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// All of them as they are sent.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Adds them to a map, for protocols that are not text.
    pub fn copy_to(&self, headers: &mut HeaderMap) {
        for line in self.0.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r\n").unwrap_or(line);
            let Some(colon) = memchr::memmem::find(line, b": ") else { continue };
            let name = HeaderName::from_bytes(&line[..colon]);
            let value = HeaderValue::from_bytes(&line[colon + 2..]);
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.append(name, value);
            }
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let mut text = std::mem::take(&mut self.0);
        if text.capacity() == 0 || text.capacity() > MAX_KEPT {
            return;
        }
        text.clear();
        // At a thread's end there may be no list any more.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < MAX_SPARE {
                spare.push(text);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: HeaderName = HeaderName::from_static("x-a");
    const B: HeaderName = HeaderName::from_static("x-b");

    #[test]
    fn lines_are_text_and_a_map_at_need() {
        let mut lines = Lines::take();
        lines.add(&A, &HeaderValue::from_static("1: 2"));
        let len = lines.len();
        lines.add_number(&B, 7);
        lines.truncate(len);
        lines.add_number(&B, u64::MAX);
        lines.add_with(&A, |text| text.extend_from_slice(b"\r\nx-c: 1"));
        assert_eq!(lines.as_bytes(), b"x-a: 1: 2\r\nx-b: 18446744073709551615\r\nx-a: \r\n");
        let mut headers = HeaderMap::new();
        lines.copy_to(&mut headers);
        let all: Vec<_> = headers.get_all(A).iter().collect();
        assert_eq!(all, ["1: 2", ""]);
        assert_eq!(headers[B], "18446744073709551615");
    }

    #[test]
    fn memory_comes_back_empty() {
        let mut lines = Lines::take();
        lines.add_number(&A, 1);
        drop(lines);
        assert!(Lines::take().is_empty());
    }
}
