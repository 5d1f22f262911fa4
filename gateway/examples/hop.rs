//! The gateway's data path with one function at a given address, for `tests/bench`.
//!
//! `hop <address to listen on> <where the function answers: ip:port, or a path>`
//!
//! Everything of a call is the gateway's own code: the threads and listeners of `app`, [`Caller`],
//! the directory, the metrics. Only the provider is the scripted one of the tests, since no real one
//! has replicas at an address of the operator's choice.

use std::error::Error;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use gateway::call::{Caller, Shared};
use gateway::directory::Directory;
use gateway::metrics::Metrics;
use gateway::scaling::Scaler;
use provider::fake::Fake;
use provider::{Address, Calls, Function, Provider};
use relay::{Listener, ServeOptions, Shutdown};
use tokio::runtime::Handle;

/// The only function: `/function/hop`.
const FUNCTION: &str = r#"{"service":"hop","image":"none"}"#;
/// Longest that a call may take, the gateway's default.
const TIMEOUT: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(listen), Some(target)) = (args.next(), args.next()) else {
        return Err("usage: hop <address to listen on> <ip:port or path of the function>".into());
    };
    let listen: SocketAddr = listen.parse()?;
    let target = match target.parse() {
        Ok(address) => Address::Tcp(address),
        Err(_) => Address::Unix(target.into()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let shared = runtime.block_on(shared(target))?;
    let (_trigger, shutdown) = relay::shutdown();
    let listeners = Listener::bind_tcp(listen, relay::threads::per_core())?;
    let seeds = listeners.into_iter().map(|l| (l, shutdown.clone(), shared.clone())).collect();
    relay::threads::start(seeds, serve)?.join();
    Ok(())
}

/// What `app` makes, with one function deployed.
async fn shared(target: Address) -> Result<Arc<Shared>, Box<dyn Error>> {
    let calls = Calls::default();
    let fake = Fake::new(target, calls.clone());
    let directory = Arc::new(Directory::new(calls, Metrics::new()?, TIMEOUT));
    tokio::spawn({
        let (directory, events) = (directory.clone(), fake.watch());
        async move { directory.follow(events).await }
    });
    directory.synced().await;
    directory.deployed(fake.apply(&Function::from_json(FUNCTION.as_bytes())?).await?);
    let scaler = Arc::new(Scaler::new(fake, directory.clone(), Handle::current()));
    Ok(Arc::new(Shared {
        directory,
        scaler,
        scale_from_zero: true,
        access_log: false,
        clients: None,
        leaving: Default::default(),
    }))
}

async fn serve((listener, stop, shared): (std::net::TcpListener, Shutdown, Arc<Shared>)) {
    let listener = match Listener::from_tcp(listener) {
        Ok(listener) => listener,
        Err(error) => return eprintln!("cannot serve: {error}"),
    };
    let caller = Rc::new(Caller::new(shared));
    relay::serve(listener, ServeOptions::default(), stop, move |request, peer| {
        let caller = caller.clone();
        async move { caller.call(request, peer).await }
    })
    .await;
}
