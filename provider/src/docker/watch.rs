//! The engine's events, and what was missed between them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::time::sleep;

use super::core::{Core, World};
use super::engine::error;
use super::group::Stage;
use super::labels::replica_of;
use super::node::Node;
use super::seen::{Phase, Seen, exit_of_event};
use crate::{Error, Name, Result};

/// The events that change what is known of a container.
const EVENTS: [&str; 8] = ["start", "die", "oom", "stop", "destroy", "pause", "unpause", "rename"];
/// Pause after a lost connection; it doubles with each, up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between tries to reach the engine.
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// Takes over everything that is there, and cleans up after replicas that are not. Returns the
/// time from which on events count.
pub(super) async fn adopt(core: &Arc<Core>) -> Result<Timestamp> {
    let since = list(core).await?;
    let known = core.world().values().flat_map(|g| g.members.keys().cloned()).collect();
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
    core.set_node(Node::new(core.engine.info().await?));
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

/// A container that was made but never started, by nobody who is at work, is left over from a
/// deploy that failed: nobody was told that it succeeded.
fn take_in(core: &Core, world: &mut World, seen: Seen) {
    let name = seen.deploy.name.clone();
    let replica = seen.replica.clone();
    let leftover = seen.phase == Phase::Created && !core.turns.is_held(&name);
    let group = world.entry(name).or_default();
    if group.observe(seen) {
        core.calls.open(&replica);
    }
    if let Some(member) = group.members.get_mut(&replica).filter(|_| leftover) {
        member.stage = Stage::Leaving;
    }
}

fn names(world: &World) -> Vec<(Name, String)> {
    let of = |(name, group): (&Name, &super::group::Group)| {
        group.members.keys().map(|r| (name.clone(), r.clone())).collect::<Vec<_>>()
    };
    world.iter().flat_map(of).collect()
}

/// Follows events until the connection breaks, and says why it did.
async fn follow(core: &Arc<Core>, since: Timestamp) -> Error {
    let mut filters = core.engine.ours();
    filters.insert("type".to_owned(), vec!["container".to_owned()]);
    filters.insert("event".to_owned(), EVENTS.map(str::to_owned).to_vec());
    let since = format!("{}.{:09}", since.as_second(), since.subsec_nanosecond());
    let options = EventsOptions { since: Some(since), until: None, filters: Some(filters) };
    let mut events = Box::pin(core.engine.api.events(Some(options)));
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => take(core, event),
            Err(e) => return error(e),
        }
    }
    super::engine::unavailable("it closed the stream of events")
}

/// Takes in one event. What it says of a death counts at once; all else is looked up, so that a
/// late event cannot undo what is known since.
fn take(core: &Arc<Core>, event: EventMessage) {
    let attributes = event.actor.and_then(|actor| actor.attributes).unwrap_or_default();
    let Some((name, replica)) = replica_of(&attributes) else { return };
    match event.action.as_deref() {
        Some("die") => died(core, &name, &replica, &attributes),
        Some("oom") => core.update(&name, |group| group.ran_out_of_memory(&replica)),
        _ => {}
    }
    let work = core.clone();
    core.spawn(async move {
        if let Err(error) = work.look(&name, &replica).await {
            tracing::debug!(replica, %error, "cannot look at a container");
        }
    });
}

fn died(core: &Arc<Core>, name: &Name, replica: &str, attributes: &HashMap<String, String>) {
    core.update(name, |group| {
        group.exited(replica, |out_of_memory| exit_of_event(attributes, out_of_memory));
    });
    let expected = core.member(name, replica, |m| m.stage != Stage::Active).unwrap_or(true);
    if expected {
        return;
    }
    let (work, name, replica) = (core.clone(), name.clone(), replica.to_owned());
    core.spawn(async move {
        let words = work.last_words(&replica).await;
        work.update(&name, |group| {
            let member = group.members.get_mut(&replica);
            member.into_iter().for_each(|member| member.last_words.clone_from(&words));
        });
    });
}
