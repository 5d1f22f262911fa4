//! The signal that ends a server, and the handle that gives it.

use tokio::sync::watch;

/// How a server is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Parting {
    /// Not at all.
    Stay,
    /// Another server accepts on the same sockets from now on.
    Leave,
    /// Nobody serves here from now on, which whoever sends clients here knows already.
    Part,
    /// Nobody serves here from now on.
    Drain,
}

/// Gives the signal. Dropping it gives the signal too, so a server cannot outlive its owner.
#[derive(Debug)]
pub struct Trigger(watch::Sender<Parting>);

/// Waits for the signal. May go to any number of threads.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Parting>);

/// A new signal that was not given yet.
pub fn shutdown() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(Parting::Stay);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Tells every server with this signal to stop accepting and to finish what is in flight.
    pub fn drain(&self) {
        self.0.send_replace(Parting::Drain);
    }

    /// Tells every server with this signal to stop accepting and to finish what is in flight, and to
    /// let its clients go gently, as [`Trigger::leave`] does. For servers whose clients were sent
    /// elsewhere before.
    pub fn part(&self) {
        self.0.send_replace(Parting::Part);
    }

    /// Tells every server with this signal that another one accepts on its sockets from now on.
    /// It finishes what is in flight, and lets its clients go gently: a connection that is not used
    /// stays open for a while, because its client may be about to use it.
    pub fn leave(&self) {
        self.0.send_replace(Parting::Leave);
    }
}

impl Shutdown {
    /// Returns when the signal was given.
    pub async fn wait(&mut self) {
        self.given().await;
    }

    /// Returns when the signal was given, and which.
    pub(crate) async fn given(&mut self) -> Parting {
        // An error means that the trigger is gone, which is the signal as well.
        let given = self.0.wait_for(|parting| *parting != Parting::Stay).await;
        given.map_or(Parting::Drain, |parting| *parting)
    }

    /// Whether the signal was given.
    pub fn is_given(&self) -> bool {
        *self.0.borrow() != Parting::Stay || self.0.has_changed().is_err()
    }
}
