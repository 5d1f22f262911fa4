//! Calls through the gateway's data path to a scripted provider.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use gateway::call::{Caller, Shared};
use gateway::directory::Directory;
use gateway::metrics::Metrics;
use gateway::scaler::Scaler;
use provider::fake::Fake;
use provider::{Address, Calls, Error, Function, Name, Provider, Target};
use relay::{Listener, ServeOptions};
use tokio::runtime::Handle;

/// A gateway without an API: one data thread, a scripted provider, an upstream that echoes.
struct House {
    fake: Arc<Fake>,
    directory: Arc<Directory>,
    metrics: Metrics,
    address: SocketAddr,
    _stop: relay::Trigger,
}

impl House {
    async fn new() -> Self {
        let calls = Calls::default();
        let fake = Fake::new(Address::Tcp(upstream()), calls.clone());
        let metrics = Metrics::new().unwrap();
        let timeout = Duration::from_secs(20);
        let directory = Arc::new(Directory::new(calls, metrics.clone(), timeout));
        tokio::spawn({
            let (directory, events) = (directory.clone(), fake.watch());
            async move { directory.follow(events).await }
        });
        directory.synced().await;
        let scaler = Scaler::new(fake.clone(), directory.clone(), Handle::current());
        let shared = Shared {
            directory: directory.clone(),
            scaler: Arc::new(scaler),
            scale_from_zero: true,
            access_log: false,
        };
        let (address, stop) = serve(Arc::new(shared));
        Self { fake, directory, metrics, address, _stop: stop }
    }

    async fn deploy(&self, body: &str) -> Name {
        let function = Function::from_json(body.as_bytes()).unwrap();
        let status = self.fake.apply(&function).await.unwrap();
        self.directory.deployed(status);
        function.name().unwrap()
    }

    /// Waits until the directory shows what is wanted of a function.
    async fn until(&self, name: &Name, wanted: impl Fn(&provider::Status) -> bool) {
        let mut changed = self.directory.find(name).unwrap().live.changed.subscribe();
        while !wanted(&self.directory.find(name).unwrap().status) {
            changed.changed().await.unwrap();
        }
    }

    /// Calls a path in a thread of its own.
    fn call(&self, path: &str) -> tokio::task::JoinHandle<String> {
        let (address, path) = (self.address, path.to_owned());
        tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        })
    }

    /// Waits until so many calls of the function are in flight.
    async fn in_flight(&self, count: u64) {
        let series = format!(
            "gateway_function_invocation_inflight{{function_name=\"f.openfaas-fn\"}} {count}\n"
        );
        while !String::from_utf8(self.metrics.text().unwrap()).unwrap().contains(&series) {
            tokio::task::yield_now().await;
        }
    }
}

fn serve(shared: Arc<Shared>) -> (SocketAddr, relay::Trigger) {
    let listener = Listener::bind_tcp(([127, 0, 0, 1], 0).into(), 1).unwrap().remove(0);
    let address = listener.local_addr().unwrap();
    let (trigger, shutdown) = relay::shutdown();
    let work = move |(listener, shared, shutdown)| async move {
        let listener = Listener::from_tcp(listener).unwrap();
        let caller = std::rc::Rc::new(Caller::new(shared));
        let handler = move |request, peer| {
            let caller = caller.clone();
            async move { caller.call(request, peer).await }
        };
        relay::serve(listener, ServeOptions::default(), shutdown, handler).await;
    };
    relay::threads::start(vec![(listener, shared, shutdown)], work).unwrap();
    (address, trigger)
}

/// Answers each request with its first line.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || echo(stream));
        }
    });
    address
}

fn echo(mut stream: TcpStream) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    loop {
        let first = lines.next()?.ok()?;
        while !lines.next()?.ok()?.is_empty() {}
        let length = first.len();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{first}").ok()?;
    }
}

const FUNCTION: &str = r#"{"service":"f","image":"i"}"#;

