//! When to claim a lease, and whether it is ours. No IO; time is what the caller says.
//!
//! Clocks of different machines are never compared. Who holds the lease counts its time from the
//! moment before it sent what prolonged it; who wants it counts from the moment at which it saw
//! that. The second one is always later, so the lease is over for its holder before it is free for
//! anybody else, if only the clocks run about equally fast.

use std::time::Duration;

use tokio::time::Instant;

/// How long others leave a lease alone in which they see no change.
pub(super) const DURATION: Duration = Duration::from_secs(10);
/// How long its holder counts on it. What it has begun by then may take the rest of the lease.
const LEAD: Duration = Duration::from_secs(8);
/// Time between two attempts to prolong or to claim it.
const RETRY: Duration = Duration::from_secs(2);

/// A lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Who holds it; empty when it was given back.
    pub(super) holder: String,
    /// Where others reach who holds it.
    pub(super) url: Option<String>,
    /// What it must still be when it is written.
    pub(super) version: String,
    /// How long it lasts, as its holder has written.
    pub(super) duration: Duration,
    /// How often it has changed hands.
    pub(super) transitions: i32,
}

/// One candidate, and what it knows of the lease.
#[derive(Debug)]
pub(super) struct Election {
    me: String,
    seen: Option<Seen>,
    leads_until: Option<Instant>,
    tried: Option<Instant>,
    has_resigned: bool,
}

/// The last that was seen of the lease.
#[derive(Debug)]
struct Seen {
    /// `None` when there is none.
    lease: Option<Record>,
    /// When anybody else may claim it.
    free_at: Instant,
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// What is to be replaced; `None` when the lease is to be made.
    pub(super) version: Option<String>,
    /// Whether it is held by somebody else until then, or by nobody.
    pub(super) is_new: bool,
    /// How often it has changed hands then.
    pub(super) transitions: i32,
}

impl Election {
    /// Of a candidate whose name no other one has, not even one that it was before.
    pub(super) fn new(me: String) -> Self {
        Self { me, seen: None, leads_until: None, tried: None, has_resigned: false }
    }

    /// Takes in what a watch has told. What was told late, and is known to be over, is left out.
    pub(super) fn observe(&mut self, lease: Option<Record>, now: Instant) {
        let before = self.seen.as_ref().and_then(|seen| seen.lease.as_ref());
        let is_late = |lease: &Record| {
            before.is_some_and(|before| !is_newer(&lease.version, &before.version))
        };
        if !lease.as_ref().is_some_and(is_late) {
            self.read(lease, now);
        }
    }

    /// Takes in the lease as it is, or that there is none.
    pub(super) fn read(&mut self, lease: Option<Record>, now: Instant) {
        let last = self.seen.as_ref();
        if last.is_some_and(|seen| seen.lease == lease) {
            return;
        }
        let free_at = match (&lease, last) {
            (Some(lease), _) if lease.holder.is_empty() => now,
            (Some(lease), _) => now + lease.duration.max(DURATION),
            // Who held what was deleted counts on it for as long.
            (None, Some(seen)) => seen.free_at,
            (None, None) => now,
        };
        if lease.as_ref().is_some_and(|lease| lease.holder != self.me) {
            self.leads_until = None;
        }
        self.seen = Some(Seen { lease, free_at });
    }

    /// When to write next; `None` as long as nothing is known, and when it wants no lease any more.
    pub(super) fn due(&self) -> Option<Instant> {
        let seen = self.seen.as_ref().filter(|_| !self.has_resigned)?;
        let free_at = if self.is_held(seen) { None } else { Some(seen.free_at) };
        let retry = self.tried.map(|tried| tried + RETRY);
        Some(free_at.into_iter().chain(retry).max().unwrap_or(seen.free_at))
    }

    /// Begins to write.
    pub(super) fn claim(&mut self, now: Instant) -> Claim {
        self.tried = Some(now);
        let lease = self.seen.as_ref().and_then(|seen| seen.lease.as_ref());
        let is_new = lease.is_none_or(|lease| lease.holder != self.me);
        let transitions = lease.map_or(0, |lease| lease.transitions.saturating_add(is_new.into()));
        Claim { version: lease.map(|lease| lease.version.clone()), is_new, transitions }
    }

    /// What was sent at that moment is what the lease is now.
    pub(super) fn won(&mut self, lease: Record, sent: Instant) {
        let free_at = sent + DURATION;
        self.seen = Some(Seen { lease: Some(lease), free_at });
        self.leads_until = Some(sent + LEAD).filter(|_| !self.has_resigned);
    }

    /// Wants the lease no more. What is to be written when it was its own.
    pub(super) fn resign(&mut self) -> Option<Claim> {
        self.has_resigned = true;
        self.leads_until = None;
        let lease = self.seen.as_ref()?.lease.as_ref().filter(|lease| lease.holder == self.me)?;
        let (version, transitions) = (Some(lease.version.clone()), lease.transitions);
        Some(Claim { version, is_new: false, transitions })
    }

    /// Until when it leads, if it does.
    pub(super) fn leads_until(&self, now: Instant) -> Option<Instant> {
        self.leads_until.filter(|until| now < *until)
    }

    /// Who holds the lease as far as is known.
    pub(super) fn holder(&self) -> Option<&Record> {
        let lease = self.seen.as_ref()?.lease.as_ref();
        lease.filter(|lease| !lease.holder.is_empty())
    }

    fn is_held(&self, seen: &Seen) -> bool {
        seen.lease.as_ref().is_some_and(|lease| lease.holder == self.me)
    }
}

/// Whether one version came after another. They are numbers that grow, on all that serve them;
/// where they are not, another one is a newer one.
fn is_newer(version: &str, before: &str) -> bool {
    match (version.parse::<u64>(), before.parse::<u64>()) {
        (Ok(version), Ok(before)) => version > before,
        _ => version != before,
    }
}

#[cfg(test)]
#[path = "election_tests.rs"]
mod tests;
