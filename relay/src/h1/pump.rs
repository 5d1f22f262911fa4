//! A request on its way to an upstream.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Method;
use http::header::{CONTENT_LENGTH, EXPECT, HeaderMap};
use http_body::Body as _;
use tokio::time::Instant;

use super::encode::{self, Length};
use super::feed::{Feed, Filled};
use super::io::Io;
use super::out::Out;
use crate::body::Body;
use crate::call::Call;
use crate::clock::Alarm;
use crate::error::BodyError;

/// How long a body is held back for an upstream that does not answer `Expect: 100-continue`;
/// such upstreams exist, and RFC 9110 10.1.1 says not to wait for ever.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// Sends a request's body, its head being in the queue already.
#[derive(Debug)]
pub(crate) struct Pump {
    feed: Feed,
    /// Until when the body is held back, unless the upstream asks for it.
    held: Option<(Instant, Alarm)>,
    /// Whether the queue may be filled before all in it is written.
    fresh: bool,
    /// Whether the upstream takes no more.
    refused: bool,
}

impl Pump {
    /// Puts the request's head into `out`.
    pub(crate) fn start(call: &Call, body: Body, out: &mut Out) -> Self {
        let (parts, lines) = (&call.parts, &call.lines);
        let length = length(&parts.method, &parts.headers, &body);
        out.text(|text| {
            let line = (&parts.method, &parts.uri);
            encode::request_head(text, line, (&parts.headers, lines), length);
        });
        let empty = body.is_end_stream();
        // Reading the body is what makes our server say `100 Continue` to the client, so the
        // upstream's decision reaches it.
        let held = (!empty && expects_continue(&parts.headers))
            .then(|| (Instant::now() + CONTINUE_WAIT, Alarm::default()));
        let feed = if empty { Feed::none() } else { Feed::new(body, length, true) };
        Self { feed, held, fresh: true, refused: false }
    }

    /// Ready when all is written, which never happens when the upstream takes no more.
    pub(crate) fn poll(
        &mut self,
        io: &mut Io,
        out: &mut Out,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), BodyError>> {
        loop {
            let mut waiting = self.poll_held(cx);
            if !waiting && (self.fresh || out.is_empty()) {
                self.fresh = false;
                match self.feed.fill(out, cx) {
                    Filled::Failed(error) => return Poll::Ready(Err(error)),
                    Filled::Waiting => waiting = true,
                    Filled::Enough | Filled::Ended => (),
                }
            }
            if self.refused {
                return Poll::Pending;
            }
            if ready!(io.poll_write_out(out, cx)).is_err() {
                // It may have answered all the same, and that is what counts.
                self.refused = true;
                return Poll::Pending;
            }
            if self.feed.is_ended() {
                return Poll::Ready(Ok(()));
            }
            if waiting {
                return Poll::Pending;
            }
        }
    }

    /// The upstream wants the body.
    pub(crate) fn open(&mut self) {
        self.held = None;
    }

    /// Whether the body is held back.
    pub(crate) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether the body is to be held back still.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some((until, alarm)) = &mut self.held
            && alarm.poll(*until, cx).is_ready()
        {
            self.held = None;
        }
        self.is_held()
    }
}

/// How the body's length is told: an empty one of a request that usually has one is told, too.
fn length(method: &Method, headers: &HeaderMap, body: &Body) -> Length {
    if body.is_end_stream() {
        let usual = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        return match usual || headers.contains_key(CONTENT_LENGTH) {
            true => Length::Known(0),
            false => Length::Untold,
        };
    }
    body.size_hint().exact().map_or(Length::Chunked, Length::Known)
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
