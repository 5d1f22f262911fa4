//! What is told of a function: its status and why it is not as wanted. No IO.

use std::net::SocketAddr;

use super::render::warnings;
use super::state::{Known, Member, Wanted};
use crate::probe::PORT;
use crate::words::not_ready;
use crate::{Address, Function, Name, Replica, State, Status};

/// The status of a function; `None` when it is gone.
pub(super) fn status(name: &Name, known: &Known) -> Option<Status> {
    let wanted = known.wanted()?;
    let found = &wanted.found;
    let pods = known.pods.iter().filter(|(_, member)| !member.seen.is_over);
    Some(Status {
        function: Function { namespace: name.namespace().to_owned(), ..found.function.clone() },
        desired: found.desired,
        replicas: pods.map(|(id, member)| replica(id, member, known)).collect(),
        generation: found.generation,
        created_at: found.created_at,
        reason: reason(known, wanted),
        warnings: warnings(&found.function),
    })
}

/// Whether a pod finishes its calls and takes no new ones: it is on its way out, or as many of a
/// newer deploy as are wanted serve already, so that it is about to be.
pub(super) fn is_draining(member: &Member, known: &Known) -> bool {
    if member.is_leaving() {
        return true;
    }
    let Some(wanted) = known.wanted() else { return true };
    let generation = wanted.found.generation;
    let newer = |m: &&Member| m.seen.generation == generation && m.is_ready();
    member.seen.generation < generation
        && wanted.found.desired > 0
        && known.pods.values().filter(newer).count() >= wanted.found.desired as usize
}

fn replica(id: &str, member: &Member, known: &Known) -> Replica {
    let seen = &member.seen;
    Replica {
        id: id.to_owned(),
        address: seen.ip.map(|ip| Address::Tcp(SocketAddr::new(ip, PORT))),
        state: match () {
            () if is_draining(member, known) => State::Draining,
            () if member.is_ready() => State::Ready,
            () => State::Starting,
        },
        generation: seen.generation,
        restarts: seen.restarts,
        last_exit: seen.last_exit.clone(),
        trouble: trouble(member).to_owned(),
    }
}

/// What keeps a pod from getting ready for long.
fn trouble(member: &Member) -> &str {
    match member.is_ready() {
        true => "",
        false if member.seen.trouble.is_empty() => &member.silence,
        false => &member.seen.trouble,
    }
}

