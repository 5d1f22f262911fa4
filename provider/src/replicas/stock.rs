//! Spare containers: made beforehand and never started, so that a start finds them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::core::Core;
use super::group::{Group, Stage};
use super::scale::more;
use crate::{Name, Result};

/// Pause after a spare container could not be made.
const RETRY: Duration = Duration::from_secs(30);

impl Core {
    /// Has spare containers made when some are missing and nobody is at it.
    pub(super) fn stock(self: &Arc<Self>, name: &Name, group: &mut Group) {
        if group.stocking || group.missing_spares() == 0 {
            return;
        }
        group.stocking = true;
        let (core, name) = (self.clone(), name.clone());
        self.spawn(async move {
            if let Err(error) = core.fill_up(&name).await {
                tracing::warn!(%name, %error, "cannot make a replica beforehand");
                sleep(RETRY).await;
            }
            core.update(&name, |group| group.stocking = false);
        });
    }

    /// One at a time: whoever wants to start something comes in between.
    async fn fill_up(self: &Arc<Self>, name: &Name) -> Result<()> {
        loop {
            let _turn = self.turns.lock(name).await;
            let _gate = self.gate.read().await;
            let batch = self.read(name, |group| {
                let generation = group.wanted().filter(|_| group.missing_spares() > 0)?;
                more(group, generation, 1)
            });
            let Some(batch) = batch else { return Ok(()) };
            let seen = self.create_one(&batch).await?;
            self.update(name, |group| {
                let replica = seen.replica.clone();
                group.observe(seen);
                if let Some(member) = group.members.get_mut(&replica) {
                    member.stage = Stage::Spare;
                }
            });
        }
    }
}
