//! How many files the gateway may open; each connection is one.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Takes as many as this user may have. The usual limit is meant for programs that wait with
/// `select`, which cannot count further.
pub(super) fn take_all() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot open more files than before");
    }
}

/// The share of clients: one half, as a call may need a connection to its function, too.
pub(super) fn for_clients() -> usize {
    let most = getrlimit(Resource::Nofile).current;
    most.and_then(|most| usize::try_from(most / 2).ok()).unwrap_or(usize::MAX)
}
