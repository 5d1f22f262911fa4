//! Ctrl-C: what is under way is broken off in order.

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::interrupted;

/// Hears that the person, or the machine, wants this program to end.
#[derive(Debug)]
pub struct Interrupts {
    signals: [Signal; 3],
}

impl Interrupts {
    /// From now on signals to end do not end the program by themselves.
    pub fn listen() -> Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let listen = |kind| signal(kind).context("signals cannot be heard");
        let [interrupt, terminate, hangup] = kinds.map(listen);
        Ok(Self { signals: [interrupt?, terminate?, hangup?] })
    }

    /// Waits for one of them.
    pub async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Does something to its end, unless it is interrupted: then it is dropped, and what it had
/// started goes with it.
pub async fn unless_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut interrupts = Interrupts::listen()?;
    tokio::select! {
        done = work => done,
        () = interrupts.wait() => Err(interrupted()),
    }
}
