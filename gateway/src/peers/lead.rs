//! Whether this gateway is the one that decides, of those in front of the same functions.

use provider::Leadership;
use tokio::sync::watch;

/// Who leads. Where there can be but one gateway it always does. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lead(Option<watch::Receiver<Leadership>>);

impl Lead {
    /// As a backend tells that knows of other gateways.
    pub fn new(leadership: Option<watch::Receiver<Leadership>>) -> Self {
        Self(leadership)
    }

    /// Whether there can be other gateways.
    pub fn is_shared(&self) -> bool {
        self.0.is_some()
    }

    /// Whether this gateway leads at this moment.
    pub fn is_here(&self) -> bool {
        self.0.as_ref().is_none_or(|leadership| leadership.borrow().is_leader())
    }

    /// Who leads, and where it is reached, when that is another gateway that is known.
    pub fn elsewhere(&self) -> Option<(String, Option<String>)> {
        let leadership = self.0.as_ref()?.borrow();
        let leader = leadership.leader.clone().filter(|_| !leadership.is_leader())?;
        Some((leader, leadership.leader_url.clone()))
    }
}
