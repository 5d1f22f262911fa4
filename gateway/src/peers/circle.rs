//! What a gateway has of the others.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Client, Lead, Reporter, Tally};
use crate::directory::Directory;

/// One gateway among others. Cheap to clone.
#[derive(Clone)]
pub struct Circle {
    /// Which of them leads.
    pub lead: Lead,
    /// What the others have to do, while this one leads.
    pub tally: Arc<Tally>,
    /// Asks the others.
    pub client: Client,
}

impl Circle {
    /// Nothing was told yet.
    pub fn new(lead: Lead, client: Client) -> Self {
        Self { lead, tally: Arc::default(), client }
    }

    /// Tells the one that leads what this one has to do, as long as the tasks go on.
    pub fn report(&self, directory: &Arc<Directory>, tasks: &mut JoinSet<()>) {
        if self.lead.is_shared() {
            let (client, lead) = (self.client.clone(), self.lead.clone());
            tasks.spawn(Reporter::new(client, lead, directory.clone()).run());
        }
    }

    /// Says that this gateway has ended, so that the one that leads need not wait for word from it.
    pub async fn say_goodbye(&self) {
        let Some((leader, Some(url))) = self.lead.elsewhere() else { return };
        if let Err(error) = self.client.goodbye(&url).await {
            tracing::debug!(leader, %error, "the gateway that leads does not know that this one ends");
        }
    }
}
