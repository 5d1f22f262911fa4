//! A replica as its engine shows it.

use std::net::IpAddr;

use super::deploy::Deploy;

/// What was last seen of a replica of ours.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The engine's id of it.
    pub(crate) id: String,
    /// Our id of it.
    pub(crate) replica: String,
    /// What it was made for.
    pub(crate) deploy: Deploy,
    /// What it was made from, for more of the same: an image's id.
    pub(crate) image: String,
    /// What it is doing.
    pub(crate) phase: Phase,
    /// When it was started the last time, in the engine's words; tells one run from the next.
    pub(crate) started_at: String,
    /// Its address on our network while it runs.
    pub(crate) ip: Option<IpAddr>,
    /// How often the engine started it again.
    pub(crate) restarts: u32,
    /// How it ended, when it does not run.
    pub(crate) last_exit: String,
    /// Whether its function was removed.
    pub(crate) removed: bool,
    /// What is not as it should be though it may well work.
    pub(crate) warnings: Vec<String>,
}

/// What a replica is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It was never started.
    Created,
    /// It runs.
    Running,
    /// It runs and gets no processor time.
    Paused,
    /// It ended, and the engine will start it again.
    Restarting,
    /// It was stopped, is being removed, or could not be started.
    Exited,
}
