//! Functions that sleep: who wakes them, in which order, with how many replicas, and why not.

use gateway::scaling::{Bounds, Cause};
use provider::{Error, Name, Provider, Replica, State, Target};

use crate::house::House;

const FUNCTION: &str = r#"{"service":"f","image":"i"}"#;

fn function(name: &str) -> String {
    format!(r#"{{"service":"{name}","image":"i","envVars":{{"max_inflight":"2"}}}}"#)
}

fn bounds(starts: usize, replicas: Option<u32>) -> Bounds {
    Bounds { starts, replicas }
}

impl House {
    /// A function that is at zero.
    async fn asleep(&self, name: &str) -> Name {
        let name = self.deploy(&function(name)).await;
        self.to(&name, Target::Replicas(0)).await;
        self.until(&name, |status| status.desired == 0 && status.ready().count() == 0).await;
        name
    }

    async fn to(&self, name: &Name, target: Target) {
        self.fake.scale(name, target).await.unwrap();
    }

    /// Waits until the provider was asked for so many replicas of a function.
    pub(crate) async fn asked_for(&self, name: &Name, count: u32) {
        let asked = (name.clone(), Target::Replicas(count));
        while !self.fake.scales().contains(&asked) {
            tokio::task::yield_now().await;
        }
    }

    /// What the provider was asked for, but for what puts functions to sleep.
    fn starts(&self) -> Vec<(String, u32)> {
        let started = |(name, to): (Name, Target)| match to {
            Target::Replicas(count @ 1..) => Some((name.function().to_owned(), count)),
            _ => None,
        };
        self.fake.scales().into_iter().filter_map(started).collect()
    }

    fn last_decision(&self, name: &Name) -> gateway::scaling::Decision {
        self.directory.find(name).unwrap().live.journal.read().first().unwrap().what.clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wake_brings_as_many_replicas_as_the_calls_need_that_wait() {
    let house = House::within(bounds(1, None)).await;
    let (other, f) = (house.asleep("other").await, house.asleep("f").await);
    house.fake.hold(true);
    let first = house.call("/function/other");
    house.asked_for(&other, 1).await;
    // The only permit is taken, so that these come together.
    let calls: Vec<_> = (0..7).map(|_| house.call("/function/f")).collect();
    house.waiting(7).await;
    assert_eq!(house.starts(), [("other".to_owned(), 1)]);
    house.fake.make_ready(&other);
    assert!(first.await.unwrap().starts_with("HTTP/1.1 200"));
    house.asked_for(&f, 4).await;
    house.fake.make_ready(&f);
    for call in calls {
        assert!(call.await.unwrap().starts_with("HTTP/1.1 200"));
    }
    assert_eq!(house.starts()[1..], [("f".to_owned(), 4)], "one start for all of them");
    let decision = house.last_decision(&f);
    assert_eq!((decision.cause, decision.from, decision.to), (Cause::Call, 0, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_are_started_one_after_the_other_in_the_order_of_their_calls() {
    let house = House::within(bounds(1, None)).await;
    let mut names = Vec::new();
    for name in ["a", "b", "c"] {
        names.push(house.asleep(name).await);
    }
    house.fake.hold(true);
    let mut calls = vec![house.call("/function/a")];
    house.asked_for(&names[0], 1).await;
    for (name, waiting) in [("b", 20), ("c", 1)] {
        calls.extend((0..waiting).map(|_| house.call(&format!("/function/{name}"))));
        let queue = || house.directory.get(name).unwrap();
        while queue().live.queue.len() < waiting {
            tokio::task::yield_now().await;
        }
        // Its wake is in the line when its first call has asked for it.
        tokio::task::yield_now().await;
    }
    for (index, count) in [(0, 1), (1, 10), (2, 1)] {
        house.asked_for(&names[index], count).await;
        assert_eq!(house.starts().len(), index + 1, "one at a time");
        house.fake.make_ready(&names[index]);
    }
    for call in calls {
        let answer = call.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_function_is_thawed_whoever_else_is_started() {
    let house = House::within(bounds(1, None)).await;
    let other = house.asleep("other").await;
    let f = house.deploy(&function("f")).await;
    house.to(&f, Target::Replicas(3)).await;
    house.until(&f, |status| status.ready().count() == 3).await;
    house.scaler.freeze(&f).await.unwrap();
    house.until(&f, |status| status.ready().count() == 0).await;
    house.fake.hold(true);
    let held = house.call("/function/other");
    house.asked_for(&other, 1).await;
    let calls: Vec<_> = (0..20).map(|_| house.call("/function/f")).collect();
    for call in calls {
        assert!(call.await.unwrap().starts_with("HTTP/1.1 200"));
    }
    let thaws: Vec<_> = house.starts().into_iter().filter(|(name, _)| name == "f").collect();
    assert_eq!(thaws, [("f".to_owned(), 3), ("f".to_owned(), 3)], "one thaw, of all of it");
    house.fake.make_ready(&other);
    assert!(held.await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_frozen_under_a_call() {
    let house = House::new().await;
    let f = house.deploy(FUNCTION).await;
    let replica = house.fake.status(&f).unwrap().replicas[0].id.clone();
    let call = house.calls.counter(&replica).enter();
    let error = house.scaler.freeze(&f).await.unwrap_err().to_string();
    assert!(error.contains("in flight"), "{error}");
    drop(call);
    house.scaler.freeze(&f).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_more_replicas_it_is_said_why() {
    let house = House::within(bounds(4, Some(4))).await;
    let sleeper = house.asleep("sleeper").await;
    let f = house.deploy(FUNCTION).await;
    let g = house.deploy(r#"{"service":"g","image":"i"}"#).await;
    let error = house.scaler.scale(&f, 5, Cause::Manual).await.unwrap_err().to_string();
    assert!(error.contains("--max-replicas is 4") && error.contains("have 1,"), "{error}");
    assert_eq!(house.last_decision(&f).refused, error);
    assert_eq!(house.fake.status(&f).unwrap().desired, 1, "all that was asked for, or nothing");
    house.scaler.scale(&f, 9, Cause::Load).await.unwrap();
    house.until(&f, |status| status.ready().count() == 3).await;

    let answer = house.call("/function/sleeper").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("--max-replicas"), "{answer}");
    assert!(house.last_decision(&sleeper).refused.contains("--max-replicas"));
    let more = provider::Function::from_json(br#"{"service":"new","image":"i"}"#).unwrap();
    let refused = house.scaler.admit(&more.name().unwrap(), &more).unwrap_err();
    assert!(matches!(refused, Error::Conflict(_)), "{refused}");
    // What does not grow is never refused.
    assert_eq!(house.scaler.admit(&g, &more).unwrap().count, 1);
    house.scaler.scale(&f, 1, Cause::Manual).await.unwrap();
    house.until(&f, |status| status.desired == 1).await;
    assert_eq!(house.scaler.admit(&more.name().unwrap(), &more).unwrap().count, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wake_that_fails_is_told_to_all_who_wait_and_tried_once() {
    let house = House::within(bounds(1, None)).await;
    let (other, f) = (house.asleep("other").await, house.asleep("f").await);
    house.fake.hold(true);
    let first = house.call("/function/other");
    house.asked_for(&other, 1).await;
    let calls: Vec<_> = (0..10).map(|_| house.call("/function/f")).collect();
    house.waiting(10).await;
    let reason = "manifest unknown".to_owned();
    house.fake.fail_next(Error::Image { image: "i".to_owned(), reason });
    house.fake.make_ready(&other);
    for call in calls {
        let answer = call.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains("image i: manifest unknown"), "{answer}");
    }
    assert!(first.await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(house.starts().len(), 2, "{:?} {f}", house.starts());
}

fn ended(replica: &mut Replica, restarts: u32, last_exit: &str) {
    replica.state = State::Starting;
    replica.restarts = restarts;
    last_exit.clone_into(&mut replica.last_exit);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_start_is_answered_with_the_reason_when_that_is_known() {
    let house = House::new().await;
    house.fake.hold(true);
    let f = house.deploy(FUNCTION).await;
    for (exit, trouble, restarts) in [
        ("exit code 3", "", 3),
        ("out of memory", "", 4),
        ("", "it never listened on port 8080", 0),
    ] {
        house.fake.edit(&f, |status| {
            status.replicas.iter_mut().for_each(|replica| {
                ended(replica, 0, "");
                replica.trouble.clear();
            });
            status.reason.clear();
        });
        house.until(&f, |status| status.reason.is_empty()).await;
        let call = house.call("/function/f");
        house.waiting(1).await;
        assert!(!call.is_finished(), "it may yet get ready");
        house.fake.edit(&f, |status| {
            status.reason = format!("generation 1 is not ready: {exit}{trouble}");
            status.replicas.iter_mut().for_each(|replica| {
                ended(replica, restarts, exit);
                trouble.clone_into(&mut replica.trouble);
            });
        });
        let answer = call.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains(&format!("not ready: {exit}{trouble}")), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_crashed_before_it_slept_is_woken_all_the_same() {
    let house = House::new().await;
    let f = house.asleep("f").await;
    house.fake.edit(&f, |status| {
        status.replicas.push(Replica {
            id: "old".to_owned(),
            address: None,
            state: State::Stopped,
            generation: 0,
            restarts: 9,
            last_exit: "exit code 3".to_owned(),
            trouble: String::new(),
        });
    });
    house.until(&f, |status| status.replicas.len() == 1).await;
    assert!(house.call("/function/f").await.unwrap().starts_with("HTTP/1.1 200"));
}
