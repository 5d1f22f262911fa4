//! The engine's events, and what was missed between them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::time::sleep;

use super::core::{Core, World};
use super::engine::{Happening, What};
use super::group::Stage;
use super::logs::Source;
use super::seen::{Phase, Seen};
use crate::words::describe_exit;
use crate::{Error, Name, Result};

/// Pause after a lost connection; it doubles with each, up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between tries to reach the engine.
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// Takes over everything that is there, and cleans up after replicas that are not. Returns the
/// time from which on events count.
pub(super) async fn adopt(core: &Arc<Core>) -> Result<Timestamp> {
    let since = list(core).await?;
    let mut known = core.engine.left_alone();
    known.extend(core.world().values().flat_map(|group| group.members.keys().cloned()));
    core.files.retain(&known)?;
    Ok(since)
}

/// Follows the engine's events for good. While the engine is away the last known state stays: the
/// containers may well run on.
pub(super) async fn run(core: Arc<Core>, mut since: Timestamp) {
    let mut pause = FIRST_PAUSE;
    loop {
        let error = follow(&core, since).await;
        tracing::warn!(%error, "lost the engine's events");
        loop {
            sleep(pause).await;
            match list(&core).await {
                Ok(listed) => {
                    since = listed;
                    pause = FIRST_PAUSE;
                    tracing::info!("the engine is back");
                    break;
                }
                Err(error) => tracing::debug!(%error, "the engine is still away"),
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }
}

/// Lists everything and tells it anew. Returns the time before: events since then may tell more.
async fn list(core: &Arc<Core>) -> Result<Timestamp> {
    let since = Timestamp::now();
    let known = names(&core.world());
    let seen = core.engine.list().await?;
    let listed: HashSet<String> = seen.iter().map(|s| s.replica.clone()).collect();
    let gone: Vec<_> = known.into_iter().filter(|(_, r)| !listed.contains(r)).collect();
    gone.iter().for_each(|(_, replica)| core.remove_files(replica));
    core.update_all(|world| {
        for (name, replica) in &gone {
            world.get_mut(name).and_then(|group| group.members.remove(replica));
        }
        seen.into_iter().for_each(|seen| take_in(core, world, seen));
    });
    gone.iter().for_each(|(_, replica)| core.calls.forget(replica));
    Ok(since)
}

/// A replica that was made but never started, by nobody who is at work, is a spare one of its
/// deploy, or left over from a deploy that failed: that one has nothing that runs, and goes.
fn take_in(core: &Core, world: &mut World, seen: Seen) {
    let name = seen.deploy.name.clone();
    let replica = seen.replica.clone();
    let unused = seen.phase == Phase::Created && !core.turns.is_held(&name);
    let group = world.entry(name).or_default();
    if group.observe(seen) {
        core.calls.open(&replica);
    }
    if let Some(member) =
        group.members.get_mut(&replica).filter(|m| unused && m.stage == Stage::Active)
    {
        member.stage = Stage::Spare;
    }
}

fn names(world: &World) -> Vec<(Name, String)> {
    let of = |(name, group): (&Name, &super::group::Group)| {
        group.members.keys().map(|r| (name.clone(), r.clone())).collect::<Vec<_>>()
    };
    world.iter().flat_map(of).collect()
}

/// Follows events until the stream breaks, and says why it did.
async fn follow(core: &Arc<Core>, since: Timestamp) -> Error {
    let mut events = core.engine.events(since);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => take(core, event),
            Err(error) => return error,
        }
    }
    core.refused("it closed the stream of events")
}

/// Takes in one event. What it says of an end counts at once; all else is looked up, so that a late
/// event cannot undo what is known since.
fn take(core: &Arc<Core>, event: Happening) {
    let Happening { name, replica, what } = event;
    match what {
        What::Exited(code) => exited(core, &name, &replica, code),
        What::RanOutOfMemory => core.update(&name, |group| group.ran_out_of_memory(&replica)),
        What::Changed => {}
    }
    let work = core.clone();
    core.spawn(async move {
        if let Err(error) = work.look(&name, &replica).await {
            tracing::debug!(replica, %error, "cannot look at a replica");
        }
    });
}

fn exited(core: &Arc<Core>, name: &Name, replica: &str, code: i64) {
    core.update(name, |group| {
        group.exited(replica, |out_of_memory| describe_exit(code, out_of_memory));
    });
    let source = core.member(name, replica, |member| {
        (member.stage == Stage::Active).then(|| Source::of(name, &member.seen))
    });
    let Some(Some(source)) = source else { return };
    let (work, name, replica) = (core.clone(), name.clone(), replica.to_owned());
    core.spawn(async move {
        let words = work.last_words(source).await;
        work.update(&name, |group| {
            let member = group.members.get_mut(&replica);
            member.into_iter().for_each(|member| member.last_words.clone_from(&words));
        });
    });
}
