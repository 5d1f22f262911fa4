//! Two gateways in front of the same functions: one leads, and is told what the other has to do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gateway::api::{self, Api};
use gateway::auth::Credentials;
use gateway::directory::Directory;
use gateway::metrics::Metrics;
use gateway::peers::{Circle, Client, Lead, Reporter, Tally};
use gateway::scaling::{Autoscaler, Cause, Options, Scaler, Timing};
use gateway::usage::Sampler;
use http::StatusCode;
use provider::fake::Fake;
use provider::{Address, Calls, Function, Leadership, Name, Provider, Target};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

const DAY: Duration = Duration::from_secs(86_400);
const F: &str = "f.openfaas-fn";

/// One gateway without a data path: its API, and what scales functions.
struct Gateway {
    name: &'static str,
    address: SocketAddr,
    directory: Arc<Directory>,
    scaler: Arc<Scaler>,
    tally: Arc<Tally>,
    reporter: Reporter,
    told: watch::Sender<Leadership>,
    _tasks: JoinSet<()>,
}

impl Gateway {
    async fn new(name: &'static str, fake: &Arc<Fake>) -> Self {
        let (told, leadership) = watch::channel(Leadership::default());
        Self::with(name, fake, (told, Lead::new(Some(leadership)))).await
    }

    async fn with(
        name: &'static str,
        fake: &Arc<Fake>,
        (told, lead): (watch::Sender<Leadership>, Lead),
    ) -> Self {
        let (metrics, mut tasks) = (Metrics::new().unwrap(), JoinSet::new());
        let directory = Arc::new(Directory::new(Calls::default(), metrics, DAY));
        tasks.spawn({
            let (directory, events) = (directory.clone(), fake.watch());
            async move { directory.follow(events).await }
        });
        directory.synced().await;
        let scaler = Scaler::new(fake.clone(), directory.clone(), Handle::current());
        let scaler = Arc::new(scaler.led_by(lead.clone()));
        let tally = Arc::new(Tally::default());
        let timing = Timing { tick: Duration::from_millis(10), ..Timing::default() };
        let (of_all, leads) = (tally.clone(), lead.clone());
        let options =
            Options { timing, wakes: true, lead: leads, tally: of_all, ..Options::default() };
        let autoscaler = Autoscaler::new(scaler.clone(), options).unwrap();
        tasks.spawn(autoscaler.run(Default::default()));
        let credentials = Credentials::new("admin", "secret");
        let client = Client::new(name.to_owned(), Some(credentials.header()), None).unwrap();
        let api = Api {
            sampler: Arc::new(Sampler::new(fake.clone(), directory.clone())),
            provider: fake.clone(),
            directory: directory.clone(),
            scaler: scaler.clone(),
            bundles: None,
            stopping: relay::shutdown().1,
            writes: Default::default(),
            circle: Circle { lead: lead.clone(), tally: tally.clone(), client: client.clone() },
        };
        let router = api::router(Arc::new(api), Some(credentials));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let reporter = Reporter::new(client, lead, directory.clone());
        Self { name, address, directory, scaler, tally, reporter, told, _tasks: tasks }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// This one leads, as it and the other hear. Returns when it has begun to.
    async fn leads(&self, other: &Self) {
        let leadership = Leadership::of(self.name.to_owned(), Some(self.url()));
        other.told.send_replace(leadership.clone());
        self.told.send_replace(leadership.until(Instant::now() + DAY));
        while self.causes().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    /// So many calls begin and end here.
    fn called(&self, times: u64) {
        self.directory.get(F).unwrap().live.metrics.started.inc_by(times);
    }

    /// Tells the other one twice, so that what was before is told from what has begun since.
    async fn tells(&mut self, times: u64) {
        self.reporter.round().await;
        self.called(times);
        self.reporter.round().await;
    }

    fn causes(&self) -> Vec<Cause> {
        let records = self.directory.get(F).unwrap().live.journal.read();
        records.into_iter().map(|record| record.what.cause).collect()
    }

    async fn ask(&self, path: &str, password: &str) -> (StatusCode, Value) {
        let request = reqwest::Client::new().get(format!("{}{path}", self.url()));
        let answer = request.basic_auth("admin", Some(password)).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn put(&self, path: &str, body: Vec<u8>, password: &str) -> StatusCode {
        let request = reqwest::Client::new().put(format!("{}{path}", self.url())).body(body);
        request.basic_auth("admin", Some(password)).send().await.unwrap().status()
    }
}

async fn two() -> (Arc<Fake>, Gateway, Gateway) {
    let fake = Fake::new(Address::Tcp(([127, 0, 0, 1], 9).into()), Calls::default());
    let function = Function::from_json(br#"{"service":"f","image":"i"}"#).unwrap();
    fake.apply(&function).await.unwrap();
    let (a, b) = (Gateway::new("a", &fake).await, Gateway::new("b", &fake).await);
    (fake, a, b)
}

/// Waits until the provider was asked for so many replicas.
async fn until_asked(fake: &Fake, replicas: u32) {
    let asked = (Name::parse(F).unwrap(), Target::Replicas(replicas));
    while !fake.scales().contains(&asked) {
        tokio::task::yield_now().await;
    }
}

const SCALING: &str = "/system/function/f/scaling";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_one_that_leads_scales_by_the_calls_of_all() {
    let (fake, a, mut b) = two().await;
    b.called(50);
    a.leads(&b).await;
    b.tells(1_000_000).await;
    until_asked(&fake, 20).await;
    assert!(a.causes().contains(&Cause::Load));
    assert!(b.causes().is_empty(), "only one decides: {:?}", b.causes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_another_one_leads_it_goes_on_from_what_there_is() {
    let (fake, mut a, mut b) = two().await;
    a.leads(&b).await;
    b.tells(1_000_000).await;
    until_asked(&fake, 20).await;
    let asked = fake.scales().len();
    b.leads(&a).await;
    a.tells(1_000_000).await;
    assert_eq!(b.tally.seen(F, Instant::now()).begun, 1_000_000);
    let loads = || b.directory.get(F).unwrap().live.journal.counts()[&("load", "decided")];
    let before = loads();
    // Two looks later at the latest it has decided by that.
    while loads() < before + 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(fake.scales().len(), asked, "nothing was done twice, or undone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_of_them_explains_and_knows_what_was_asked_for_at_another() {
    let (_fake, a, mut b) = two().await;
    a.leads(&b).await;
    let name = Name::parse(F).unwrap();
    b.scaler.scale(&name, 3, Cause::Manual).await.unwrap();
    b.reporter.round().await;
    let (status, at_b) = b.ask(SCALING, "secret").await;
    assert_eq!(status, StatusCode::OK, "{at_b}");
    let decisions = at_b["decisions"].as_array().unwrap();
    let is_by_hand = |d: &&Value| d["decision"]["cause"] == "manual" && d["decision"]["to"] == 3;
    assert!(decisions.iter().any(|d| is_by_hand(&d)), "{at_b}");
    assert!(decisions.iter().any(|d| d["decision"]["cause"] == "load"), "it is a's: {at_b}");
    assert!(a.causes().contains(&Cause::Manual));
    assert_eq!(b.ask(SCALING, "wrong").await.0, StatusCode::UNAUTHORIZED);
    let (status, words) = b.ask("/system/function/none/scaling", "secret").await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_ask_the_one_that_leads_says_so() {
    let (_fake, a, b) = two().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in [None, Some(format!("http://{free}"))] {
        b.told.send_replace(Leadership::of("a-1".to_owned(), url));
        let (status, words) = b.ask(SCALING, "secret").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(words.to_string().contains("gateway a-1 leads"), "{words}");
    }
    // Two that each take the other one for the one that leads ask no further.
    for (one, other) in [(&a, &b), (&b, &a)] {
        one.told.send_replace(Leadership::of(other.name.to_owned(), Some(other.url())));
    }
    assert_eq!(b.ask(SCALING, "secret").await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_taken_by_the_one_that_leads_and_from_those_that_may() {
    let (fake, a, b) = two().await;
    a.leads(&b).await;
    let letter = |is_first: bool| {
        let counts = json!({ "started": 5, "inFlight": 2 });
        let functions = json!({ F: counts, "unknown.openfaas-fn": counts });
        json!({ "isFirst": is_first, "functions": functions }).to_string().into_bytes()
    };
    let page = "/system/peers/c";
    for (gateway, page, body, password, status) in [
        (&a, page, letter(true), "wrong", StatusCode::UNAUTHORIZED),
        (&b, page, letter(true), "secret", StatusCode::CONFLICT),
        (&a, page, letter(false), "secret", StatusCode::NOT_FOUND),
        (&a, "/system/peers/c%2F..", letter(true), "secret", StatusCode::BAD_REQUEST),
        (&a, page, b"{}".to_vec(), "secret", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(gateway.put(page, body, password).await, status, "{page}");
    }
    let now = Instant::now;
    assert_eq!(a.tally.peers(now()).heard, 0);
    assert_eq!(a.put(page, letter(true), "secret").await, StatusCode::ACCEPTED);
    assert_eq!(a.tally.seen(F, now()).in_flight, 2);
    assert_eq!(a.tally.seen("unknown.openfaas-fn", now()).in_flight, 0);
    let header = Credentials::new("admin", "secret").header();
    let client = Client::new("c".to_owned(), Some(header), None);
    client.unwrap().goodbye(&a.url()).await.unwrap();
    assert_eq!(a.tally.peers(now()).heard, 0);

    let (told, _) = watch::channel(Leadership::default());
    let alone = Gateway::with("alone", &fake, (told, Lead::default())).await;
    assert_eq!(alone.put(page, letter(true), "secret").await, StatusCode::NOT_FOUND);
}
