//! A body that leaves its thread.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use crate::body::Body;
use crate::error::BodyError;

/// What is left of a [`Body`] when another runtime reads it: the frames, one at a time and none
/// before it is asked for, because asking is what tells a waiting client to go on. Dropping it
/// drops the body.
#[derive(Debug)]
pub struct Sendable {
    link: Option<Link>,
    size: SizeHint,
}

#[derive(Debug)]
struct Link {
    asks: mpsc::Sender<()>,
    frames: mpsc::Receiver<Result<Frame<Bytes>, BodyError>>,
    asked: bool,
}

impl From<Body> for Sendable {
    /// Within the body's thread.
    fn from(mut body: Body) -> Self {
        let size = body.size_hint();
        if body.is_end_stream() {
            return Self { link: None, size };
        }
        let (asks, mut asked) = mpsc::channel(1);
        let (sender, frames) = mpsc::channel(1);
        spawn_local(async move {
            while asked.recv().await.is_some() {
                let gone = sender.closed();
                let frame = tokio::select! {
                    frame = body.frame() => frame,
                    () = gone => None,
                };
                let Some(frame) = frame else { return };
                let _ = sender.send(frame).await;
            }
        });
        Self { link: Some(Link { asks, frames, asked: false }), size }
    }
}

impl HttpBody for Sendable {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(link) = &mut self.link else { return Poll::Ready(None) };
        if !link.asked {
            // One ask for one frame, so there is always room; a pump that has ended has no frame.
            link.asked = link.asks.try_send(()).is_ok();
        }
        let frame = ready!(link.frames.poll_recv(cx));
        link.asked = false;
        if frame.is_none() {
            self.link = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.link.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}
