//! A request's body that can be sent again, as long as it is short.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::body::Body;
use crate::error::BodyError;

/// Most bytes that are kept of a body so that it can be sent again. What is kept is what was read
/// from the client, not a copy of it.
const REPLAY_BYTES: usize = 64 << 10;

/// A body that is read through [`Reader`]s, one after the other, each from the start.
#[derive(Clone)]
pub(crate) struct Replay(Rc<RefCell<Shared>>);

struct Shared {
    source: Body,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    trailers: Option<HeaderMap>,
    /// What was read and is no longer kept cannot be read again.
    lost: bool,
    ended: bool,
    /// Only the newest reader may go on.
    newest: u64,
}

/// One pass over a [`Replay`].
pub(crate) struct Reader {
    shared: Rc<RefCell<Shared>>,
    number: u64,
    at: usize,
    told_trailers: bool,
}

impl Replay {
    pub(crate) fn new(source: Body) -> Self {
        Self(Rc::new(RefCell::new(Shared {
            source,
            kept: Vec::new(),
            kept_bytes: 0,
            trailers: None,
            lost: false,
            ended: false,
            newest: 0,
        })))
    }

    /// Reads from the start; earlier readers fail from now on. `None` when the start is lost.
    pub(crate) fn read(&self) -> Option<Reader> {
        let mut shared = self.0.borrow_mut();
        if shared.lost {
            return None;
        }
        shared.newest += 1;
        let (number, shared) = (shared.newest, Rc::clone(&self.0));
        Some(Reader { shared, number, at: 0, told_trailers: false })
    }

    /// Whether [`Replay::read`] would start a reader.
    pub(crate) fn is_whole(&self) -> bool {
        !self.0.borrow().lost
    }
}

impl Shared {
    fn keep(&mut self, data: &Bytes) {
        self.kept_bytes += data.len();
        if self.lost || self.kept_bytes > REPLAY_BYTES {
            self.lost = true;
            self.kept = Vec::new();
        } else {
            self.kept.push(data.clone());
        }
    }

    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = ready!(Pin::new(&mut self.source).poll_frame(cx));
        match &polled {
            Some(Ok(frame)) => match (frame.data_ref(), frame.trailers_ref()) {
                (Some(data), _) => self.keep(data),
                (None, trailers) => self.trailers = trailers.cloned(),
            },
            Some(Err(_)) => self.lost = true,
            None => self.ended = true,
        }
        Poll::Ready(polled)
    }
}

impl HttpBody for Reader {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let mut shared = this.shared.borrow_mut();
        if this.number != shared.newest {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        if let Some(data) = shared.kept.get(this.at) {
            this.at += 1;
            return Poll::Ready(Some(Ok(Frame::data(data.clone()))));
        }
        if let Some(trailers) = shared.trailers.clone().filter(|_| !this.told_trailers) {
            this.told_trailers = true;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        let polled = ready!(shared.poll_source(cx));
        this.at = shared.kept.len();
        this.told_trailers |= matches!(&polled, Some(Ok(frame)) if frame.is_trailers());
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.shared.borrow();
        let untold = shared.trailers.is_some() && !self.told_trailers;
        self.at >= shared.kept.len() && !untold && (shared.ended || shared.source.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let shared = self.shared.borrow();
        let kept: u64 = shared.kept.iter().skip(self.at).map(|data| data.len() as u64).sum();
        match shared.source.size_hint().exact() {
            // A body with trailers must not be sent with its length.
            _ if shared.trailers.is_some() => SizeHint::default(),
            Some(rest) => SizeHint::with_exact(kept + rest),
            None => SizeHint::default(),
        }
    }
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("whole", &self.is_whole()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    fn pieces(pieces: Vec<Frame<Bytes>>) -> Body {
        let pieces = pieces.into_iter().map(Ok::<_, BodyError>);
        Body::boxed(StreamBody::new(futures_util::stream::iter(pieces)))
    }

    fn data(text: &str) -> Frame<Bytes> {
        Frame::data(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[tokio::test]
    async fn what_was_read_is_read_again_and_then_the_rest() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", http::HeaderValue::from_static("3"));
        let last = Frame::trailers(trailers.clone());
        let replay = Replay::new(pieces(vec![data("ab"), data("c"), last]));
        let mut first = replay.read().expect("a reader");
        let frame = first.frame().await.expect("a frame").expect("data");
        assert_eq!(frame.into_data().expect("data"), "ab");
        for _ in 0..2 {
            assert_eq!(replay.read().expect("a reader").size_hint().exact(), None);
            let all = replay.read().expect("a reader").collect().await.expect("all of it");
            assert_eq!(all.trailers(), Some(&trailers));
            assert_eq!(all.to_bytes(), "abc");
        }
        let error = first.frame().await.expect("an answer").expect_err("a newer one reads");
        assert!(matches!(error, BodyError::Superseded), "{error}");
    }

    #[tokio::test]
    async fn a_long_body_goes_through_once() {
        let piece = "x".repeat(REPLAY_BYTES / 2 + 1);
        let replay = Replay::new(pieces(vec![data(&piece), data(&piece), data(&piece)]));
        let all = replay.read().expect("a reader").collect().await.expect("all of it");
        assert_eq!(all.to_bytes().len(), 3 * piece.len());
        assert!(!replay.is_whole() && replay.read().is_none());
    }

    #[test]
    fn the_length_is_known_on_every_pass() {
        let replay = Replay::new(Body::full("hello"));
        let mut reader = replay.read().expect("a reader");
        assert_eq!(reader.size_hint().exact(), Some(5));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut reader).poll_frame(&mut cx).is_ready());
        assert!(reader.is_end_stream() && reader.size_hint().exact() == Some(0));
        let again = replay.read().expect("a reader");
        assert!(!again.is_end_stream() && again.size_hint().exact() == Some(5));
    }
}
