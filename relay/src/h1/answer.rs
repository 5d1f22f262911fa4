//! An answer on its way to the client.

use std::any::Any;
use std::future::poll_fn;
use std::task::{Context, Poll};

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, TE};
use http::{Method, Response, StatusCode};
use http_body::Body as _;
use tokio::io::copy_bidirectional;
use tokio::time::Instant;

use super::close::skip_body;
use super::conn::{Conn, Trouble};
use super::encode::{self, Afterwards, Length};
use super::feed::{Feed, Filled};
use super::io::Io;
use super::out::Out;
use super::parse::RequestHead;
use super::server::End;
use crate::body::Body;
use crate::clock::Alarm;
use crate::server::{Live, Stage};
use crate::spare;

/// What of a request matters for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    is_head: bool,
    is_1_1: bool,
    takes_trailers: bool,
    /// Whether another request may come.
    pub(super) keep_alive: bool,
}

impl Asked {
    pub(super) fn new(head: &RequestHead) -> Self {
        Self {
            is_head: head.method == Method::HEAD,
            is_1_1: head.is_1_1,
            takes_trailers: head.headers.get(TE).is_some_and(crate::headers::accepts_trailers),
            keep_alive: head.keep_alive,
        }
    }

    /// What no request can be made of.
    pub(super) fn unknown() -> Self {
        Self { is_head: false, is_1_1: true, takes_trailers: false, keep_alive: false }
    }
}

/// An answer that is being written.
struct Writing {
    feed: Feed,
    out: Out,
    /// Whether the queue may be filled before all in it is written.
    fresh: bool,
    /// Since when the client takes nothing.
    stalled: Option<Instant>,
    alarm: Alarm,
}

/// Writes an answer, and says how the connection goes on.
pub(super) async fn answer<H>(
    conn: &Conn,
    mut response: Response<Body>,
    asked: &Asked,
    live: &Live<H>,
) -> Result<(), End> {
    if let Some((upstream, guards)) = response.body_mut().take_tunnel() {
        return switch(conn, response, (upstream, guards), live).await;
    }
    let body_is_asked = conn.begin_answer();
    let (length, has_body) = length(&response, asked);
    let ends_with_connection = has_body && length == Length::Untold;
    let keep_alive = asked.keep_alive
        && body_is_asked
        && conn.state().trouble.is_none()
        && !ends_with_connection
        && live.is_serving()
        && !says_close(response.headers());
    let afterwards = match (keep_alive, asked.is_1_1) {
        (false, _) => Afterwards::Close,
        (true, true) => Afterwards::Untold,
        (true, false) => Afterwards::KeepAlive,
    };
    let lines = response.body_mut().take_lines();
    let (parts, body) = response.into_parts();
    let feed = match has_body {
        true => Feed::new(body, length, asked.takes_trailers),
        false => Feed::none(),
    };
    let mut writing = Writing::new(feed);
    writing.out.text(|text| {
        let headers = (&parts.headers, &lines);
        encode::response_head(text, parts.status, headers, (length, afterwards));
    });
    spare::put(parts.headers);
    poll_fn(|cx| writing.poll(conn, live, cx)).await?;
    writing.out.put();
    conn.end();
    match skip_body(conn, live).await {
        true if keep_alive => Ok(()),
        true => Err(End::Close),
        false => Err(End::Linger),
    }
}

impl Writing {
    fn new(feed: Feed) -> Self {
        Self { feed, out: Out::take(), fresh: true, stalled: None, alarm: Alarm::default() }
    }