/// Why the function is not as wanted: its sickest pod's trouble, or why it has too few.
fn reason(known: &Known, wanted: &Wanted) -> String {
    let generation = wanted.found.generation;
    let pods = known.pods.values().filter(|m| !m.seen.is_over && !m.is_leaving());
    let current: Vec<_> = pods.filter(|m| m.seen.generation == generation).collect();
    let rank = |m: &&&Member| (!trouble(m).is_empty(), m.seen.restarts);
    let worst = current.iter().filter(|m| !m.is_ready()).max_by_key(rank);
    let text = worst.map_or("", |m| match trouble(m) {
        "" => &m.seen.waiting,
        trouble => trouble,
    });
    let missing = current.len() < wanted.found.desired as usize;
    match text {
        "" if missing && !wanted.failure.is_empty() => not_ready(generation, &wanted.failure),
        "" => String::new(),
        text => not_ready(generation, text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::pods::Seen;
    use super::super::read::Found;
    use super::*;

    fn known(desired: u32, pods: Vec<(&str, Member)>) -> Known {
        let function =
            Function { service: "echo".into(), image: "i".into(), ..Function::default() };
        let found =
            Found { function, generation: 2, created_at: jiff::Timestamp::UNIX_EPOCH, desired };
        let wanted = Wanted {
            uid: "d".into(),
            version: 1,
            found,
            is_ours: true,
            is_going: false,
            available: 0,
            failure: String::new(),
            is_fresh: false,
        };
        let pods = pods.into_iter().map(|(pod, member)| (pod.to_owned(), member)).collect();
        Known { deployment: Some(wanted), pods }
    }

    fn pod(generation: u64) -> Member {
        let ip = "10.0.0.1".parse().ok();
        let seen = Seen { generation, ip, is_running: true, ..Seen::default() };
        Member { seen, ..Member::default() }
    }

    fn ready(generation: u64) -> Member {
        let mut member = pod(generation);
        (member.seen.is_ready, member.was_ready) = (true, true);
        member
    }

    fn states(known: &Known) -> Vec<State> {
        status(&Name::parse("echo").unwrap(), known)
            .unwrap()
            .replicas
            .iter()
            .map(|r| r.state)
            .collect()
    }

    #[test]
    fn whoever_says_ready_first_is_believed_until_the_kubelet_has_spoken() {
        let mut member = pod(2);
        assert!(!member.is_ready());
        member.has_answered = true;
        assert!(member.is_ready(), "it has answered us");
        member.was_ready = true;
        assert!(!member.is_ready(), "the kubelet took it back");
        member.seen.is_ready = true;
        assert!(member.is_ready());
        member.seen.is_terminating = true;
        assert!(!member.is_ready(), "it is on its way out");
    }

    #[test]
    fn the_old_ones_drain_when_as_many_new_ones_serve_as_are_wanted() {
        let half =
            known(2, vec![("a1", ready(1)), ("a2", ready(1)), ("b1", ready(2)), ("b2", pod(2))]);
        assert_eq!(states(&half), [State::Ready, State::Ready, State::Ready, State::Starting]);
        let whole = known(2, vec![("a1", ready(1)), ("b1", ready(2)), ("b2", ready(2))]);
        assert_eq!(states(&whole), [State::Draining, State::Ready, State::Ready]);
    }

    #[test]
    fn pods_of_a_deployment_that_is_gone_take_no_calls() {
        let made_at = |seconds: i64, generation: u64| {
            let mut member = ready(generation);
            member.seen.created_at = jiff::Timestamp::from_second(seconds).ok();
            member
        };
        let pods =
            vec![("old", made_at(100, 1)), ("early", made_at(195, 2)), ("new", made_at(201, 2))];
        let mut again = known(3, pods);
        let wanted = again.deployment.as_mut().unwrap();
        wanted.found.created_at = jiff::Timestamp::from_second(200).unwrap();
        again.part();
        assert_eq!(states(&again), [State::Ready, State::Ready, State::Draining]);
        again.forget_deployment();
        again.part();
        assert_eq!(status(&Name::parse("echo").unwrap(), &again), None);
        assert!(again.pods.values().all(|member| is_draining(member, &again)));
    }

    #[test]
    fn the_reason_is_the_sickest_pods_or_why_there_are_too_few() {
        let reason = |known: &Known| status(&Name::parse("echo").unwrap(), known).unwrap().reason;
        let mut sick = pod(2);
        sick.seen.trouble = "exit code 3, restarted 2 times".to_owned();
        let mut waits = pod(2);
        waits.seen.waiting = "no node takes it: full".to_owned();
        assert_eq!(
            reason(&known(1, vec![("a", ready(1)), ("b", sick), ("c", waits)])),
            "generation 2 is not ready: exit code 3, restarted 2 times"
        );
        let mut refused = known(1, vec![("a", ready(1))]);
        let failure = &mut refused.deployment.as_mut().unwrap().failure;
        "pods \"echo-1\" is forbidden: exceeded quota".clone_into(failure);
        assert!(reason(&refused).contains("exceeded quota"), "though the old one serves");
        assert_eq!(reason(&known(1, vec![("b", ready(2))])), "");
        assert_eq!(reason(&known(0, Vec::new())), "");
    }

    #[test]
    fn what_has_ended_for_good_is_no_replica() {
        let mut evicted = pod(2);
        evicted.seen.is_over = true;
        assert!(states(&known(1, vec![("a", evicted)])).is_empty());
    }
}
