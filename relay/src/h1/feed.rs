//! A body on its way out, framed as its head has told.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame};

use super::encode::{self, Length};
use super::out::Out;
use crate::body::Body;
use crate::error::BodyError;

/// Bytes that are gathered before they are written.
const GATHERED: usize = 64 << 10;

/// A body, and what is still to be sent of it.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) body: Body,
    framing: Framing,
    trailers: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Left(u64),
    Chunked,
    Raw,
    Ended,
}

/// How far filling got.
#[derive(Debug)]
pub(crate) enum Filled {
    /// There is enough to be written first.
    Enough,
    /// There is no more of the body yet.
    Waiting,
    /// Everything is there.
    Ended,
    Failed(BodyError),
}

impl Feed {
    /// A body whose end is told by `length`. With `Untold` it is the connection's end that tells.
    pub(crate) fn new(body: Body, length: Length, trailers: bool) -> Self {
        let framing = match length {
            Length::Untold => Framing::Raw,
            Length::Known(length) => Framing::Left(length),
            Length::Chunked => Framing::Chunked,
        };
        Self { body, framing, trailers }
    }

    /// No body, although there may be one: it is dropped.
    pub(crate) fn none() -> Self {
        Self { body: Body::empty(), framing: Framing::Ended, trailers: false }
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.framing == Framing::Ended
    }

    /// Puts as much of the body into `out` as is there.
    pub(crate) fn fill(&mut self, out: &mut Out, cx: &mut Context<'_>) -> Filled {
        while !self.is_ended() {
            if out.len() >= GATHERED {
                return Filled::Enough;
            }
            let added = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return Filled::Waiting,
                Poll::Ready(None) => self.end(out),
                Poll::Ready(Some(frame)) => frame.and_then(|frame| self.add(frame, out)),
            };
            if let Err(error) = added {
                return Filled::Failed(error);
            }
        }
        Filled::Ended
    }

    fn add(&mut self, frame: Frame<Bytes>, out: &mut Out) -> Result<(), BodyError> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                if self.framing == Framing::Chunked {
                    let trailers = frame.trailers_ref().filter(|_| self.trailers);
                    encode::last_chunk(out, trailers);
                    self.framing = Framing::Ended;
                }
                return Ok(());
            }
        };
        match &mut self.framing {
            Framing::Left(left) => {
                let less = left.checked_sub(data.len() as u64);
                *left = less.ok_or_else(|| mismatch("longer"))?;
                out.data(data);
            }
            Framing::Chunked => encode::chunk(out, data),
            Framing::Raw => out.data(data),
            Framing::Ended => (),
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Out) -> Result<(), BodyError> {
        match self.framing {
            Framing::Left(1..) => return Err(mismatch("shorter")),
            Framing::Chunked => encode::last_chunk(out, None),
            _ => (),
        }
        self.framing = Framing::Ended;
        Ok(())
    }
}

fn mismatch(how: &str) -> BodyError {
    BodyError::Source(format!("the body is {how} than its Content-Length").into())
}
