//! Frozen and back: replicas that stay in memory and get no processor.
//!
//! No call fails of it. Before a replica lets no call in any more it is told to be frozen, so that
//! whoever finds none that does asks for a thaw. A thaw waits for the freezing, and for nothing else.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::core::Core;
use super::group::{Group, Member};
use super::seen::Phase;
use crate::{Error, Name, Result};

/// Our id of a replica and the engine's.
type Ids = (String, String);

impl Core {
    /// Takes the processor from all ready replicas, or from none. Nothing is frozen while a call
    /// is in flight.
    pub(super) async fn freeze(self: &Arc<Self>, name: &Name) -> Result<()> {
        let _ice = self.ice.lock(name).await;
        let replicas = self.replicas_in(name, Phase::Running);
        let busy = |(replica, _): &&Ids| self.calls.counter(replica).in_flight() > 0;
        if let Some((replica, _)) = replicas.iter().find(busy) {
            return Err(in_flight(replica));
        }
        let all: Vec<_> = replicas.iter().map(|(replica, _)| replica.as_str()).collect();
        self.change_all(name, &all, |member| member.freezing = true);
        let done = join_all(replicas.iter().map(|ids| self.freeze_one(ids))).await;
        let Some(error) = done.iter().find_map(|done| done.as_ref().err()) else {
            self.change_all(name, &all, |member| {
                (member.freezing, member.turns) = (false, member.turns + 1);
                member.seen.phase = Phase::Paused;
            });
            return Ok(());
        };
        let frozen = replicas.iter().zip(&done).filter(|(_, done)| done.is_ok());
        join_all(frozen.map(|((_, id), _)| self.engine.unpause(id))).await;
        all.iter().for_each(|replica| self.calls.open(replica));
        self.change_all(name, &all, |member| {
            (member.freezing, member.turns) = (false, member.turns + 1);
        });
        for replica in &all {
            self.look(name, replica).await?;
        }
        Err(error.clone())
    }

    async fn freeze_one(&self, (replica, id): &Ids) -> Result<()> {
        if self.calls.drain(replica, Duration::ZERO).await > 0 {
            return Err(in_flight(replica));
        }
        self.engine.pause(id).await
    }

    /// Gives the processor back to every replica that is frozen, to all at once. What the engine
    /// says that it did is not asked for again: calls wait for this.
    pub(super) async fn thaw(self: &Arc<Self>, name: &Name) -> Result<()> {
        let _ice = self.ice.lock(name).await;
        let replicas = self.replicas_in(name, Phase::Paused);
        let done = join_all(replicas.iter().map(|ids| self.thaw_one(name, ids))).await;
        done.into_iter().collect()
    }

    async fn thaw_one(self: &Arc<Self>, name: &Name, (replica, id): &Ids) -> Result<()> {
        if let Err(error) = self.engine.unpause(id).await {
            // Somebody else may have thawed it, or it is gone.
            self.look(name, replica).await?;
            let phase = self.member(name, replica, |m| m.seen.phase);
            return if phase == Some(Phase::Paused) { Err(error) } else { Ok(()) };
        }
        self.update(name, |group| {
            let member = group.members.get_mut(replica);
            if let Some(member) = member.filter(|m| m.seen.phase == Phase::Paused) {
                member.seen.phase = Phase::Running;
                member.turns += 1;
                self.calls.open(replica);
            }
        });
        Ok(())
    }

    fn change_all(self: &Arc<Self>, name: &Name, all: &[&str], change: impl Fn(&mut Member)) {
        self.update(name, |group: &mut Group| {
            let chosen = group.members.iter_mut().filter(|(id, _)| all.contains(&id.as_str()));
            // One that ended meanwhile is not frozen; that it is may have been seen already.
            let up = chosen.filter(|(_, m)| matches!(m.seen.phase, Phase::Running | Phase::Paused));
            up.for_each(|(_, member)| change(member));
        });
    }

    fn replicas_in(&self, name: &Name, phase: Phase) -> Vec<Ids> {
        let ready = |m: &&Member| m.is_ready() && m.seen.phase == phase;
        self.read(name, |group| {
            let ids = |m: &Member| (m.seen.replica.clone(), m.seen.id.clone());
            group.current().filter(ready).map(ids).collect()
        })
    }
}

fn in_flight(replica: &str) -> Error {
    Error::Conflict(format!("{replica} has calls in flight"))
}
