//! One call on one upstream connection.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Frame;

use super::decode::{Decoder, Piece};
use super::io::Io;
use super::out::Out;
use super::parse::{self, Fault, ResponseHead};
use super::pump::Pump;
use crate::body::Body;
use crate::call::Call;
use crate::error::{BodyError, SendError, WireError};
use crate::headers;
use crate::pool::Slot;
use crate::stream::Stream;

/// Most bytes of an answer's head.
const MAX_HEAD: usize = 128 << 10;

/// A connection to an upstream. It belongs to one call at a time: to whoever sends it, then to
/// the body of the answer. No task of its own is behind it.
#[derive(Debug)]
pub(crate) struct Upstream {
    io: Io,
    out: Out,
    /// What is left of the request.
    pump: Option<Pump>,
    decoder: Decoder,
    keep_alive: bool,
    /// Where it goes after the call.
    home: Option<Rc<Slot>>,
}

/// What came of sending a call.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are answers, and a box for each costs more"
)]
pub(crate) enum Sent {
    Answer(Response<Body>),
    /// The connection broke before any byte of an answer.
    Unanswered {
        source: WireError,
        /// Whether any byte of the request was taken.
        written: bool,
    },
    Failed(SendError),
}

/// Why there is no answer.
enum Broken {
    /// The upstream, or the connection to it.
    Wire(WireError),
    /// The request's body.
    Body(BodyError),
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Broken::Wire(WireError::Malformed(fault.text))
    }
}

/// A call that is being sent.
struct Exchange<'a> {
    up: Box<Upstream>,
    call: &'a Call,
    /// How much of the answer's head was looked at.
    seen: usize,
    /// Whether any byte of an answer has come.
    answered: bool,
}

impl Upstream {
    pub(crate) fn new(stream: Stream) -> Box<Self> {
        Box::new(Self {
            io: Io::new(stream),
            out: Out::default(),
            pump: None,
            decoder: Decoder::Done,
            keep_alive: false,
            home: None,
        })
    }

    /// Whether the other side has said nothing since the last call, not even goodbye.
    pub(crate) fn is_quiet(&self) -> bool {
        self.io.is_quiet()
    }

    /// Sends a call; the connection goes to `home` at the end of the answer's body.
    pub(crate) async fn send(mut self: Box<Self>, call: &Call, body: Body, home: Rc<Slot>) -> Sent {
        self.home = Some(home);
        self.out = Out::take();
        self.pump = Some(Pump::start(call, body, &mut self.out));
        let mut exchange = Exchange { up: self, call, seen: 0, answered: false };
        match poll_fn(|cx| exchange.poll(cx)).await {
            Ok(head) => exchange.answer(head),
            Err(Broken::Body(error)) => Sent::Failed(SendError::RequestBody(error)),
            Err(Broken::Wire(source)) if exchange.answered => {
                Sent::Failed(SendError::Broken(source))
            }
            Err(Broken::Wire(source)) => {
                Sent::Unanswered { source, written: exchange.up.out.any_written() }
            }
        }
    }

