//! Whether a call is within the limits of its client and its function.

use http::HeaderMap;
use relay::Peer;
use tokio::time::Instant;

use super::Caller;
use crate::directory::Entry;
use crate::error::{Error, Result};
use crate::limits::TooMany;

impl Caller {
    /// Takes a call from what its client has left, then from what its function has. What a leaving
    /// gateway passes on was taken there.
    pub(super) fn admit(
        &self,
        entry: Option<&Entry>,
        headers: &HeaderMap,
        (peer, now): (Peer, Instant),
    ) -> Result<()> {
        if let Some(clients) = &self.shared.clients {
            clients.take(peer, headers, now).map_err(|TooMany { client, rate, wait }| {
                throttled(entry, "client");
                Error::ClientRate { client, rate, wait }
            })?;
        }
        let Some((entry, rate)) = entry.and_then(|entry| Some((entry, entry.rate?))) else {
            return Ok(());
        };
        if peer == Peer::Unix {
            return Ok(());
        }
        entry.live.calls.take(rate, now).map_err(|wait| {
            throttled(Some(entry), "function");
            Error::FunctionRate { name: entry.label.to_string(), rate, wait }
        })
    }
}

/// Counted for functions that are there, so that clients cannot make up series.
fn throttled(entry: Option<&Entry>, limit: &str) {
    if let Some(entry) = entry {
        entry.live.metrics.throttled(limit);
    }
}
