use provider::fake::Fake;
use provider::{Address, Calls, Error, Function, Leadership, Provider, State, Status};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::yield_now;

use super::*;
use crate::metrics::Metrics;
use crate::scaling::journal::{Cause, Record};

/// An autoscaler whose clock the test turns.
struct World {
    fake: Arc<Fake>,
    directory: Arc<Directory>,
    scaler: Arc<Scaler>,
    autoscaler: Autoscaler,
    second: u64,
    start: Timestamp,
}

const F: &str = "f.openfaas-fn";

impl World {
    async fn new(options: Options) -> Self {
        let calls = Calls::default();
        let fake = Fake::new(Address::Tcp(([127, 0, 0, 1], 9).into()), calls.clone());
        let metrics = Metrics::new().unwrap();
        let directory = Arc::new(Directory::new(calls, metrics, Duration::from_secs(60)));
        tokio::spawn({
            let (directory, events) = (directory.clone(), fake.watch());
            async move { directory.follow(events).await }
        });
        directory.synced().await;
        let scaler = Scaler::new(fake.clone(), directory.clone(), Handle::current());
        let scaler = Arc::new(scaler.led_by(options.lead.clone()));
        let autoscaler = Autoscaler::new(scaler.clone(), options).unwrap();
        // A Friday, 10:00 in Berlin.
        let start = "2026-06-05T08:00:00Z".parse().unwrap();
        Self { fake, directory, scaler, autoscaler, second: 0, start }
    }

    /// With a function of 10 calls a second a replica.
    async fn with(labels: &str) -> Self {
        let world = Self::new(Options { wakes: true, ..Options::default() }).await;
        world.deploy(labels).await;
        world
    }

