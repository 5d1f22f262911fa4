//! More or fewer replicas of a function, or none running.

use std::sync::Arc;

use super::apply::Batch;
use super::core::{Core, not_found};
use super::group::{Group, Member, Stage};
use super::seen::Phase;
use crate::{Calls, Error, Name, Result, Target};

/// What is left to do for a generation to have its number of replicas.
#[derive(Debug, Default, PartialEq, Eq)]
struct Todo {
    /// Containers that rest and can be started.
    start: Vec<String>,
    /// Spare containers that are to be replicas now.
    spare: Vec<String>,
    /// How many new ones are needed beside them.
    create: usize,
}

impl Core {
    /// Changes how many replicas run; see [`crate::Provider::scale`].
    pub(super) async fn scale(self: Arc<Self>, name: Name, to: Target) -> Result<()> {
        if matches!(to, Target::Replicas(1..)) {
            // Before the turn comes: a deploy may have it for as long as an image is pulled.
            self.thaw(&name).await?;
        }
        let _turn = self.turns.lock(&name).await;
        let (wanted, serving) = self.read(&name, |group| (group.wanted(), group.serving()));
        let Some(wanted) = wanted else { return Err(not_found(&name)) };
        match to {
            Target::Frozen => self.freeze(&name).await,
            Target::Replicas(0) => {
                self.update(&name, rest);
                self.write_down(&name).await
            }
            Target::Replicas(count) => {
                // It may have been frozen while the turn was waited for.
                self.thaw(&name).await?;
                self.resize(&name, wanted, count as usize).await?;
                // While a new generation does not get ready, the old one bears the load.
                match serving.filter(|serving| *serving != wanted) {
                    Some(serving) => self.resize(&name, serving, count as usize).await,
                    None => Ok(()),
                }
            }
        }
    }

    async fn resize(self: &Arc<Self>, name: &Name, generation: u64, count: usize) -> Result<()> {
        let todo = self.update(name, |group| resize(group, &self.calls, generation, count));
        self.write_down(name).await?;
        let woken = self.wake(name, todo.start, todo.spare);
        let (woken, added) = tokio::join!(woken, self.add(name, generation, todo.create));
        woken.and(added)
    }

    /// Starts new containers beside those that are there.
    async fn add(self: &Arc<Self>, name: &Name, generation: u64, count: usize) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let _gate = self.gate.read().await;
        let Some(batch) = self.read(name, |group| more(group, generation, count)) else {
            return Ok(());
        };
        let made = match self.create(&batch).await {
            // The image was removed from the engine since.
            Err(Error::Image { .. }) => self.create(&self.refetched(batch).await?).await?,
            made => made?,
        };
        let started = self.start(name, &made).await;
        if started.is_err() {
            self.dismiss(name, &made).await;
        }
        started
    }

    /// What was decided outlives this gateway, though calls are waited for before it is done.
    async fn write_down(&self, name: &Name) -> Result<()> {
        let runs = |m: &&Member| !matches!(m.seen.phase, Phase::Created | Phase::Exited);
        let noted = |m: &Member| (m.seen.id.clone(), m.stage != Stage::Active);
        let notes: Vec<_> =
            self.read(name, |group| group.members.values().filter(runs).map(noted).collect());
        for (id, to_stop) in notes {
            self.engine.note(&id, to_stop).await?;
        }
        Ok(())
    }

    async fn refetched(&self, batch: Batch) -> Result<Batch> {
        let image = self.engine.fetch(&batch.deploy.function).await?;
        Ok(Batch { image, ..batch })
    }

    /// Starts containers that rest, and spare ones. Of those one that does not start goes.
    async fn wake(
        self: &Arc<Self>,
        name: &Name,
        rested: Vec<String>,
        spare: Vec<String>,
    ) -> Result<()> {
        for replica in &rested {
            self.files.remove_socket(replica)?;
        }
        let (rested, spares) = tokio::join!(self.start(name, &rested), self.start(name, &spare));
        if spares.is_err() {
            self.dismiss(name, &spare).await;
        }
        rested.and(spares)
    }
}

/// One container stops and is kept, the others go.
fn rest(group: &mut Group) {
    let Some(wanted) = group.wanted() else { return };
    let rank = |m: &&Member| {
        let stopped = m.seen.phase == Phase::Exited || m.stage != Stage::Active;
        (stopped, m.is_ready())
    };
    let of_wanted = group.current().filter(|m| m.generation() == wanted);
    let keeper = of_wanted.max_by_key(rank).map(|m| m.seen.replica.clone());
    for (replica, member) in group.members.iter_mut().filter(|(_, m)| m.is_current()) {
        let kept = keeper.as_ref() == Some(replica);
        member.stage = match (kept, member.stage) {
            (true, Stage::Active) if member.seen.phase != Phase::Exited => Stage::Resting,
            (true, stage) => stage,
            (false, Stage::Stopping { .. }) => Stage::Stopping { keep: false },
            (false, _) => Stage::Leaving,
        };
    }
}

