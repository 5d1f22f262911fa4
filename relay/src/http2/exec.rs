//! Where hyper's futures run: in this thread.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;

use hyper::rt::Executor;
use tokio::task::spawn_local;

use super::streams::Stream;

/// Runs the streams of one server connection.
#[derive(Clone, Default)]
pub(super) struct Exec {
    next: Rc<RefCell<Option<Stream>>>,
}

impl Exec {
    /// The future that is executed next belongs to this stream: hyper calls the service and
    /// executes what it returned in one go.
    pub(super) fn announce(&self, stream: Stream) {
        *self.next.borrow_mut() = Some(stream);
    }
}

impl<F> Executor<F> for Exec
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        let stream = self.next.take();
        spawn_local(async move {
            let Some(stream) = stream else {
                future.await;
                return;
            };
            tokio::select! {
                biased;
                _ = future => (),
                // Dropping the future resets the stream.
                () = stream.expired() => (),
            }
        });
    }
}