    /// Reads the answer's body, and sends what is left of the request meanwhile.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Err(error) = self.drive(cx) {
            return Poll::Ready(Some(Err(error)));
        }
        ready!(self.poll_piece(cx))
            .map_err(BodyError::Broken)
            .transpose()
            .map_or_else(|| Poll::Ready(None), |frame| Poll::Ready(Some(frame)))
    }

    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame<Bytes>>, WireError>> {
        loop {
            match self.decoder.next(&mut self.io.buf) {
                Err(fault) => return Poll::Ready(Err(WireError::Malformed(fault.text))),
                Ok(Piece::Data(data)) => return Poll::Ready(Ok(Some(Frame::data(data)))),
                Ok(Piece::Trailers(all)) => return Poll::Ready(Ok(Some(Frame::trailers(all)))),
                Ok(Piece::End) => return Poll::Ready(Ok(None)),
                Ok(Piece::More) => (),
            }
            if ready!(self.io.poll_fill(cx))? == 0 {
                return Poll::Ready(match self.decoder.is_end_at_close() {
                    true => Ok(None),
                    false => Err(WireError::Closed),
                });
            }
        }
    }

    /// Sends what is left of the request.
    fn drive(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        let Some(pump) = &mut self.pump else { return Ok(()) };
        if let Poll::Ready(ended) = pump.poll(&mut self.io, &mut self.out, cx) {
            self.pump = None;
            return ended;
        }
        Ok(())
    }

    /// Whether all of the answer's body was read.
    pub(crate) fn is_end(&self) -> bool {
        self.decoder.is_done()
    }

    /// How much of the answer's body is to come, if that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        self.decoder.left()
    }

    /// The answer's body. A short one came along with the head, and the connection is free.
    fn into_body(mut self: Box<Self>) -> Body {
        let here = self.io.buf.len() as u64;
        if self.pump.is_some() || self.decoder.left().is_none_or(|left| left > here) {
            return Body::upstream(self);
        }
        let body = match self.decoder.next(&mut self.io.buf) {
            Ok(Piece::Data(data)) => Body::full(data),
            _ => Body::empty(),
        };
        self.give_back();
        body
    }

    /// The call is over: the next one may have the connection, if it is fit for one.
    pub(crate) fn give_back(mut self: Box<Self>) {
        let Some(home) = self.home.take() else { return };
        let clean = self.pump.is_none() && self.decoder.is_done() && self.io.buf.is_empty();
        if clean && self.keep_alive {
            self.io.release();
            std::mem::take(&mut self.out).put();
            home.put(self);
        }
    }
}

impl Exchange<'_> {
    /// Sends the request, and reads up to the end of the answer's head.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Broken>> {
        self.up.drive(cx).map_err(Broken::Body)?;
        loop {
            while let Some(head) = self.head()? {
                let status = head.status;
                if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                    return Poll::Ready(Ok(head));
                }
                if let (StatusCode::CONTINUE, Some(pump)) = (status, &mut self.up.pump) {
                    pump.open();
                    self.up.drive(cx).map_err(Broken::Body)?;
                }
            }
            let read = ready!(self.up.io.poll_fill(cx)).map_err(|e| Broken::Wire(e.into()))?;
            if read == 0 {
                return Poll::Ready(Err(Broken::Wire(WireError::Closed)));
            }
            self.answered = true;
        }
    }

    /// The next head, if it is there.
    fn head(&mut self) -> Result<Option<ResponseHead>, Broken> {
        let buf = &mut self.up.io.buf;
        let end = parse::head_end(buf, &mut self.seen)?;
        if end.unwrap_or(buf.len()) > MAX_HEAD {
            let text = "the head is too long";
            return Err(Broken::Wire(WireError::Malformed(text.into())));
        }
        let Some(end) = end else { return Ok(None) };
        self.seen = 0;
        let head = buf.split_to(end).freeze();
        Ok(Some(parse::response(&head, &self.call.parts.method)?))
    }

    /// Makes an answer that is fit for the client.
    fn answer(self, head: ResponseHead) -> Sent {
        let mut up = self.up;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        let protocol = headers::upgrade_wanted(response.headers());
        headers::strip_hop_by_hop(response.headers_mut());
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let Some(protocol) = protocol.filter(|_| self.call.upgrade) else {
                return Sent::Failed(SendError::UnaskedUpgrade);
            };
            headers::set_upgrade(response.headers_mut(), protocol);
            *response.body_mut() = Body::tunnel(up.io);
            return Sent::Answer(response);
        }
        up.keep_alive = head.keep_alive;
        up.decoder = Decoder::new(head.framing);
        // An answer instead of `100 Continue`: the body is not wanted. Reading it now would say
        // the opposite to the client.
        if up.pump.take_if(|pump| pump.is_held()).is_some() {
            up.keep_alive = false;
        }
        *response.body_mut() = up.into_body();
        Sent::Answer(response)
    }
}
