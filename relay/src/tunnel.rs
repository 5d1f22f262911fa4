//! What is left of HTTP after a switch of protocols: bytes, both ways.

use std::any::Any;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

/// The two ends of a connection that switched protocols.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) client: OnUpgrade,
    pub(crate) upstream: OnUpgrade,
}

impl Tunnel {
    /// Copies until both sides have ended, or one of them broke. One side may end before the
    /// other. `_guards` are let go at the end.
    pub(crate) async fn run(self, _guards: Vec<Box<dyn Any>>) {
        let (Ok(client), Ok(upstream)) = (self.client.await, self.upstream.await) else {
            return;
        };
        let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
        // Whoever is still there sees the other side's connection close.
        let _ = copy_bidirectional(&mut client, &mut upstream).await;
    }
}
