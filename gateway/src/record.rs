//! What is kept of one call: counted and logged when it ends, however it ends.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use http::{HeaderValue, Method, Request, StatusCode};
use provider::Slot;
use tokio::time::Instant;

use crate::call::{Arrival, CLIENT_GONE};
use crate::directory::Live;

/// One call; dropping it ends the call.
pub(crate) struct Record {
    live: Arc<Live>,
    start: Instant,
    status: Cell<StatusCode>,
    replica: RefCell<Option<Arc<str>>>,
    /// What the call occupies of a replica.
    slot: Cell<Option<Slot>>,
    line: Option<Line>,
}

/// What only the access log needs.
struct Line {
    method: Method,
    path: String,
    call_id: String,
}

impl Record {
    /// Begins a call; it is logged under an id, or not at all.
    pub(crate) fn new<B>(
        arrival: &Arrival,
        request: &Request<B>,
        logged: Option<&HeaderValue>,
    ) -> Self {
        let (live, start) = (arrival.entry.live.clone(), arrival.start);
        live.metrics.started.inc();
        live.metrics.in_flight.inc();
        let line = logged.map(|id| Line {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            call_id: String::from_utf8_lossy(id.as_bytes()).into_owned(),
        });
        let status = Cell::new(CLIENT_GONE);
        let (replica, slot) = Default::default();
        Self { live, start, status, replica, slot, line }
    }

    /// Notes who takes it, and the slot that it occupies there.
    pub(crate) fn sent_to(&self, replica: &Arc<str>, slot: Slot) {
        self.slot.set(Some(slot));
        if self.line.is_some() {
            *self.replica.borrow_mut() = Some(replica.clone());
        }
    }

    /// It occupies its slot no longer.
    pub(crate) fn gave_up(&self) {
        if self.slot.take().is_some() {
            self.live.queue.slot_freed();
        }
    }

    /// It occupies its slot no longer, and is sent once more.
    pub(crate) fn is_sent_again(&self) {
        self.gave_up();
        self.live.metrics.resent.inc();
    }

    /// Notes how it was answered.
    pub(crate) fn answered(&self, status: StatusCode) {
        self.status.set(status);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.gave_up();
        let took = self.start.elapsed();
        self.live.metrics.in_flight.dec();
        self.live.metrics.ended(self.status.get(), took);
        let Some(line) = &self.line else { return };
        tracing::info!(
            target: "access",
            call_id = line.call_id,
            status = self.status.get().as_u16(),
            duration_ms = took.as_micros() as f64 / 1000.0,
            replica = self.replica.borrow().as_deref().unwrap_or("-"),
            "{} {}", line.method, line.path,
        );
    }
}