/// Lets surplus replicas go, or calls those back that have not stopped yet.
fn resize(group: &mut Group, calls: &Calls, generation: u64, count: usize) -> Todo {
    let mut up: Vec<_> = replicas(group, generation, Member::is_wanted_up);
    while up.len() > count {
        let victim = up.remove(0);
        change(group, &victim, |member| member.stage = Stage::Leaving);
    }
    let missing = |have: usize| count.saturating_sub(have);
    let back = replicas(group, generation, Member::is_revivable);
    // Those that leave just now are not called back: then nothing is missing.
    let back: Vec<_> = back.into_iter().take(missing(up.len())).collect();
    for replica in &back {
        calls.open(replica);
        change(group, replica, revive);
    }
    let rests = |m: &Member| m.stage == Stage::Active && m.seen.phase == Phase::Exited;
    let mut start = replicas(group, generation, rests);
    start.truncate(missing(up.len() + back.len()));
    let mut spare = replicas(group, generation, |m| m.stage == Stage::Spare);
    spare.truncate(missing(up.len() + back.len() + start.len()));
    for replica in &spare {
        change(group, replica, |member| member.stage = Stage::Active);
    }
    let create = missing(up.len() + back.len() + start.len() + spare.len());
    Todo { start, spare, create }
}

fn revive(member: &mut Member) {
    member.stage = Stage::Active;
    if let Some(drain) = member.drain.take() {
        drain.abort();
    }
}

/// The replicas of a generation that are so: those not ready first, then the newest.
fn replicas(group: &Group, generation: u64, so: impl Fn(&Member) -> bool) -> Vec<String> {
    let of = |m: &&Member| m.generation() == generation && so(m);
    let mut found: Vec<_> = group.members.values().rev().filter(of).collect();
    found.sort_by_key(|m| m.is_ready());
    found.iter().map(|m| m.seen.replica.clone()).collect()
}

fn change(group: &mut Group, replica: &str, change: impl FnOnce(&mut Member)) {
    if let Some(member) = group.members.get_mut(replica) {
        change(member);
    }
}

/// More of the same, from the very image that the others run.
pub(super) fn more(group: &Group, generation: u64, count: usize) -> Option<Batch> {
    let like = group.members.values().find(|m| m.generation() == generation)?;
    Some(Batch { deploy: like.seen.deploy.clone(), image: like.seen.image.clone(), count })
}

#[cfg(test)]
mod tests {
    use super::super::group::tests::Scene;
    use super::*;

    fn stages(scene: &Scene) -> Vec<Stage> {
        scene.group.members.values().map(|m| m.stage).collect()
    }

    #[test]
    fn at_zero_one_stays_and_holds_the_function() {
        let mut scene = Scene::new();
        scene.add("a1", 1).ready("a1").add("b1", 2).add("b2", 2).ready("b2");
        rest(&mut scene.group);
        assert_eq!(stages(&scene), [Stage::Leaving, Stage::Leaving, Stage::Resting]);
        rest(&mut scene.group);
        assert_eq!(stages(&scene), [Stage::Leaving, Stage::Leaving, Stage::Resting]);
        assert_eq!(scene.group.desired(), 0);
        assert_eq!(scene.group.wanted(), Some(2));
    }

    #[test]
    fn those_that_do_not_answer_go_first() {
        let mut scene = Scene::new();
        scene.add("a1", 1).add("a2", 1).ready("a2").add("a3", 1).ready("a3");
        let todo = resize(&mut scene.group, &Calls::default(), 1, 1);
        assert_eq!(todo, Todo::default());
        assert_eq!(stages(&scene), [Stage::Leaving, Stage::Active, Stage::Leaving]);
    }

    #[test]
    fn what_drains_is_called_back_before_anything_is_started() {
        let mut scene = Scene::new();
        scene.add("a1", 1).ready("a1").add("a2", 1).phase("a2", Phase::Exited);
        scene.member("a1", |m| m.stage = Stage::Resting);
        let todo = resize(&mut scene.group, &Calls::default(), 1, 3);
        assert_eq!(todo, Todo { start: vec!["a2".to_owned()], spare: Vec::new(), create: 1 });
        assert_eq!(stages(&scene)[0], Stage::Active);
    }

    #[test]
    fn what_is_being_stopped_does_not_come_back() {
        let mut scene = Scene::new();
        scene.add("a1", 1).member("a1", |m| m.stage = Stage::Stopping { keep: true });
        let todo = resize(&mut scene.group, &Calls::default(), 1, 1);
        assert_eq!(todo, Todo { create: 1, ..Todo::default() });
    }

    #[test]
    fn what_was_made_beforehand_is_taken_before_anything_is_made() {
        let mut scene = Scene::new();
        scene.add("a1", 1).ready("a1").add("a2", 1).add("a3", 1).add("b1", 2);
        for spare in ["a2", "a3", "b1"] {
            scene.phase(spare, Phase::Created).member(spare, |m| m.stage = Stage::Spare);
        }
        let todo = resize(&mut scene.group, &Calls::default(), 1, 2);
        assert_eq!(todo, Todo { spare: vec!["a3".to_owned()], ..Todo::default() });
        assert_eq!((scene.group.wanted(), scene.group.desired()), (Some(1), 2));
        assert_eq!(scene.group.unwanted_spares(), ["b1", "a2"], "its deploy wants none");
    }
}
