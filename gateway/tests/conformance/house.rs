//! A gateway without an API: one data thread, a scripted provider, the upstream of one row.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use gateway::call::{Caller, PREFIX, Shared};
use gateway::directory::Directory;
use gateway::metrics::Metrics;
use gateway::scaling::Scaler;
use provider::fake::Fake;
use provider::{Address, Calls, Function, Provider};
use relay::{Body, Listener, ServeOptions, Trigger};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::case::{Case, Limits};
use crate::upstream::{Seen, Upstream};
use crate::wire::Wire;

/// Most bytes of a request's head.
pub(crate) const MAX_HEAD: usize = 16 << 10;
/// Most bytes of a request's target.
pub(crate) const MAX_TARGET: usize = 4 << 10;

/// How long a call may take, unless a row says otherwise.
const TIMEOUT: Duration = Duration::from_secs(8);
/// How long what is left at the end may go on.
const DRAIN: Duration = Duration::from_secs(3);

pub(crate) struct House {
    pub(crate) upstream: Upstream,
    address: SocketAddr,
    trigger: Trigger,
    threads: relay::threads::Threads,
    _runtime: Runtime,
}

impl House {
    pub(crate) fn new(case: &Case) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let upstream = Upstream::start(&case.replies);
        let timeout = case.limits.timeout_ms.map_or(TIMEOUT, Duration::from_millis);
        let shared = runtime.block_on(shared(upstream.address, timeout));
        let (address, trigger, threads) = serve(shared, options(case.limits));
        Self { upstream, address, trigger, threads, _runtime: runtime }
    }

    pub(crate) fn connect(&self) -> Wire {
        Wire::new(TcpStream::connect(self.address).expect("the gateway listens"))
    }

    /// Ends the gateway, then the upstream; gives what the upstream got.
    pub(crate) fn end(self) -> Vec<Seen> {
        self.trigger.drain();
        assert!(self.threads.join(), "a data thread panicked");
        self.upstream.end()
    }
}

async fn shared(upstream: SocketAddr, timeout: Duration) -> Arc<Shared> {
    let calls = Calls::default();
    let fake = Fake::new(Address::Tcp(upstream), calls.clone());
    let metrics = Metrics::new().expect("metrics");
    let directory = Arc::new(Directory::new(calls, metrics, timeout));
    tokio::spawn({
        let (directory, events) = (directory.clone(), fake.watch());
        async move { directory.follow(events).await }
    });
    directory.synced().await;
    let function = Function::from_json(br#"{"service":"f","image":"i"}"#).expect("a function");
    directory.deployed(fake.apply(&function).await.expect("a deploy"));
    let scaler = Arc::new(Scaler::new(fake, directory.clone(), Handle::current()));
    Arc::new(Shared {
        directory,
        scaler,
        scale_from_zero: true,
        access_log: false,
        clients: None,
        leaving: Default::default(),
    })
}

fn options(limits: Limits) -> ServeOptions {
    let default = ServeOptions::default();
    ServeOptions {
        header_timeout: limits.header_ms.map_or(default.header_timeout, Duration::from_millis),
        idle_timeout: limits.idle_ms.map_or(default.idle_timeout, Duration::from_millis),
        max_head_bytes: MAX_HEAD,
        max_uri_bytes: MAX_TARGET,
        drain_timeout: DRAIN,
        ..default
    }
}

fn serve(
    shared: Arc<Shared>,
    options: ServeOptions,
) -> (SocketAddr, Trigger, relay::threads::Threads) {
    let listener = Listener::bind_tcp(([127, 0, 0, 1], 0).into(), 1).expect("a port").remove(0);
    let address = listener.local_addr().expect("bound");
    let (trigger, shutdown) = relay::shutdown();
    let work = move |(listener, shared, options, shutdown)| async move {
        let listener = Listener::from_tcp(listener).expect("a listener");
        let caller = std::rc::Rc::new(Caller::new(shared));
        let handler = move |request: http::Request<Body>, peer| {
            let caller = caller.clone();
            async move {
                match request.uri().path().starts_with(PREFIX) {
                    true => caller.call(request, peer).await,
                    false => elsewhere(),
                }
            }
        };
        relay::serve(listener, options, shutdown, handler).await;
    };
    let threads = relay::threads::start(vec![(listener, shared, options, shutdown)], work);
    (address, trigger, threads.expect("a thread"))
}

/// What the API would answer.
fn elsewhere() -> http::Response<Body> {
    let mut response = http::Response::new(Body::from("404 page not found\n"));
    *response.status_mut() = http::StatusCode::NOT_FOUND;
    response
}
