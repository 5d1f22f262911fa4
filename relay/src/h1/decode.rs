//! Where a body ends, and what of the bytes on the way there is data.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use memchr::memchr;

use super::parse::{self, Fault, Framing};

/// Longest line that tells a chunk's size, extensions included.
const MAX_SIZE_LINE: usize = 256;

/// Most bytes of chunk extensions in one body; nobody needs any.
const MAX_EXTENSIONS: usize = 4 << 10;

/// Most bytes of trailers.
const MAX_TRAILERS: usize = 8 << 10;

/// Reads one body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoder {
    /// That many bytes are to come.
    Length(u64),
    Chunked(Chunks),
    /// Everything belongs to it.
    UntilClose,
    /// All of it was read.
    Done,
}

/// Where a chunked body stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chunks {
    place: Place,
    /// Bytes of extensions so far.
    extensions: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    Size,
    /// That many bytes of a chunk are to come.
    Data(u64),
    /// The line end behind a chunk's data.
    DataEnd,
    Trailers {
        seen: usize,
    },
}

/// The next thing in a body.
#[derive(Debug)]
pub(crate) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    /// Nothing before more was read.
    More,
    End,
}

impl Decoder {
    pub(crate) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Empty | Framing::Length(0) => Decoder::Done,
            Framing::Length(length) => Decoder::Length(length),
            Framing::Chunked => Decoder::Chunked(Chunks { place: Place::Size, extensions: 0 }),
            Framing::UntilClose => Decoder::UntilClose,
        }
    }

    /// Takes the next piece out of what was read.
    pub(crate) fn next(&mut self, buf: &mut BytesMut) -> Result<Piece, Fault> {
        match self {
            Decoder::Done => Ok(Piece::End),
            Decoder::Chunked(chunks) => {
                let piece = chunks.next(buf)?;
                if matches!(piece, Piece::Trailers(_) | Piece::End) {
                    *self = Decoder::Done;
                }
                Ok(piece)
            }
            _ if buf.is_empty() => Ok(Piece::More),
            Decoder::UntilClose => Ok(Piece::Data(buf.split().freeze())),
            Decoder::Length(left) => {
                let data = take(buf, left);
                if *left == 0 {
                    *self = Decoder::Done;
                }
                Ok(Piece::Data(data))
            }
        }
    }

    /// The connection has ended. Tells whether the body has, too.
    pub(crate) fn is_end_at_close(&mut self) -> bool {
        if *self == Decoder::UntilClose {
            *self = Decoder::Done;
        }
        self.is_done()
    }

    pub(crate) fn is_done(&self) -> bool {
        *self == Decoder::Done
    }

    /// How many bytes are to come, if that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self {
            Decoder::Length(left) => Some(*left),
            Decoder::Done => Some(0),
            _ => None,
        }
    }
}

impl Chunks {
    fn next(&mut self, buf: &mut BytesMut) -> Result<Piece, Fault> {
        loop {
            let moved = match &mut self.place {
                Place::Size => self.size(buf)?,
                Place::Data(_) if buf.is_empty() => return Ok(Piece::More),
                Place::Data(left) => {
                    let data = take(buf, left);
                    if *left == 0 {
                        self.place = Place::DataEnd;
                    }
                    return Ok(Piece::Data(data));
                }
                Place::DataEnd => self.data_end(buf)?,
                Place::Trailers { seen } => return trailers(buf, seen),
            };
            if !moved {
                return Ok(Piece::More);
            }
        }
    }

    /// Reads a line with a chunk's size; `false` when it has not come yet.
    fn size(&mut self, buf: &mut BytesMut) -> Result<bool, Fault> {
        let window = &buf[..buf.len().min(MAX_SIZE_LINE)];
        let Some(end) = memchr(b'\n', window) else {
            // What is wrong already need not be waited for.
            let digits = window.iter().take_while(|b| b.is_ascii_hexdigit()).count();
            let odd = window.get(digits).is_some_and(|b| !b";\r".contains(b));
            return match odd || digits > 16 || window.len() == MAX_SIZE_LINE {
                true => Err(bad("a chunk's size is not a number")),
                false => Ok(false),
            };
        };
        let Some(line) = window[..end].strip_suffix(b"\r") else {
            return Err(bad("a chunk's size does not end with CRLF"));
        };
        let size = self.size_in(line)?;
        buf.advance(end + 1);
        self.place = match size {
            0 => Place::Trailers { seen: 0 },
            size => Place::Data(size),
        };
        Ok(true)
    }