    fn poll<H>(
        &mut self,
        conn: &Conn,
        live: &Live<H>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), End>> {
        if live.stage(cx) == Stage::Abort {
            return Poll::Ready(Err(End::Reset));
        }
        loop {
            let mut waiting = false;
            if self.fresh || self.out.is_empty() {
                self.fresh = false;
                match self.feed.fill(&mut self.out, cx) {
                    Filled::Failed(error) => {
                        tracing::debug!(%error, "an answer breaks off");
                        // What came before it may go out, as far as it does so at once.
                        let _ = conn.poll_write_out(&mut self.out, cx);
                        return Poll::Ready(Err(End::Reset));
                    }
                    Filled::Waiting => waiting = true,
                    Filled::Enough | Filled::Ended => (),
                }
            }
            let before = self.out.len();
            match conn.poll_write_out(&mut self.out, cx) {
                Poll::Ready(Ok(())) => self.stalled = None,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(End::Gone)),
                Poll::Pending if self.is_stuck(before, live, cx) => {
                    return Poll::Ready(Err(End::Reset));
                }
                Poll::Pending => return conn.poll_gone(cx).map(|()| Err(End::Gone)),
            }
            if self.feed.is_ended() {
                return Poll::Ready(Ok(()));
            }
            if waiting {
                return conn.poll_gone(cx).map(|()| Err(End::Gone));
            }
        }
    }

    /// Whether the client has taken nothing for too long, or the call's time is over.
    fn is_stuck<H>(&mut self, before: usize, live: &Live<H>, cx: &mut Context<'_>) -> bool {
        if self.out.len() < before {
            self.stalled = None;
        }
        let since = *self.stalled.get_or_insert_with(Instant::now);
        let limit = since + live.options().write_stall_timeout;
        let limit = self.feed.body.deadline().map_or(limit, |deadline| deadline.min(limit));
        self.alarm.poll(limit, cx).is_ready()
    }
}

/// How the body's length is told, and whether the body is sent.
fn length(response: &Response<Body>, asked: &Asked) -> (Length, bool) {
    let status = response.status();
    let told = told(response.headers());
    let exact = response.body().size_hint().exact();
    let known = told.map_or(Length::Untold, Length::Known);
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        return (Length::Untold, false);
    }
    if status == StatusCode::NOT_MODIFIED {
        return (known, false);
    }
    if asked.is_head {
        let whole = exact.filter(|exact| *exact > 0).map_or(Length::Untold, Length::Known);
        return (if told.is_some() { known } else { whole }, false);
    }
    let length = match exact.or(told) {
        Some(length) => Length::Known(length),
        None if asked.is_1_1 => Length::Chunked,
        None => Length::Untold,
    };
    (length, true)
}

/// The one proper `Content-Length`.
fn told(headers: &HeaderMap) -> Option<u64> {
    let mut all = headers.get_all(CONTENT_LENGTH).iter();
    let (Some(one), None) = (all.next(), all.next()) else { return None };
    one.to_str().ok()?.parse().ok()
}

fn says_close(headers: &HeaderMap) -> bool {
    headers.get(CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}

/// Tells the client of the switch of protocols, then passes bytes on, both ways, until both sides
/// have ended, or one of them broke. One side may end before the other. `_guards` are let go at
/// the end.
async fn switch<H>(
    conn: &Conn,
    mut response: Response<Body>,
    (mut upstream, _guards): (Io, Vec<Box<dyn Any>>),
    live: &Live<H>,
) -> Result<(), End> {
    if !conn.state().decoder.is_done() || conn.state().trouble == Some(Trouble::Gone) {
        // What is left of the request's body is not of the new protocol.
        return Err(End::Reset);
    }
    let lines = response.body_mut().take_lines();
    let mut writing = Writing::new(Feed::none());
    writing.out.text(|text| {
        let status = StatusCode::SWITCHING_PROTOCOLS;
        let untold = (Length::Untold, Afterwards::Switch);
        encode::response_head(text, status, (response.headers(), &lines), untold);
    });
    poll_fn(|cx| writing.poll(conn, live, cx)).await?;
    writing.out.put();
    let mut client = conn.clone();
    tokio::select! {
        // Whoever is still there sees the other side's connection close.
        _ = copy_bidirectional(&mut client, &mut upstream) => Err(End::Gone),
        _ = live.reached(Stage::Abort) => Err(End::Reset),
    }
}
