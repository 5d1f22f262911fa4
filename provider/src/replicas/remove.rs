//! Removing a function, so that it stays removed whatever happens meanwhile.

use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, World, not_found};
use super::group::{Group, Stage};
use crate::{Name, Result};

/// Longest that stopping and removing may take after the last call ended.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(60);

impl Core {
    /// Removes a function; see [`crate::Provider::remove`]. Returns when nothing is left of it.
    pub(super) async fn remove(self: Arc<Self>, name: Name) -> Result<()> {
        let turn = self.turns.lock(&name).await;
        let replicas = self.read(&name, replicas);
        if self.read(&name, |group| group.wanted().is_none()) {
            return Err(not_found(&name));
        }
        for (replica, id) in &replicas {
            // The engine remembers the wish, even if this gateway is killed while calls drain.
            self.engine.mark_removed(id, replica).await?;
        }
        let limit = self.update(&name, |group| {
            group.members.values_mut().for_each(|member| {
                member.seen.removed = true;
                member.stage = match member.stage {
                    Stage::Stopping { .. } => Stage::Stopping { keep: false },
                    _ => Stage::Leaving,
                };
            });
            let timeouts = group.members.values().map(|m| &m.seen.deploy.function);
            timeouts.map(|function| self.timeout_of(function)).max().unwrap_or_default()
        });
        drop(turn);
        let gone = |world: &World| {
            let left = |r| world.get(&name).is_some_and(|g| g.members.contains_key(r));
            !replicas.iter().any(|(replica, _)| left(replica))
        };
        self.until(limit + REMOVE_TIMEOUT, gone).await?;
        self.tidy().await;
        Ok(())
    }
}

/// Every replica of a function, those on their way out too; our id and the engine's.
fn replicas(group: &Group) -> Vec<(String, String)> {
    let pair = |(replica, member): (&String, &super::group::Member)| {
        (replica.clone(), member.seen.id.clone())
    };
    group.members.iter().map(pair).collect()
}
