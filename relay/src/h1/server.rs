//! The life of an accepted connection: request, answer, request, answer.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, StatusCode, Version};
use tokio::time::Instant;

use super::answer::{Asked, answer};
use super::close::{close, linger};
use super::conn::{Conn, Trouble};
use super::io::Io;
use super::parse::{self, Fault, RequestHead};
use crate::body::Body;
use crate::clock::Alarm;
use crate::http2::Opening;
use crate::server::{Live, ServeOptions, Stage, refusal};
use crate::stream::Peer;

/// How long a connection that was accepted at the last moment may take to send its request.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// After this silence a connection gives up memory that it had for a call.
const REST: Duration = Duration::from_millis(500);

/// Why an exchange was the connection's last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It ends properly.
    Close,
    /// It ends properly, but the client may still be sending.
    Linger,
    /// The client must not take what it got for the whole.
    Reset,
    /// The client is gone.
    Gone,
}

/// What comes next on a connection.
enum Next {
    /// Nothing for a while.
    Rest,
    Request(Box<RequestHead>),
    Refuse(Fault),
    Http2,
    End(End),
}

/// Serves the requests of one connection until it ends. A client that speaks HTTP/2 is left alone,
/// and its connection returned.
pub(crate) async fn serve_connection<H, F>(io: Io, peer: Peer, live: &Live<H>) -> Option<Io>
where
    H: Fn(Request<Body>, Peer) -> F + 'static,
    F: Future<Output = Response<Body>> + 'static,
{
    let conn = Conn::new(io, live.options().min_body_rate);
    let mut waiting = Waiting { is_first: true, ..Waiting::default() };
    // A call needs much memory. It is kept for the next one, but not for long.
    let mut room = None;
    let end = loop {
        let next = poll_fn(|cx| waiting.poll(&conn, live, cx)).await;
        let over = match next {
            Next::Rest => {
                room = None;
                continue;
            }
            Next::Request(head) => {
                let room = room.get_or_insert_with(|| Box::pin(None));
                room.set(Some(exchange(conn.clone(), *head, peer, live)));
                let over = poll_fn(|cx| match room.as_mut().as_pin_mut() {
                    Some(exchange) => exchange.poll(cx),
                    None => Poll::Ready(Err(End::Gone)),
                });
                let over = over.await;
                room.set(None);
                over
            }
            Next::Refuse(fault) => Box::pin(refuse(&conn, fault, live)).await,
            Next::Http2 => return conn.into_io(),
            Next::End(end) => Err(end),
        };
        if let Err(end) = over {
            break end;
        }
        conn.state().io.release();
        let alarm = std::mem::take(&mut waiting.alarm);
        waiting = Waiting { alarm, ..Waiting::default() };
    };
    match end {
        End::Close => close(&conn).await,
        End::Linger => Box::pin(linger(&conn, live)).await,
        End::Reset => conn.state().io.reset_on_close(),
        End::Gone => (),
    }
    None
}

/// A connection between two requests.
#[derive(Default)]
struct Waiting {
    /// How much of the head was looked at.
    seen: usize,
    /// When the wait, or the head, has begun.
    since: Option<Instant>,
    in_head: bool,
    skipped_line: bool,
    /// Whether there was no request yet.
    is_first: bool,
    /// Whether nothing has come for a while.
    rested: bool,
    /// When that has taken too long. It is set anew for each wait, and never cleared between.
    alarm: Alarm,
}

