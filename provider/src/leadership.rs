//! Which of several gateways is in charge, as one of them sees it.

use tokio::time::Instant;

/// Who is in charge of what only one gateway may do.
///
/// It is sent whenever somebody else is in charge. How long this process may go on is prolonged
/// without a word, so ask each time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// Who leads, by the name that it has among the gateways; `None` when nobody is known to.
    pub leader: Option<String>,
    /// Where other gateways reach it.
    pub leader_url: Option<String>,
    /// Until when it is this process, whatever it hears or does not hear.
    until: Option<Instant>,
}

impl Leadership {
    /// Somebody else leads.
    pub fn of(leader: String, leader_url: Option<String>) -> Self {
        Self { leader: Some(leader), leader_url, until: None }
    }

    /// This process leads, until it is told more or that moment has come.
    #[must_use]
    pub fn until(self, until: Instant) -> Self {
        Self { until: Some(until), ..self }
    }

    /// Whether this process is in charge at this moment.
    ///
    /// A process that was stopped for a while finds that it is not, before it has heard of it.
    pub fn is_leader(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_hears_nothing_leads_for_a_limited_time() {
        let until = Instant::now() + Duration::from_secs(8);
        let leads = Leadership::of("a".to_owned(), None).until(until);
        assert!(leads.is_leader());
        tokio::time::advance(Duration::from_secs(8)).await;
        assert!(!leads.is_leader());
        assert!(!Leadership::of("a".to_owned(), None).is_leader());
        assert!(!Leadership::default().is_leader());
    }
}