    fn size_in(&mut self, line: &[u8]) -> Result<u64, Fault> {
        let end = memchr(b';', line).unwrap_or(line.len());
        let (digits, extensions) = line.split_at(end);
        self.extensions += extensions.len();
        if self.extensions > MAX_EXTENSIONS {
            return Err(bad("there are too many chunk extensions"));
        }
        if extensions.iter().any(|b| b.is_ascii_control() && *b != b'\t') {
            return Err(bad("a chunk extension has a byte that is not allowed"));
        }
        let size = hex(digits).ok_or_else(|| bad("a chunk's size is not a number"))?;
        Ok(size)
    }

    /// Reads the line end behind a chunk; `false` when it has not come yet.
    fn data_end(&mut self, buf: &mut BytesMut) -> Result<bool, Fault> {
        let come = &buf[..buf.len().min(2)];
        if !b"\r\n".starts_with(come) {
            return Err(bad("a chunk's data does not end with CRLF"));
        }
        if come.len() < 2 {
            return Ok(false);
        }
        buf.advance(2);
        self.place = Place::Size;
        Ok(true)
    }
}

fn bad(text: &'static str) -> Fault {
    Fault::new(http::StatusCode::BAD_REQUEST, text)
}

/// Takes up to `left` bytes out.
fn take(buf: &mut BytesMut, left: &mut u64) -> Bytes {
    let some = usize::try_from(*left).map_or(buf.len(), |left| left.min(buf.len()));
    *left -= some as u64;
    buf.split_to(some).freeze()
}

/// A number of up to 16 hexadecimal digits.
fn hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    let step = |sum: u64, digit: &u8| Some(sum << 4 | u64::from(char::from(*digit).to_digit(16)?));
    digits.iter().try_fold(0, step)
}

