//! What is decided, as a table of scenes.

use jiff::Timestamp;

use super::*;
use crate::Function;
use crate::replicas::deploy::Deploy;

/// A group that a test builds up.
pub(in crate::replicas) struct Scene {
    pub(in crate::replicas) group: Group,
}

impl Scene {
    pub(in crate::replicas) fn new() -> Self {
        Self { group: Group::default() }
    }

    /// A running container that does not answer yet.
    pub(in crate::replicas) fn add(&mut self, replica: &str, generation: u64) -> &mut Self {
        self.group.observe(seen(replica, generation));
        self
    }

    pub(in crate::replicas) fn ready(&mut self, replica: &str) -> &mut Self {
        self.member(replica, |m| m.address = Some(Address::Unix("/s".into())))
    }

    pub(in crate::replicas) fn phase(&mut self, replica: &str, phase: Phase) -> &mut Self {
        self.member(replica, |m| m.seen.phase = phase)
    }

    pub(in crate::replicas) fn member(
        &mut self,
        replica: &str,
        change: impl FnOnce(&mut Member),
    ) -> &mut Self {
        change(self.group.members.get_mut(replica).unwrap());
        self
    }

    fn serving(&self) -> u64 {
        self.group.serving().unwrap()
    }
}

pub(in crate::replicas) fn seen(replica: &str, generation: u64) -> Seen {
    let function = Function::from_json(br#"{"service":"echo","image":"i"}"#).unwrap();
    let name = function.name().unwrap();
    let deploy = Deploy { function, name, generation, created_at: Timestamp::UNIX_EPOCH };
    Seen {
        id: format!("id-{replica}"),
        replica: replica.to_owned(),
        deploy,
        image: "sha256:0".to_owned(),
        phase: Phase::Running,
        started_at: "1".to_owned(),
        ip: None,
        restarts: 0,
        last_exit: String::new(),
        removed: false,
        warnings: Vec::new(),
    }
}

#[test]
fn the_old_serves_until_all_of_the_new_is_ready() {
    let mut scene = Scene::new();
    scene.add("a1", 1).ready("a1").add("b1", 2).add("b2", 2).ready("b1");
    assert_eq!(scene.serving(), 1);
    assert!(scene.group.superseded().is_empty());
    scene.ready("b2");
    assert_eq!(scene.serving(), 2);
    assert_eq!(scene.group.superseded(), ["a1"]);
}

#[test]
fn the_new_serves_as_soon_as_it_can_when_nothing_else_does() {
    let mut scene = Scene::new();
    scene.add("a1", 1).add("b1", 2).add("b2", 2);
    assert_eq!(scene.serving(), 1);
    scene.ready("b1");
    assert_eq!(scene.serving(), 2);
    assert_eq!(scene.group.superseded(), ["a1"]);
}

#[test]
fn a_newer_deploy_drops_the_one_that_never_served() {
    let mut scene = Scene::new();
    scene.add("a1", 1).ready("a1").add("b1", 2).add("c1", 3);
    assert_eq!(scene.serving(), 1);
    assert_eq!(scene.group.superseded(), ["b1"]);
}

#[test]
fn the_newest_whole_generation_serves_when_three_meet() {
    let mut scene = Scene::new();
    scene.add("a1", 1).ready("a1").add("b1", 2).ready("b1").add("c1", 3);
    assert_eq!(scene.serving(), 2);
    assert_eq!(scene.group.superseded(), ["a1"]);
}

#[test]
fn a_crash_of_the_new_before_the_switch_changes_nothing() {
    let mut scene = Scene::new();
    scene.add("a1", 1).ready("a1").add("b1", 2);
    scene.group.exited("b1", |_| "exit code 1".to_owned());
    assert_eq!(scene.serving(), 1);
    assert_eq!(scene.group.members["b1"].last_exit, "exit code 1");
    assert_eq!(scene.group.desired(), 1);
}

#[test]
fn a_new_container_that_the_engine_gave_up_does_not_push_the_old_out() {
    let mut scene = Scene::new();
    scene.add("a1", 1).ready("a1").add("b1", 2).phase("b1", Phase::Exited);
    assert_eq!(scene.serving(), 1);
    assert!(scene.group.superseded().is_empty());
}

#[test]
fn draining_replicas_are_neither_wanted_nor_asked() {
    let mut scene = Scene::new();
    scene.add("a1", 1).ready("a1").add("a2", 1).ready("a2");
    scene.member("a2", |m| m.stage = Stage::Leaving);
    assert_eq!(scene.group.desired(), 1);
    scene.member("a1", |m| m.stage = Stage::Leaving);
    assert_eq!(scene.group.wanted(), None);
}

#[test]
fn a_restart_that_was_missed_is_seen_by_its_start_time() {
    let mut scene = Scene::new();
    scene.add("a1", 1).ready("a1");
    scene.group.observe(seen("a1", 1));
    assert!(scene.group.members["a1"].is_ready());
    let again = Seen { started_at: "2".to_owned(), restarts: 1, ..seen("a1", 1) };
    scene.group.observe(again);
    assert!(!scene.group.members["a1"].is_ready());
}

#[test]
fn a_frozen_replica_counts_and_its_thaw_is_told() {
    let mut scene = Scene::new();
    scene.add("a1", 1).ready("a1");
    let frozen = Seen { phase: Phase::Paused, ..seen("a1", 1) };
    assert!(!scene.group.observe(frozen));
    assert_eq!(scene.group.desired(), 1);
    assert!(scene.group.observe(seen("a1", 1)));
    assert!(scene.group.members["a1"].is_ready());
}

#[test]
fn a_container_of_a_removed_function_leaves() {
    let mut scene = Scene::new();
    scene.group.observe(Seen { removed: true, ..seen("a1", 1) });
    assert_eq!(scene.group.wanted(), None);
    assert_eq!(scene.group.members["a1"].stage, Stage::Leaving);
}

#[test]
fn want_of_memory_is_known_whether_it_is_told_before_or_after_the_end() {
    let mut scene = Scene::new();
    scene.add("a1", 1).add("a2", 1);
    let exit = |told: bool| if told { OUT_OF_MEMORY } else { KILLED }.to_owned();
    scene.group.ran_out_of_memory("a1");
    scene.group.exited("a1", exit);
    scene.group.exited("a2", exit);
    scene.group.ran_out_of_memory("a2");
    let look = Seen { phase: Phase::Restarting, last_exit: KILLED.to_owned(), ..seen("a2", 1) };
    scene.group.observe(look);
    for member in scene.group.members.values() {
        assert_eq!((member.last_exit.as_str(), member.out_of_memory), (OUT_OF_MEMORY, false));
    }
}
