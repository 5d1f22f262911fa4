//! A gateway's data path in front of a scripted provider.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use gateway::call::{Caller, Shared, route};
use gateway::config::Config;
use gateway::directory::Directory;
use gateway::limits::Clients;
use gateway::metrics::Metrics;
use gateway::scaling::{Bounds, Scaler};
use provider::fake::Fake;
use provider::{Address, Calls, Function, Name, Provider};
use relay::{Listener, Places, ServeOptions};
use tokio::runtime::Handle;

/// A gateway without an API: one data thread, a scripted provider, an upstream that echoes.
pub(crate) struct House {
    pub(crate) fake: Arc<Fake>,
    /// The slots of every replica.
    pub(crate) calls: Calls,
    pub(crate) directory: Arc<Directory>,
    pub(crate) metrics: Metrics,
    pub(crate) scaler: Arc<Scaler>,
    address: SocketAddr,
    _stop: relay::Trigger,
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::build(&[], Bounds::default()).await
    }

    /// One whose functions are bounded so.
    pub(crate) async fn within(bounds: Bounds) -> Self {
        Self::build(&[], bounds).await
    }

    /// One whose clients are bounded by these flags.
    pub(crate) async fn with(flags: &[&str]) -> Self {
        Self::build(flags, Bounds::default()).await
    }

    async fn build(flags: &[&str], bounds: Bounds) -> Self {
        let config = Config::parse_from(std::iter::once(&"faas-gateway").chain(flags));
        config.validate().unwrap();
        let flags = &config.clients;
        let places = flags.max_connections.map_or(usize::MAX, usize::from);
        let options = flags.serve_options(&ServeOptions::default(), Places::new(places));
        let calls = Calls::default();
        let fake = Fake::new(Address::Tcp(upstream()), calls.clone());
        let metrics = Metrics::new().unwrap();
        let timeout = Duration::from_secs(20);
        let directory = Arc::new(Directory::new(calls.clone(), metrics.clone(), timeout));
        tokio::spawn({
            let (directory, events) = (directory.clone(), fake.watch());
            async move { directory.follow(events).await }
        });
        directory.synced().await;
        let scaler = Scaler::new(fake.clone(), directory.clone(), Handle::current());
        let scaler = Arc::new(scaler.within(bounds));
        let shared = Shared {
            directory: directory.clone(),
            scaler: scaler.clone(),
            scale_from_zero: true,
            access_log: false,
            clients: Clients::limited(flags.client_rate, &flags.trusted_proxies),
            leaving: Default::default(),
        };
        let (address, stop) = serve(Arc::new(shared), options);
        Self { fake, calls, directory, metrics, scaler, address, _stop: stop }
    }

    pub(crate) async fn deploy(&self, body: &str) -> Name {
        let function = Function::from_json(body.as_bytes()).unwrap();
        let status = self.fake.apply(&function).await.unwrap();
        self.directory.deployed(status);
        function.name().unwrap()
    }

    /// Waits until the directory shows what is wanted of a function.
    pub(crate) async fn until(&self, name: &Name, wanted: impl Fn(&provider::Status) -> bool) {
        let mut changed = self.directory.find(name).unwrap().live.changed.subscribe();
        while !wanted(&self.directory.find(name).unwrap().status) {
            changed.changed().await.unwrap();
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls a path in a thread of its own.
    pub(crate) fn call(&self, path: &str) -> tokio::task::JoinHandle<String> {
        self.exchange(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    }

    /// Calls a path with one more header, in a thread of its own.
    pub(crate) fn call_with(&self, path: &str, header: &str) -> tokio::task::JoinHandle<String> {
        let rest = format!("Host: x\r\nConnection: close\r\n{header}\r\n\r\n");
        self.exchange(format!("GET {path} HTTP/1.1\r\n{rest}"))
    }

    /// Posts to a path in a thread of its own.
    pub(crate) fn post(&self, path: &str, body: &str) -> tokio::task::JoinHandle<String> {
        let length = body.len();
        self.exchange(format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// Calls a path and leaves the answer unread.
    pub(crate) fn open(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        stream
    }

    fn exchange(&self, request: String) -> tokio::task::JoinHandle<String> {
        let address = self.address;
        tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        })
    }

    /// Waits until so many calls of the function wait for a slot.
    pub(crate) async fn waiting(&self, count: usize) {
        self.series("flint_function_calls_waiting", count as u64).await;
    }

    /// Waits until so many calls of the function are in flight.
    pub(crate) async fn in_flight(&self, count: u64) {
        self.series("gateway_function_invocation_inflight", count).await;
    }

    async fn series(&self, name: &str, value: u64) {
        let series = format!("{name}{{function_name=\"f.openfaas-fn\"}} {value}\n");
        while !String::from_utf8(self.metrics.text().unwrap()).unwrap().contains(&series) {
            tokio::task::yield_now().await;
        }
    }
}

fn serve(shared: Arc<Shared>, options: ServeOptions) -> (SocketAddr, relay::Trigger) {
    let listener = Listener::bind_tcp(([127, 0, 0, 1], 0).into(), 1).unwrap().remove(0);
    let address = listener.local_addr().unwrap();
    let (trigger, shutdown) = relay::shutdown();
    let work = move |(listener, shared, options, shutdown)| async move {
        let listener = Listener::from_tcp(listener).unwrap();
        let caller = std::rc::Rc::new(Caller::new(shared));
        let handler = move |request, peer| {
            let caller = caller.clone();
            async move { caller.call(route(request), peer).await }
        };
        relay::serve(listener, options, shutdown, handler).await;
    };
    relay::threads::start(vec![(listener, shared, options, shutdown)], work).unwrap();
    (address, trigger)
}

/// Answers each request with its first line.
pub(crate) fn upstream() -> SocketAddr {
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
