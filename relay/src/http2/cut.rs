//! A request's body that ends with its call.

use std::cell::{Cell, RefCell};
use std::error::Error as StdError;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::body::Body;
use crate::error::BodyError;

/// A request's body on its way to an upstream. It is sent by a task of hyper's, which would go on
/// when the answer has ended, failed, or is no longer wanted.
pub(super) struct Cuttable {
    body: Body,
    shared: Rc<Shared>,
}

/// Cuts the body when it is dropped.
pub(super) struct Cut(Rc<Shared>);

#[derive(Default)]
struct Shared {
    cut: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    failed: RefCell<Option<BodyError>>,
}

impl Cuttable {
    pub(super) fn new(body: Body) -> (Self, Cut) {
        let shared = Rc::<Shared>::default();
        (Self { body, shared: Rc::clone(&shared) }, Cut(shared))
    }
}

impl Cut {
    /// Why the body could not be read, if that is so.
    pub(super) fn failure(&self) -> Option<BodyError> {
        self.0.failed.take()
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.0.cut.set(true);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }
}

/// What hyper makes a reset with this code of.
fn cancelled() -> Box<dyn StdError + Send + Sync> {
    h2::Error::from(h2::Reason::CANCEL).into()
}

impl HttpBody for Cuttable {
    type Data = Bytes;
    type Error = Box<dyn StdError + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.shared.cut.get() {
            return Poll::Ready(Some(Err(cancelled())));
        }
        *self.shared.waker.borrow_mut() = Some(cx.waker().clone());
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|error| {
                *self.shared.failed.borrow_mut() = Some(error);
                cancelled()
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
