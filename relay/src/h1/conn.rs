//! One accepted connection, as its own task and the body of its request share it.

use std::cell::{RefCell, RefMut};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::decode::{Decoder, Piece};
use super::floor::{BodyRate, Floor};
use super::io::Io;
use super::out::Out;
use super::parse::{Fault, RequestHead};
use crate::body::Body;
use crate::error::{BodyError, WireError};

/// Lets the client send its body.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Most of a body that is read before anybody asks for it.
const READ_AHEAD: usize = 64 << 10;

/// An accepted connection. Borrows last no longer than one poll.
#[derive(Clone, Debug)]
pub(super) struct Conn(Rc<RefCell<State>>);

#[derive(Debug)]
pub(super) struct State {
    pub(super) io: Io,
    /// Of the request's body.
    pub(super) decoder: Decoder,
    /// Counts requests, so that the body of an earlier one reads nothing of a later one.
    request: u64,
    /// What is to be sent before the body is read: `100 Continue`, or the rest of it.
    interim: &'static [u8],
    floor: Option<Floor>,
    rate: Option<BodyRate>,
    /// What went wrong while the request's body was read.
    pub(super) trouble: Option<Trouble>,
    /// The task of the connection.
    task: Option<Waker>,
    /// Who waits for the body, if it is another task.
    reader: Option<Waker>,
}

/// What can go wrong while a request's body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The client has gone away.
    Gone,
    /// It sends too slowly.
    TooSlow,
    /// It sent something that is no body.
    Malformed,
}

/// A request's body, read from its connection.
#[derive(Debug)]
pub(crate) struct RequestBody {
    conn: Conn,
    request: u64,
}

impl Conn {
    pub(super) fn new(io: Io, rate: Option<BodyRate>) -> Self {
        Self(Rc::new(RefCell::new(State {
            io,
            decoder: Decoder::Done,
            request: 0,
            interim: &[],
            floor: None,
            rate,
            trouble: None,
            task: None,
            reader: None,
        })))
    }

    pub(super) fn state(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }

    /// The connection itself, when nobody else has it.
    pub(super) fn into_io(self) -> Option<Io> {
        Rc::into_inner(self.0).map(|state| state.into_inner().io)
    }

    /// A request begins; this is its body.
    pub(super) fn begin(&self, head: &RequestHead) -> Body {
        let mut state = self.state();
        state.request += 1;
        state.decoder = Decoder::new(head.framing);
        if state.decoder.is_done() {
            return Body::empty();
        }
        // Who has begun to send the body does not wait.
        let waits = head.expects_continue && state.io.buf.is_empty();
        state.interim = if waits { CONTINUE } else { &[] };
        state.floor = state.rate.map(Floor::new);
        Body::request(RequestBody { conn: self.clone(), request: state.request })
    }

    /// The answer begins, so that `100 Continue` would come too late. `false` when the client may
    /// or may not send the body then.
    pub(super) fn begin_answer(&self) -> bool {
        let mut state = self.state();
        let asked = state.interim.len() < CONTINUE.len();
        if !asked {
            state.interim = &[];
        }
        asked
    }

    /// The request is answered; what is left of its body is for the connection itself to read.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.request += 1;
        (state.floor, state.reader, state.task) = (None, None, None);
    }

    /// Ready when the client has gone away. To learn that, what it sends is read meanwhile: some of
    /// the body, if nobody else reads it, and a little of the next request.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let state = &mut *self.state();
        if state.trouble == Some(Trouble::Gone) {
            return Poll::Ready(());
        }
        let waits_for_body = !state.decoder.is_done();
        if waits_for_body && state.is_read_elsewhere(cx) {
            return Poll::Pending;
        }
        loop {
            let ahead = state.io.buf.len();
            if ahead >= READ_AHEAD || (ahead > 0 && !waits_for_body) {
                return Poll::Pending;
            }
            let Ok(read @ 1..) = ready!(state.io.poll_fill(cx)) else {
                state.trouble = Some(Trouble::Gone);
                return Poll::Ready(());
            };
            if let Some(reader) = state.reader.as_ref().filter(|_| waits_for_body) {
                if let Some(floor) = &mut state.floor {
                    floor.came(read);
                }
                // It has looked already, in this very turn.
                reader.wake_by_ref();
            }
        }
    }

    pub(super) fn poll_write_out(
        &self,
        out: &mut Out,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let state = &mut *self.state();
        ready!(state.poll_interim(cx))?;
        state.io.poll_write_out(out, cx)
    }
}

