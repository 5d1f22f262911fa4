//! The signal that ends a server, and the handle that gives it.

use tokio::sync::watch;

/// Gives the signal. Dropping it gives the signal too, so a server cannot outlive its owner.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// Waits for the signal. May go to any number of threads.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// A new signal that was not given yet.
pub fn shutdown() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Tells every server with this signal to stop accepting and to finish what is in flight.
    pub fn drain(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Returns when the signal was given.
    pub async fn wait(&mut self) {
        // An error means that the trigger is gone, which is the signal as well.
        let _ = self.0.wait_for(|given| *given).await;
    }

    /// Whether the signal was given.
    pub fn is_given(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}
