//! Letting a container go: no new calls, wait for those in flight, stop, then keep or remove it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::core::Core;
use super::group::{Group, Member, Stage};
use super::seen::Phase;
use crate::{Name, Result};

/// Longest that a container which finished its calls may take to stop before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// Pause after a failed try; it doubles after each, up to [`LAST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(200);
/// Longest pause between tries.
const LAST_RETRY: Duration = Duration::from_secs(30);

impl Core {
    /// Sends a container on its way, if that is wanted of it and not yet under way.
    pub(super) fn see_off(self: &Arc<Self>, name: &Name, member: &mut Member) {
        let going = matches!(member.stage, Stage::Leaving | Stage::Resting);
        if !going || member.drain.is_some() {
            return;
        }
        let limit = self.timeout_of(&member.seen.deploy.function);
        let (core, name) = (self.clone(), name.clone());
        let replica = member.seen.replica.clone();
        let task = async move { core.drain_and_stop(&name, &replica, limit).await };
        member.drain = Some(self.spawn(task));
    }

    async fn drain_and_stop(self: &Arc<Self>, name: &Name, replica: &str, limit: Duration) {
        let cut = self.calls.drain(replica, limit).await;
        if cut > 0 {
            tracing::warn!(replica, cut, ?limit, "calls did not end in time and are cut");
        }
        let Some(id) = self.update(name, |group| begin_stop(group, replica)) else { return };
        let grace = limit.min(STOP_GRACE);
        self.thaw_to_stop(name, replica, &id).await;
        persist(replica, || self.engine.stop(&id, grace)).await;
        // Read only now: the function may have been removed while this replica stopped.
        let keep = self.member(name, replica, |m| m.stage == Stage::Stopping { keep: true });
        if keep == Some(true) {
            self.keep(name, replica).await;
        }
        let gone = self.member(name, replica, |m| m.stage == Stage::Stopping { keep: false });
        if gone == Some(true) {
            persist(replica, || self.engine.remove(&id)).await;
            self.forget(name, replica);
            self.tidy().await;
        }
    }

    /// What is frozen hears no signal.
    async fn thaw_to_stop(&self, name: &Name, replica: &str, id: &str) {
        if self.member(name, replica, |m| m.seen.phase) != Some(Phase::Paused) {
            return;
        }
        if let Err(error) = self.engine.unpause(id).await {
            tracing::debug!(replica, %error, "cannot thaw a replica that is to stop");
        }
    }

    /// The container rests: it holds the function until it is wanted again.
    async fn keep(self: &Arc<Self>, name: &Name, replica: &str) {
        persist(replica, || self.look(name, replica)).await;
        self.calls.open(replica);
        self.update(name, |group| {
            let Some(member) = group.members.get_mut(replica) else { return };
            if member.stage == (Stage::Stopping { keep: true }) {
                member.stage = Stage::Active;
                member.drain = None;
            }
        });
    }
}

/// The point of no return; `None` when the container was called back before.
fn begin_stop(group: &mut Group, replica: &str) -> Option<String> {
    let member = group.members.get_mut(replica)?;
    let keep = match member.stage {
        Stage::Resting => true,
        Stage::Leaving => false,
        Stage::Active | Stage::Spare | Stage::Stopping { .. } => return None,
    };
    member.stage = Stage::Stopping { keep };
    if let Some(attendant) = member.attendant.take() {
        attendant.abort();
    }
    Some(member.seen.id.clone())
}

/// Tries until it works: an engine that is away comes back, and what is to go must go.
async fn persist<F: Future<Output = Result<()>>>(replica: &str, mut step: impl FnMut() -> F) {
    let mut pause = FIRST_RETRY;
    while let Err(error) = step().await {
        tracing::warn!(replica, %error, "cannot stop or remove a replica yet");
        sleep(pause).await;
        pause = (pause * 2).min(LAST_RETRY);
    }
}
