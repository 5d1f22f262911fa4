//! What is made of bytes that come over a connection, without a connection: for the fuzzer.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use crate::h1::decode::{Decoder, Piece};
use crate::h1::parse::{self, Framing};

/// Longest target that is taken.
const MAX_TARGET: usize = 4 << 10;

/// The head of a request, as it was read.
#[derive(Debug)]
pub struct Head {
    /// How many bytes it is long.
    pub end: usize,
    /// The method.
    pub method: String,
    /// The target.
    pub target: String,
    /// The headers.
    pub headers: HeaderMap,
    /// How long the body is, if the head tells.
    pub length: Option<u64>,
    /// Whether the body comes in chunks.
    pub chunked: bool,
}

/// What a chunked body was read as.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunked {
    /// It is refused.
    Refused,
    /// More has to come.
    Open,
    /// Its data, and how many bytes it took.
    Whole(Vec<u8>, usize),
}

/// Reads the head at the start of the bytes; `None` when it is refused, or not all there.
pub fn request_head(bytes: &[u8]) -> Option<Head> {
    let end = parse::head_end(bytes, &mut 0).ok()??;
    let head = parse::request(&Bytes::copy_from_slice(&bytes[..end]), MAX_TARGET).ok()?;
    let length = match head.framing {
        Framing::Length(length) => Some(length),
        Framing::Empty => Some(0),
        Framing::Chunked | Framing::UntilClose => None,
    };
    Some(Head {
        end,
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: head.headers,
        length,
        chunked: head.framing == Framing::Chunked,
    })
}

/// Reads the chunked body at the start of the bytes, which come in pieces.
pub fn chunked(bytes: &[u8], piece: usize) -> Chunked {
    let mut decoder = Decoder::new(Framing::Chunked);
    let (mut buf, mut data, mut came) = (BytesMut::new(), Vec::new(), 0);
    let mut pieces = bytes.chunks(piece);
    loop {
        match decoder.next(&mut buf) {
            Err(_) => return Chunked::Refused,
            Ok(Piece::Data(some)) => data.extend_from_slice(&some),
            Ok(Piece::Trailers(_)) => (),
            Ok(Piece::End) => return Chunked::Whole(data, came - buf.len()),
            Ok(Piece::More) => match pieces.next() {
                None => return Chunked::Open,
                Some(more) => {
                    came += more.len();
                    buf.extend_from_slice(more);
                }
            },
        }
    }
}