/// Reads what follows the last chunk.
fn trailers(buf: &mut BytesMut, seen: &mut usize) -> Result<Piece, Fault> {
    if buf.starts_with(b"\r\n") {
        buf.advance(2);
        return Ok(Piece::End);
    }
    let Some(end) = parse::head_end(buf, seen)? else {
        return match buf.len() > MAX_TRAILERS {
            true => Err(bad("the trailers are too long")),
            false => Ok(Piece::More),
        };
    };
    if end > MAX_TRAILERS {
        return Err(bad("the trailers are too long"));
    }
    let block = buf.split_to(end).freeze();
    Ok(Piece::Trailers(parse::trailers(&block)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a body is read as, and what is left behind it; it comes in pieces of `step` bytes.
    fn read(framing: Framing, wire: &[u8], step: usize) -> Result<(String, String, bool), Fault> {
        let mut decoder = Decoder::new(framing);
        let (mut buf, mut data) = (BytesMut::new(), Vec::new());
        let mut coming = wire.chunks(step);
        loop {
            match decoder.next(&mut buf)? {
                Piece::Data(some) => {
                    assert!(!some.is_empty());
                    data.extend_from_slice(&some);
                }
                Piece::Trailers(trailers) => {
                    for (name, value) in &trailers {
                        data.extend(format!("[{name}={}]", value.to_str().expect("text")).bytes());
                    }
                }
                Piece::End => break,
                Piece::More => match coming.next() {
                    Some(more) => buf.extend_from_slice(more),
                    None => break,
                },
            }
        }
        let rest: Vec<u8> = buf.iter().chain(coming.flatten()).copied().collect();
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Ok((text(data), text(rest), decoder.is_done()))
    }

    #[test]
    fn bodies_are_read_the_same_however_they_come() {
        for (framing, wire, data, rest, done) in [
            (Framing::Length(5), "helloGET", "hello", "GET", true),
            (Framing::Length(5), "hell", "hell", "", false),
            (Framing::Empty, "GET", "", "GET", true),
            (Framing::UntilClose, "all of it", "all of it", "", false),
            (Framing::Chunked, "5\r\nhello\r\n0\r\n\r\nGET", "hello", "GET", true),
            (Framing::Chunked, "0\r\n\r\n", "", "", true),
            (Framing::Chunked, "000a\r\n0123456789\r\n0000\r\n\r\nx", "0123456789", "x", true),
            (
                Framing::Chunked,
                "1;a=b;c=\"d\"\r\nx\r\nA;\r\n0123456789\r\n0;x\r\n\r\n",
                "x0123456789",
                "",
                true,
            ),
            (Framing::Chunked, "1\r\nx\r\n0\r\nA: b\r\nHost: c\r\n\r\nGET", "x[a=b]", "GET", true),
            (Framing::Chunked, "2\r\n\r\n\r\n0\r\n\r\n\r\n", "\r\n", "\r\n", true),
            (Framing::Chunked, "5\r\nhel", "hel", "", false),
        ] {
            for step in 1..=wire.len() {
                let expected = (data.to_owned(), rest.to_owned(), done);
                assert_eq!(read(framing, wire.as_bytes(), step), Ok(expected), "{wire:?} {step}");
            }
        }
    }

    #[test]
    fn bad_chunks_are_refused_however_they_come() {
        let long_extension = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(MAX_SIZE_LINE));
        let many_extensions = format!("1;{}\r\nx\r\n", "e".repeat(200)).repeat(21);
        let long_trailers = format!("0\r\nA: {}\r\n\r\n", "b".repeat(MAX_TRAILERS));
        let endless_trailers = format!("0\r\nA: {}", "b".repeat(MAX_TRAILERS));
        for wire in [
            "+5\r\nhello\r\n0\r\n\r\n",
            "-5\r\nhello\r\n0\r\n\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            "5 ;a\r\nhello\r\n0\r\n\r\n",
            "5\t\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "5_\r\nhello\r\n0\r\n\r\n",
            "5,5\r\nhello\r\n0\r\n\r\n",
            "\r\nhello\r\n0\r\n\r\n",
            ";a\r\nhello\r\n0\r\n\r\n",
            "g\r\nhello\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5;a\nhello\r\n0\r\n\r\n",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            "5\r\r\nhello\r\n0\r\n\r\n",
            "5;a\0\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhelloX\r\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\r0\r\n\r\n",
            "0\r\nA: b\n\r\n",
            "0\r\n\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\n folded: a\r\n\r\n",
            "10000000000000000\r\nhello",
            "00000000000000005\r\nhello\r\n0\r\n\r\n",
            &long_extension,
            &many_extensions,
            &long_trailers,
            &endless_trailers,
        ] {
            for step in (1..=wire.len()).filter(|step| *step < 40 || *step == wire.len()) {
                assert!(read(Framing::Chunked, wire.as_bytes(), step).is_err(), "{wire:?} {step}");
            }
        }
    }

    #[test]
    fn sizes_go_up_to_64_bits() {
        assert_eq!(hex(b"ffffFFFFffffffff"), Some(u64::MAX));
        let mut decoder = Decoder::new(Framing::Chunked);
        let mut buf = BytesMut::from(&b"ffffffffffffffff\r\nx"[..]);
        assert!(matches!(decoder.next(&mut buf), Ok(Piece::Data(x)) if &x[..] == b"x"));
        let mut decoder = Decoder::new(Framing::Length(u64::MAX));
        let mut buf = BytesMut::from(&b"x"[..]);
        assert!(matches!(decoder.next(&mut buf), Ok(Piece::Data(_))));
        assert_eq!(decoder.left(), Some(u64::MAX - 1));
    }

    #[test]
    fn only_a_body_without_length_ends_with_the_connection() {
        assert!(Decoder::new(Framing::UntilClose).is_end_at_close());
        assert!(Decoder::new(Framing::Empty).is_end_at_close());
        assert!(!Decoder::new(Framing::Length(1)).is_end_at_close());
        assert!(!Decoder::new(Framing::Chunked).is_end_at_close());
    }
}
