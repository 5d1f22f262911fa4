use http::header::HeaderValue;
use jiff::Timestamp;
use provider::fake::Fake;
use provider::{Address, Calls, Function, Leadership, Provider};
use tokio::sync::watch;

use super::*;
use crate::metrics::Metrics;
use crate::scaling::{Cause, Decision};

/// A gateway with two functions, whose calls the test counts.
struct World {
    reporter: Reporter,
    directory: Arc<Directory>,
    told: watch::Sender<Leadership>,
}

impl World {
    async fn new() -> Self {
        let calls = Calls::default();
        let fake = Fake::new(Address::Tcp(([127, 0, 0, 1], 9).into()), calls.clone());
        let metrics = Metrics::new().unwrap();
        let directory = Arc::new(Directory::new(calls, metrics, Duration::from_secs(60)));
        for name in ["f", "g"] {
            let body = format!(r#"{{"service":"{name}","image":"i"}}"#);
            let function = Function::from_json(body.as_bytes()).unwrap();
            directory.deployed(fake.apply(&function).await.unwrap());
        }
        let client = Client::new("me".to_owned(), Some(HeaderValue::from_static("Basic x")), None);
        let (told, leadership) = watch::channel(Leadership::default());
        let lead = Lead::new(Some(leadership));
        let reporter = Reporter::new(client.unwrap(), lead, directory.clone());
        Self { reporter, directory, told }
    }

    fn entry(&self, name: &str) -> Arc<Entry> {
        self.directory.get(name).unwrap()
    }

    /// A letter that is taken: its functions, with the calls that have begun and are in flight.
    fn tell(&mut self) -> Vec<(String, u64, u64)> {
        let (letter, told, is_whole) = self.reporter.letter();
        assert!(is_whole);
        self.reporter.told.extend(told);
        let counts = letter.functions.into_iter();
        counts.map(|(name, counts)| (name, counts.started, counts.in_flight)).collect()
    }
}

#[tokio::test]
async fn a_letter_has_what_changed_since_the_last_one_that_was_taken() {
    let mut world = World::new().await;
    let f = || "f.openfaas-fn".to_owned();
    assert_eq!(world.tell(), [], "nothing was ever called");
    world.entry("f").live.metrics.started.inc_by(3);
    world.entry("f").live.metrics.in_flight.inc();
    let (lost, ..) = world.reporter.letter();
    assert_eq!(lost.functions.len(), 1);
    world.entry("f").live.metrics.started.inc_by(2);
    assert_eq!(world.tell(), [(f(), 5, 1)], "the one that was lost is in it");
    assert_eq!(world.tell(), [(f(), 5, 1)], "it goes on");
    world.entry("f").live.metrics.in_flight.dec();
    assert_eq!(world.tell(), []);
    world.reporter.begin_anew(Some("another".to_owned()));
    assert_eq!(world.tell(), [(f(), 5, 0)], "another one knows nothing");
}

#[tokio::test]
async fn what_was_decided_here_is_told_but_not_what_was_heard() {
    let mut world = World::new().await;
    let journal = |world: &World| world.entry("g").live.clone();
    let decision = |cause, to| Decision::new(cause, 1, to, "because");
    let now = Timestamp::now();
    journal(&world).journal.write(now, decision(Cause::Manual, 4));
    journal(&world).journal.write(now, decision(Cause::Load, 2));
    journal(&world).journal.hear(now, decision(Cause::Alert, 3));
    let (letter, told, _) = world.reporter.letter();
    let notes = &letter.functions["g.openfaas-fn"].notes;
    assert_eq!(notes.len(), 1);
    assert_eq!((notes[0].decision.cause, notes[0].decision.to), (Cause::Manual, 4));
    let json = serde_json::to_vec(&letter).unwrap();
    assert_eq!(serde_json::from_slice::<Letter>(&json).unwrap(), letter);
    world.reporter.told.extend(told);
    assert_eq!(world.tell(), []);
}

#[tokio::test]
async fn a_leader_that_cannot_be_reached_is_told_everything_later() {
    let mut world = World::new().await;
    world.entry("f").live.metrics.started.inc_by(3);
    world.reporter.round().await;
    assert_eq!(world.reporter.leader, None, "nobody is known to lead");
    // Nobody listens on a port that was free.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    world.told.send_replace(Leadership::of("b".to_owned(), Some(format!("http://{free}"))));
    world.reporter.round().await;
    assert_eq!(world.reporter.leader.as_deref(), Some("b"));
    assert!(!world.reporter.trouble.is_empty() && world.reporter.told.is_empty());
    assert!(!world.reporter.trouble.contains("Basic"), "{}", world.reporter.trouble);
    assert_eq!(world.tell().len(), 1);
}
