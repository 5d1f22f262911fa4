//! A replica as its engine shows it.

use std::net::IpAddr;

use super::deploy::Deploy;

/// How a replica ended that the kernel killed for want of memory.
pub(crate) const OUT_OF_MEMORY: &str = "out of memory";
/// How it looks before the engine knows why.
pub(crate) const KILLED: &str = "killed by signal 9";

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

/// An exit status in words. Above 128 it is a signal's number, as shells and `docker-init` have it.
pub(crate) fn describe_exit(code: i64, out_of_memory: bool) -> String {
    match code {
        _ if out_of_memory => OUT_OF_MEMORY.to_owned(),
        129..=192 => format!("killed by signal {}", code - 128),
        _ => format!("exit code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_in_words() {
        assert_eq!(describe_exit(1, false), "exit code 1");
        assert_eq!(describe_exit(255, false), "exit code 255");
        assert_eq!(describe_exit(139, false), "killed by signal 11");
        assert_eq!(describe_exit(137, true), OUT_OF_MEMORY);
        assert_eq!(describe_exit(137, false), KILLED);
    }
}
