//! What is told of a group of containers: its status and why it is not as wanted. No IO.

use std::collections::BTreeSet;

use super::group::{Group, Member, Stage};
use super::seen::Phase;
use crate::words::{describe_end, not_ready};
use crate::{Replica, State, Status};

/// The status of a function; `None` when it is gone.
pub(super) fn status(group: &Group) -> Option<Status> {
    let wanted = group.wanted()?;
    let serving = group.serving();
    let newest = group.current().find(|m| m.generation() == wanted)?;
    Some(Status {
        function: newest.seen.deploy.function.clone(),
        desired: group.desired(),
        replicas: replicas(group).map(|m| replica(m, serving)).collect(),
        generation: wanted,
        created_at: newest.seen.deploy.created_at,
        reason: reason(group, wanted),
        warnings: warnings(group, wanted),
    })
}

/// What was never started is none yet.
fn replicas(group: &Group) -> impl Iterator<Item = &Member> {
    let spare = |m: &&Member| {
        m.stage != Stage::Spare && !(m.stage != Stage::Active && m.seen.phase == Phase::Created)
    };
    group.members.values().filter(spare)
}

fn replica(member: &Member, serving: Option<u64>) -> Replica {
    Replica {
        id: member.seen.replica.clone(),
        address: member.address.clone(),
        state: state(member, serving),
        generation: member.generation(),
        restarts: member.seen.restarts,
        last_exit: member.last_exit.clone(),
        trouble: member.trouble.clone(),
    }
}

fn state(member: &Member, serving: Option<u64>) -> State {
    match member.seen.phase {
        // Until it is at rest for good: one that is only just stopping cannot be started yet.
        _ if member.stage != Stage::Active => State::Draining,
        Phase::Exited => State::Stopped,
        Phase::Paused => State::Frozen,
        Phase::Running if member.freezing => State::Frozen,
        Phase::Running if member.is_ready() && Some(member.generation()) == serving => State::Ready,
        _ => State::Starting,
    }
}

/// Why the function is not as wanted: the last deploy's failure, else its sickest replica's.
fn reason(group: &Group, wanted: u64) -> String {
    if !group.failure.is_empty() {
        return group.failure.clone();
    }
    let sick = |m: &&Member| m.is_wanted_up() && !m.is_ready() && m.generation() == wanted;
    let worst = group.current().filter(sick).max_by_key(|m| m.seen.restarts);
    let Some(trouble) = worst.and_then(trouble) else { return String::new() };
    not_ready(wanted, &trouble)
}

/// What is amiss with any replica of the wanted generation, each thing once.
fn warnings(group: &Group, wanted: u64) -> Vec<String> {
    let of_wanted = group.current().filter(|m| m.generation() == wanted);
    let all: BTreeSet<_> = of_wanted.flat_map(|m| m.seen.warnings.iter().cloned()).collect();
    all.into_iter().collect()
}

fn trouble(member: &Member) -> Option<String> {
    if !member.trouble.is_empty() {
        return Some(member.trouble.clone());
    }
    if member.last_exit.is_empty() {
        return None;
    }
    Some(describe_end(&member.last_exit, member.seen.restarts, &member.last_words))
}

#[cfg(test)]
mod tests {
    use super::super::group::tests::Scene;
    use super::*;

    #[test]
    fn the_reason_names_exit_restarts_and_last_words() {
        let mut scene = Scene::new();
        scene.add("a1", 1).ready("a1").add("b1", 2);
        scene.member("b1", |m| {
            m.last_exit = "exit code 3".to_owned();
            m.last_words = "no such file".to_owned();
            m.seen.restarts = 2;
            m.seen.phase = Phase::Restarting;
        });
        let status = status(&scene.group).unwrap();
        let want = "generation 2 is not ready: exit code 3, restarted 2 times: no such file";
        assert_eq!(status.reason, want);
        assert_eq!((status.generation, status.desired), (2, 1));
        let states: Vec<_> = status.replicas.iter().map(|r| r.state).collect();
        assert_eq!(states, [State::Ready, State::Starting]);
    }

    #[test]
    fn a_failed_deploy_is_told_while_the_old_one_serves() {
        let mut scene = Scene::new();
        scene.add("a1", 1).ready("a1");
        scene.group.failure = "image x: not there".to_owned();
        let status = status(&scene.group).unwrap();
        assert_eq!(status.reason, "image x: not there");
        assert_eq!(status.ready().count(), 1);
    }

    #[test]
    fn a_sleeping_function_is_well() {
        let mut scene = Scene::new();
        scene.add("a1", 1).phase("a1", Phase::Exited);
        let status = status(&scene.group).unwrap();
        assert_eq!((status.desired, status.reason.as_str()), (0, ""));
        assert_eq!(status.replicas[0].state, State::Stopped);
    }
}