    async fn deploy(&self, labels: &str) {
        let target =
            r#""com.openfaas.scale.target":"10","com.openfaas.scale.target-proportion":"1""#;
        let body = format!(r#"{{"service":"f","image":"i","labels":{{{target}{labels}}}}}"#);
        let function = Function::from_json(body.as_bytes()).unwrap();
        let status = self.fake.apply(&function).await.unwrap();
        self.directory.deployed(status);
        self.settled().await;
    }

    fn entry(&self) -> Arc<Entry> {
        self.directory.get(F).unwrap()
    }

    fn records(&self) -> Vec<Record> {
        self.entry().live.journal.read()
    }

    fn status(&self) -> Status {
        self.entry().status.clone()
    }

    /// Everything that can go on has gone on.
    async fn settled(&self) {
        for _ in 0..50 {
            yield_now().await;
        }
    }

    /// One look, after so many calls have come and gone.
    async fn tick(&mut self, calls: u64) -> u32 {
        self.entry().live.metrics.started.inc_by(calls);
        self.second += 1;
        let at = Duration::from_secs(self.second);
        self.autoscaler.tick(at, self.start + at);
        self.settled().await;
        self.entry().status.desired
    }

    /// So many milliseconds of calls at an even rate, with all looks and glances in them.
    async fn pass(&mut self, from: u64, millis: u64, per_second: u64) -> u32 {
        for now in (from + 1)..=(from + millis) {
            let due = now * per_second / 1000 - (now - 1) * per_second / 1000;
            self.entry().live.metrics.started.inc_by(due);
            let at = Duration::from_millis(now);
            match now {
                _ if now % 1000 == 0 => self.autoscaler.tick(at, self.start + at),
                _ if now % 250 == 0 => self.autoscaler.glance(at, self.start + at),
                _ => continue,
            }
            self.settled().await;
        }
        self.entry().status.desired
    }

    async fn ticks(&mut self, count: u64, calls: u64) -> u32 {
        for _ in 0..count {
            self.tick(calls).await;
        }
        self.entry().status.desired
    }

    /// What the provider was asked for.
    fn asked(&self) -> Vec<Target> {
        self.fake.scales().into_iter().map(|(_, to)| to).collect()
    }
}

#[tokio::test]
async fn load_brings_replicas_and_they_go_when_it_does() {
    let mut world = World::with("").await;
    world.ticks(3, 5).await;
    assert_eq!(world.ticks(3, 60).await, 6);
    let up = &world.records()[1];
    assert_eq!((up.what.cause, up.what.to), (Cause::Load, 6));
    assert_eq!(up.what.numbers.as_ref().unwrap().per_replica, 10.0);
    assert_eq!(world.ticks(50, 5).await, 6, "not before a stable window is over");
    assert_eq!(world.ticks(80, 5).await, 1);
}

#[tokio::test]
async fn a_step_is_followed_within_a_second_whenever_it_comes() {
    for phase in (0..1000).step_by(50) {
        let mut world = World::with("").await;
        assert_eq!(world.pass(0, 10_000 + phase, 10).await, 1);
        assert_eq!(world.pass(10_000 + phase, 1000, 200).await, 20, "{phase} ms after a tick");
        let after = world.pass(11_000 + phase, 9000, 200).await;
        assert_eq!(after, 20);
    }
}

#[tokio::test]
async fn calls_in_flight_leap_and_few_calls_do_not() {
    let capacity = r#","com.openfaas.scale.type":"capacity""#;
    let mut world = World::with(capacity).await;
    world.pass(0, 3000, 0).await;
    world.entry().live.metrics.in_flight.set(75);
    assert_eq!(world.pass(3000, 500, 0).await, 8);
    let mut world = World::with("").await;
    world.pass(0, 3000, 10).await;
    // Fifteen in a quarter of a second are too few for a rate.
    assert_eq!(world.pass(3000, 900, 60).await, 1);
    assert_eq!(world.pass(3900, 2100, 60).await, 6);
}

#[tokio::test]
async fn a_function_without_labels_is_scaled_by_calls_a_second() {
    let mut world = World::new(Options { wakes: true, ..Options::default() }).await;
    let function = Function::from_json(br#"{"service":"f","image":"i"}"#).unwrap();
    world.directory.deployed(world.fake.apply(&function).await.unwrap());
    assert_eq!(world.ticks(5, 45).await, 1);
    assert_eq!(world.ticks(5, 100).await, 3);
    assert_eq!(world.ticks(5, 100_000).await, 20);
    assert_eq!(world.ticks(300, 0).await, 1, "it does not go to zero");
}

#[tokio::test]
async fn idle_functions_freeze_and_then_stop_and_calls_in_flight_keep_them() {
    let zero = r#","com.openfaas.scale.zero":"true","com.openfaas.scale.zero-duration":"1m""#;
    let mut world = World::with(zero).await;
    world.tick(1).await;
    let in_flight = world.entry().live.metrics.in_flight.clone();
    in_flight.inc();
    assert_eq!(world.ticks(100, 0).await, 1, "a stream is open");
    assert!(!world.entry().is_frozen());
    in_flight.dec();
    world.ticks(9, 0).await;
    assert!(!world.entry().is_frozen());
    world.ticks(2, 0).await;
    assert!(world.entry().is_frozen());
    assert!(world.records().iter().any(|r| r.what.frozen && r.what.cause == Cause::Idle));
    assert_eq!(world.ticks(60, 0).await, 0);
    assert_eq!(world.asked(), [Target::Frozen, Target::Replicas(0)]);
    assert_eq!(world.ticks(60, 0).await, 0);
    assert_eq!(world.asked().len(), 2, "what sleeps is left alone");
}

#[tokio::test]
async fn nothing_sleeps_when_nothing_wakes_or_another_gateway_may_have_calls() {
    let zero = r#","com.openfaas.scale.zero":"true","com.openfaas.scale.zero-duration":"20s""#;
    for (wakes, quiet, asleep) in [(false, 0, false), (true, 500, false), (true, 60, true)] {
        let quiet = Duration::from_secs(quiet);
        let mut world = World::new(Options { wakes, quiet, ..Options::default() }).await;
        world.deploy(zero).await;
        world.ticks(59, 0).await;
        assert!(world.asked().is_empty());
        world.ticks(60, 0).await;
        assert_eq!(world.entry().is_asleep(), asleep);
    }
}

const WINDOW: &str = r#","flint.dev/scale.schedule":"* 10 * * * Europe/Berlin = 4","com.openfaas.scale.zero":"true","com.openfaas.scale.zero-duration":"30s""#;

#[tokio::test]
async fn a_schedule_keeps_and_wakes_for_its_time() {
    let mut world = World::with(WINDOW).await;
    world.start = "2026-06-05T07:58:00Z".parse().unwrap();
    assert_eq!(world.ticks(90, 0).await, 0, "idle before the window");
    assert_eq!(world.ticks(31, 0).await, 4, "it opens");
    assert!(world.records().iter().any(|r| r.what.cause == Cause::Schedule && r.what.to == 4));
    assert_eq!(world.ticks(300, 0).await, 4, "no tier while it is open");
    world.start = "2026-06-05T09:00:00Z".parse().unwrap();
    world.ticks(1, 0).await;
    assert_eq!(world.ticks(30, 0).await, 0);
}

#[tokio::test]
async fn load_that_is_to_change_nothing_changes_nothing() {
    let options = Options { wakes: true, ignores_load: true, ..Options::default() };
    let mut world = World::new(options).await;
    world.deploy(WINDOW).await;
    assert_eq!(world.ticks(9, 500).await, 4, "its schedule does");
    let reason = world.records()[0].what.reason.clone();
    assert!(reason.contains("--scale-by-load"), "{reason}");
    world.start = "2026-06-05T09:00:00Z".parse().unwrap();
    assert_eq!(world.ticks(60, 0).await, 0, "and the way to zero");
}

#[tokio::test]
async fn what_was_stopped_by_hand_stays_so() {
    let mut world = World::with(WINDOW).await;
    assert_eq!(world.ticks(2, 0).await, 4);
    let name = world.entry().name.clone();
    world.scaler.scale(&name, 0, Cause::Manual).await.unwrap();
    world.settled().await;
    assert_eq!(world.ticks(200, 0).await, 0);
    assert!(world.records()[0].what.reason.contains("by hand"), "{:?}", world.records());
    let wake = tokio::spawn({
        let (scaler, entry) = (world.scaler.clone(), world.entry());
        async move { scaler.wake(&entry).await }
    });
    world.settled().await;
    wake.await.unwrap().unwrap();
    assert_eq!(world.ticks(2, 1).await, 4, "a call started it");
}

#[tokio::test]
async fn what_was_asked_for_by_hand_holds_until_the_load_says_otherwise() {
    let mut world = World::with("").await;
    world.ticks(100, 1).await;
    let name = world.entry().name.clone();
    world.scaler.scale(&name, 7, Cause::Manual).await.unwrap();
    world.settled().await;
    assert_eq!(world.ticks(60, 1).await, 7);
    assert_eq!(world.ticks(30, 1).await, 1);
    world.scaler.scale(&name, 99, Cause::Manual).await.unwrap();
    world.settled().await;
    assert_eq!(world.status().desired, 20, "within the bounds");
    world.scaler.scale(&name, 2, Cause::Manual).await.unwrap();
    world.settled().await;
    assert_eq!(world.ticks(4, 80).await, 8, "more load than that");
}

#[tokio::test]
async fn an_update_keeps_the_window_and_the_count() {
    let mut world = World::with("").await;
    world.ticks(70, 40).await;
    assert_eq!(world.status().desired, 4);
    world.deploy(r#","a":"b""#).await;
    assert_eq!((world.status().desired, world.status().generation), (4, 2));
    assert_eq!(world.ticks(3, 1).await, 4);
    world.ticks(3, 40).await;
    let numbers = world.records()[0].what.numbers.clone().unwrap();
    assert!(numbers.stable.unwrap() > 30.0, "{numbers:?}");
}

#[tokio::test]
async fn a_change_that_fails_is_explained_and_tried_again_later() {
    let mut world = World::with("").await;
    world.ticks(2, 5).await;
    world.fake.fail_next(Error::Conflict("no room".to_owned()));
    assert_eq!(world.ticks(2, 40).await, 1);
    assert_eq!(world.tick(40).await, 1);
    let refused = world.records().into_iter().find(|r| !r.what.refused.is_empty()).unwrap();
    assert_eq!((&*refused.what.refused, refused.what.cause), ("no room", Cause::Load));
    assert_eq!(world.ticks(5, 40).await, 1, "not every second");
    assert_eq!(world.ticks(9, 40).await, 4);
}

#[tokio::test]
async fn one_change_of_a_function_at_a_time() {
    let mut world = World::with("").await;
    world.ticks(2, 5).await;
    let label = world.entry().label.clone();
    let slow = Decision::new(Cause::Load, 1, 2, "a provider that takes its time");
    world.autoscaler.changing.insert(label.clone(), slow);
    assert_eq!(world.ticks(5, 40).await, 1);
    assert!(world.asked().is_empty(), "the last one is not done");
    world.autoscaler.changing.remove(&label);
    assert_eq!(world.tick(40).await, 4);
}

#[tokio::test]
async fn a_function_that_is_removed_is_forgotten() {
    let mut world = World::with("").await;
    world.ticks(3, 40).await;
    let name = world.entry().name.clone();
    world.fake.remove(&name).await.unwrap();
    world.directory.removed(&name);
    world.autoscaler.tick(Duration::from_secs(100), world.start);
    assert!(world.autoscaler.watched.is_empty());
    world.second = 100;
    world.deploy("").await;
    assert_eq!(world.tick(0).await, 1);
    assert!(world.status().replicas.iter().any(|replica| replica.state == State::Ready));
}

#[tokio::test]
async fn types_that_are_not_known_never_scale_down() {
    for (kind, words) in [
        ("queue", "there is no queue"),
        ("latency", "--scaling-query"),
        ("cpu", "nobody has looked"),
    ] {
        let mut world = World::with(&format!(r#","com.openfaas.scale.type":"{kind}""#)).await;
        let name = world.entry().name.clone();
        world.scaler.scale(&name, 5, Cause::Manual).await.unwrap();
        world.settled().await;
        assert_eq!(world.ticks(200, 50).await, 5);
        let reason = world.records()[0].what.reason.clone();
        assert!(reason.contains(words), "{reason}");
    }
}

#[tokio::test]
async fn what_cannot_be_frozen_is_stopped_when_its_time_has_come() {
    let zero = r#","com.openfaas.scale.zero":"true","com.openfaas.scale.zero-duration":"1m""#;
    let mut world = World::with(zero).await;
    world.fake.set_freezes(false);
    world.autoscaler.freezes = world.scaler.freezes();
    assert_eq!(world.ticks(59, 0).await, 1);
    assert!(world.asked().is_empty() && !world.entry().is_frozen());
    assert_eq!(world.ticks(2, 0).await, 0);
}

#[tokio::test]
async fn who_has_the_type_none_is_scaled_by_others_but_sleeps_and_keeps_its_schedule() {
    let none = r#","com.openfaas.scale.type":"none","com.openfaas.scale.max":"5""#;
    let mut world = World::with(&format!("{none}{WINDOW}")).await;
    world.start = "2026-06-05T07:58:00Z".parse().unwrap();
    let name = world.entry().name.clone();
    // Another client, which knows nothing of the labels.
    world.fake.scale(&name, Target::Replicas(9)).await.unwrap();
    world.settled().await;
    assert_eq!(world.ticks(25, 500).await, 9, "neither load nor max changes that");
    world.fake.scale(&name, Target::Replicas(1)).await.unwrap();
    world.settled().await;
    assert_eq!(world.ticks(60, 500).await, 1);
    assert!(world.records()[0].what.reason.contains("none"), "{:?}", world.records()[0]);
    assert_eq!(world.ticks(34, 0).await, 0, "it is idle");
    assert_eq!(world.ticks(2, 0).await, 4, "its window is open");
}

/// Another gateway's letter: so many calls have begun there, and so many are in flight.
fn letter(is_first: bool, started: u64, in_flight: u64) -> crate::peers::Letter {
    let counts = crate::peers::Counts { started, in_flight, notes: Vec::new() };
    crate::peers::Letter { is_first, functions: [(F.to_owned(), counts)].into() }
}

/// A function that is idle after half a minute, on a gateway that is told whether it leads.
async fn with_others(quiet: u64) -> (World, watch::Sender<Leadership>, Arc<Tally>) {
    let (told, leadership) = watch::channel(Leadership::default());
    let (lead, tally) = (Lead::new(Some(leadership)), Arc::new(Tally::default()));
    let quiet = Duration::from_secs(quiet);
    let options = Options { wakes: true, quiet, lead, tally: tally.clone(), ..Options::default() };
    let world = World::new(options).await;
    world
        .deploy(r#","com.openfaas.scale.zero":"true","com.openfaas.scale.zero-duration":"30s""#)
        .await;
    (world, told, tally)
}

fn leads() -> Leadership {
    Leadership::of("me".to_owned(), None).until(Instant::now() + Duration::from_secs(86_400))
}

#[tokio::test(start_paused = true)]
async fn only_the_gateway_that_leads_decides() {
    let (mut world, told, _) = with_others(100).await;
    assert_eq!(world.ticks(90, 60).await, 1, "another one leads");
    assert_eq!(world.ticks(90, 0).await, 1);
    assert!(world.records().is_empty());
    told.send_replace(leads());
    assert_eq!(world.ticks(4, 60).await, 6, "more is brought at once");
    assert_eq!(world.ticks(95, 1).await, 6, "it is quiet: others may have calls");
    let reason = world.records()[0].what.reason.clone();
    assert!(reason.contains("other gateways may have calls"), "{reason}");
    assert_eq!(world.ticks(100, 1).await, 1);
    told.send_replace(Leadership::of("other".to_owned(), None));
    assert_eq!(world.ticks(90, 60).await, 1);
    assert_eq!(world.ticks(90, 0).await, 1, "nor does it sleep");
}

#[tokio::test(start_paused = true)]
async fn who_stops_leading_while_a_change_waits_does_not_make_it() {
    let (mut world, told, _) = with_others(0).await;
    told.send_replace(leads());
    world.ticks(2, 5).await;
    told.send_replace(Leadership::default());
    let name = world.entry().name.clone();
    for cause in [Cause::Load, Cause::Schedule, Cause::Idle] {
        let error = world.scaler.scale(&name, 3, cause).await.unwrap_err().to_string();
        assert!(error.contains("another gateway leads"), "{error}");
    }
    world.scaler.scale(&name, 2, Cause::Manual).await.unwrap();
    world.scaler.scale(&name, 4, Cause::Alert).await.unwrap();
    assert_eq!(world.asked(), [Target::Replicas(2), Target::Replicas(4)]);
}

#[tokio::test(start_paused = true)]
async fn calls_of_other_gateways_count_and_who_is_silent_may_still_have_some() {
    let (mut world, told, tally) = with_others(0).await;
    told.send_replace(leads());
    world.ticks(1, 0).await;
    let second = Duration::from_secs(1);
    let mut started = 1000;
    tally.take_in("a", &letter(true, started, 0), Instant::now()).unwrap();
    for _ in 0..40 {
        tokio::time::advance(second).await;
        started += 10;
        tally.take_in("a", &letter(false, started, 2), Instant::now()).unwrap();
        world.tick(30).await;
    }
    assert_eq!(world.status().desired, 4, "10 there and 30 here, a replica for each 10");
    // It is killed, and nothing comes here either.
    for _ in 0..110 {
        tokio::time::advance(second).await;
        world.tick(0).await;
    }
    assert_eq!(world.status().desired, 4);
    let reason = world.records()[0].what.reason.clone();
    assert!(reason.contains("gateway a does not tell"), "{reason}");
    for _ in 0..60 {
        tokio::time::advance(second).await;
        world.tick(0).await;
    }
    assert_eq!(world.status().desired, 0, "it is taken for gone, and nobody calls");
}

#[tokio::test(start_paused = true)]
async fn a_stream_at_another_gateway_keeps_a_function_awake_until_that_one_has_ended() {
    let (mut world, told, tally) = with_others(0).await;
    told.send_replace(leads());
    world.ticks(1, 0).await;
    tally.take_in("a", &letter(true, 7, 1), Instant::now()).unwrap();
    for _ in 0..100 {
        tokio::time::advance(Duration::from_secs(1)).await;
        tally.take_in("a", &letter(false, 7, 1), Instant::now()).unwrap();
        world.tick(0).await;
    }
    assert!(!world.entry().is_asleep());
    tally.goodbye("a");
    assert_eq!(world.ticks(31, 0).await, 0);
}