#[tokio::test]
async fn a_call_reaches_the_function_with_its_own_path() {
    let house = House::new().await;
    house.deploy(FUNCTION).await;
    for (path, seen) in [
        ("/function/f", "GET / HTTP/1.1"),
        ("/function/f?a=b", "GET /?a=b HTTP/1.1"),
        ("/function/f.openfaas-fn/a%2Fb//c?d", "GET /a%2Fb//c?d HTTP/1.1"),
    ] {
        let answer = house.call(path).await.unwrap();
        assert!(answer.ends_with(seen), "{path}: {answer}");
        assert!(answer.contains("x-call-id: "), "{answer}");
    }
    assert_eq!(house.directory.get("f").unwrap().live.metrics.invocations(), 3);
}

#[tokio::test]
async fn names_that_are_not_there_and_names_that_are_none() {
    let house = House::new().await;
    for (path, status) in [
        ("/function/none", "404"),
        ("/function/..", "400"),
        ("/function/A", "400"),
        ("/function/", "400"),
    ] {
        let answer = house.call(path).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        assert!(answer.contains("x-faas-error: "), "{answer}");
    }
}

#[tokio::test]
async fn a_call_is_held_until_a_replica_is_ready() {
    let house = House::new().await;
    house.fake.hold(true);
    let name = house.deploy(FUNCTION).await;
    let call = house.call("/function/f");
    house.in_flight(1).await;
    assert!(!call.is_finished());
    house.fake.make_ready(&name);
    assert!(call.await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn many_calls_wake_a_sleeping_function_once() {
    let house = House::new().await;
    let name = house.deploy(FUNCTION).await;
    house.fake.scale(&name, Target::Replicas(0)).await.unwrap();
    house.until(&name, |status| status.ready().count() == 0).await;
    house.fake.hold(true);
    let calls: Vec<_> = (0..20).map(|_| house.call("/function/f")).collect();
    house.in_flight(20).await;
    house.fake.make_ready(&name);
    for call in calls {
        let answer = call.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let wakes = house.fake.scales().into_iter().filter(|(_, to)| *to == Target::Replicas(1));
    assert_eq!(wakes.count(), 1);
}

#[tokio::test]
async fn a_wake_that_fails_is_told_with_its_reason() {
    let house = House::new().await;
    let name = house.deploy(FUNCTION).await;
    house.fake.scale(&name, Target::Replicas(0)).await.unwrap();
    house.until(&name, |status| status.ready().count() == 0).await;
    house.fake.fail_next(Error::Conflict("no room".to_owned()));
    let answer = house.call("/function/f").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("no room") && answer.contains("retry-after: "), "{answer}");
}

#[tokio::test]
async fn a_crashing_function_is_told_at_once() {
    let house = House::new().await;
    let name = house.deploy(FUNCTION).await;
    house.fake.edit(&name, |status| {
        status.reason = "exit code 7".to_owned();
        for replica in &mut status.replicas {
            replica.state = provider::State::Starting;
            replica.restarts = 3;
        }
    });
    house.until(&name, |status| !status.reason.is_empty()).await;
    let answer = house.call("/function/f").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("exit code 7"), "{answer}");
}

#[tokio::test]
async fn a_function_that_never_gets_ready_is_503_at_its_timeout() {
    let house = House::new().await;
    house.fake.hold(true);
    house.deploy(r#"{"service":"f","image":"i","annotations":{"flint.dev/timeout":"50ms"}}"#).await;
    let answer = house.call("/function/f").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[tokio::test]
async fn a_call_that_every_replica_refuses_waits_for_news() {
    let house = House::new().await;
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    house.fake.set_address(Address::Tcp(gone));
    house.deploy(FUNCTION).await;
    let call = house.call("/function/f");
    house.in_flight(1).await;
    house.fake.set_address(Address::Tcp(upstream()));
    house.deploy(FUNCTION).await;
    let answer = call.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