impl State {
    /// Whether another task waits for the body, and so learns of the client's end first.
    fn is_read_elsewhere(&mut self, cx: &Context<'_>) -> bool {
        note(&mut self.task, cx);
        self.reader.as_ref().is_some_and(|reader| !reader.will_wake(cx.waker()))
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, BodyError>> {
        ready!(self.poll_interim(cx)).map_err(|e| self.broken(e.into()))?;
        loop {
            match self.decoder.next(&mut self.io.buf) {
                Ok(Piece::Data(data)) => return Poll::Ready(Ok(Some(Frame::data(data)))),
                Ok(Piece::Trailers(all)) => return Poll::Ready(Ok(Some(Frame::trailers(all)))),
                Ok(Piece::End) => return Poll::Ready(Ok(None)),
                Err(fault) => return Poll::Ready(Err(self.malformed(fault))),
                Ok(Piece::More) => (),
            }
            match self.io.poll_fill(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.broken(WireError::Closed))),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.broken(error.into()))),
                Poll::Ready(Ok(read)) => {
                    if let Some(floor) = &mut self.floor {
                        floor.came(read);
                    }
                }
                Poll::Pending => {
                    let Some(floor) = &mut self.floor else { return Poll::Pending };
                    ready!(floor.poll_wait(cx));
                    self.trouble = Some(Trouble::TooSlow);
                    let rate = self.rate.map_or(0, |rate| rate.bytes_per_second);
                    return Poll::Ready(Err(BodyError::TooSlow(rate)));
                }
            }
        }
    }

    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.interim.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, self.interim))?;
            self.interim.advance(written);
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn broken(&mut self, error: WireError) -> BodyError {
        self.trouble = Some(Trouble::Gone);
        BodyError::Broken(error)
    }

    fn malformed(&mut self, fault: Fault) -> BodyError {
        self.trouble = Some(Trouble::Malformed);
        BodyError::Broken(WireError::Malformed(fault.text))
    }

    /// The body has ended or is not wanted any more: the connection's task looks after the client
    /// again.
    fn hand_over(&mut self) {
        let reader = self.reader.take();
        if let Some(task) = self.task.take()
            && reader.is_some_and(|reader| !reader.will_wake(&task))
        {
            task.wake();
        }
    }
}

/// Notes who is to be woken.
fn note(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}

impl RequestBody {
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.conn.state();
        if state.request != self.request {
            return Poll::Ready(Some(Err(BodyError::Broken(WireError::Closed))));
        }
        let Poll::Ready(piece) = state.poll_body(cx) else {
            note(&mut state.reader, cx);
            return Poll::Pending;
        };
        if piece.is_err() || state.decoder.is_done() {
            state.hand_over();
        }
        Poll::Ready(piece.transpose())
    }

    /// Whether all of it was read.
    pub(crate) fn is_end(&self) -> bool {
        let state = self.conn.state();
        state.request == self.request && state.decoder.is_done()
    }

    /// How much is to come, if that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        self.conn.state().decoder.left()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let mut state = self.conn.state();
        if state.request == self.request {
            state.hand_over();
        }
    }
}

/// The bare connection, after a switch of protocols.
impl AsyncRead for Conn {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.state().io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Conn {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.state().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.state().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.state().io).poll_shutdown(cx)
    }
}