impl Waiting {
    fn poll<H>(&mut self, conn: &Conn, live: &Live<H>, cx: &mut Context<'_>) -> Poll<Next> {
        let stage = live.stage(cx);
        if stage == Stage::Abort {
            return Poll::Ready(Next::End(End::Reset));
        }
        let options = live.options();
        let state = &mut *conn.state();
        loop {
            if !state.io.buf.is_empty() {
                match self.next(&mut state.io, options) {
                    Ok(None) => (),
                    Ok(Some(next)) => return Poll::Ready(next),
                    Err(fault) => return Poll::Ready(Next::Refuse(fault)),
                }
            }
            match state.io.poll_fill(cx) {
                Poll::Ready(Ok(1..)) => (),
                Poll::Ready(_) => return Poll::Ready(Next::End(End::Gone)),
                Poll::Pending => break,
            }
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let limit = match (self.in_head, stage, self.is_first) {
            (true, ..) => options.header_timeout,
            // Who waited to be accepted has just sent its request, or is about to.
            (false, Stage::Drain, true) => FIRST_REQUEST.min(options.idle_timeout),
            (false, Stage::Drain, false) => return Poll::Ready(Next::End(End::Close)),
            (false, ..) => options.idle_timeout,
        };
        if !self.rested && !self.in_head && limit > REST {
            std::task::ready!(self.alarm.poll(since + REST, cx));
            self.rested = true;
            return Poll::Ready(Next::Rest);
        }
        self.alarm.poll(since + limit, cx).map(|()| Next::End(End::Close))
    }

    /// What the bytes that have come are, if that is clear.
    fn next(&mut self, io: &mut Io, options: &ServeOptions) -> Result<Option<Next>, Fault> {
        if self.is_first {
            match Opening::of(&io.buf) {
                Opening::Http2 => return Ok(Some(Next::Http2)),
                Opening::Unclear => {
                    self.begin();
                    return Ok(None);
                }
                Opening::Other => (),
            }
        }
        Ok(self.head(io, options)?.map(|head| Next::Request(Box::new(head))))
    }

    /// Some of a head has come.
    fn begin(&mut self) {
        if !self.in_head {
            (self.in_head, self.since) = (true, None);
        }
    }

    /// The head, if all of it is there.
    fn head(&mut self, io: &mut Io, options: &ServeOptions) -> Result<Option<RequestHead>, Fault> {
        // Some clients end a body with a line end that does not belong to it (RFC 9112 2.2).
        if !self.skipped_line && self.seen == 0 && io.buf.starts_with(b"\r\n") {
            self.skipped_line = true;
            let _ = io.buf.split_to(2);
        }
        if io.buf.is_empty() || &io.buf[..] == b"\r" {
            return Ok(None);
        }
        self.begin();
        let end = parse::head_end(&io.buf, &mut self.seen)?;
        let max_target = options.max_uri_bytes;
        let Some(end) = end else {
            parse::check_partial(&io.buf, options.max_head_bytes, max_target)?;
            return Ok(None);
        };
        parse::check_size(end, options.max_head_bytes)?;
        let head = io.buf.split_to(end).freeze();
        parse::request(&head, max_target).map(Some)
    }
}

/// Answers one request.
async fn exchange<H, F>(
    conn: Conn,
    head: RequestHead,
    peer: Peer,
    live: &Live<H>,
) -> Result<(), End>
where
    H: Fn(Request<Body>, Peer) -> F + 'static,
    F: Future<Output = Response<Body>> + 'static,
{
    let mut asked = Asked::new(&head);
    let mut request = Request::new(conn.begin(&head));
    *request.method_mut() = head.method;
    *request.uri_mut() = head.uri;
    *request.version_mut() = if head.is_1_1 { Version::HTTP_11 } else { Version::HTTP_10 };
    *request.headers_mut() = head.headers;
    let response = {
        let mut call = pin!(live.call(request, peer));
        poll_fn(|cx| {
            if live.stage(cx) == Stage::Abort {
                return Poll::Ready(Err(End::Reset));
            }
            let polled = call.as_mut().poll(cx);
            if conn.state().trouble == Some(Trouble::TooSlow) {
                // Whatever the handler makes of it, this is what happened.
                return Poll::Ready(Ok(None));
            }
            match polled {
                Poll::Ready(response) => Poll::Ready(Ok(Some(response))),
                Poll::Pending => conn.poll_gone(cx).map(|()| Err(End::Gone)),
            }
        })
        .await?
    };
    let response = response.unwrap_or_else(|| {
        asked.keep_alive = false;
        refusal(StatusCode::REQUEST_TIMEOUT, "the request body came too slowly")
    });
    answer(&conn, response, &asked, live).await
}

/// Answers what is no proper request.
async fn refuse<H>(conn: &Conn, fault: Fault, live: &Live<H>) -> Result<(), End> {
    let response = refusal(fault.status, fault.text);
    match answer(conn, response, &Asked::unknown(), live).await {
        // What follows on the connection cannot be trusted.
        Ok(()) | Err(End::Close) => Err(End::Linger),
        Err(end) => Err(end),
    }
}
