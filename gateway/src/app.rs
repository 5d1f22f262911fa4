//! Puts the parts together, starts them, and stops them in order.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use futures_util::future::join_all;
use http::Request;
use http::header::{CONTENT_TYPE, HeaderValue};
use provider::Calls;
use provider::bundle::Store;
use relay::{Body, Listener, Peer, ServeOptions, Shutdown, Tls};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tower_service::Service;

use crate::api::bundles::Bundles;
use crate::api::{self, Api};
use crate::auth::{Credentials, CredentialsError};
use crate::backend::{self, Backend};
use crate::call::{Caller, PREFIX, Shared};
use crate::config::{Config, ConfigError, ProviderKind};
use crate::directory::Directory;
use crate::error::Error;
use crate::holder::{self, Holder};
use crate::metrics::Metrics;
use crate::scaler::Scaler;
use crate::state::{StateDir, StateError};
use crate::sweep::sweep;
use crate::tls;

/// Longest wait at the start for the provider to tell what runs.
const SYNC: Duration = Duration::from_secs(30);
/// The port at which functions reach the gateway (design, section 5).
const FUNCTIONS_PORT: u16 = 8080;

/// Why the gateway does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A flag or variable cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The credentials cannot be read or made.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The provider does not answer.
    #[error(transparent)]
    Provider(#[from] provider::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}{}", in_use_by(.holder.as_ref()))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Who listens there, when that can be known.
        holder: Option<Holder>,
        /// Why.
        source: std::io::Error,
    },
    /// The metrics cannot be registered.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
    /// The kernel gave no threads or signals.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl StartError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Provider(provider::Error::Unavailable { .. }) => Some(
                "start the engine, let this user use it (group docker), or name it with --docker-host; \
                 functions run without Docker with --provider process",
            ),
            Self::Listen { source, .. } if source.kind() == ErrorKind::AddrInUse => Some(
                "stop the program that listens there, or choose other ports with --port, --tls-port \
                 and --metrics-port",
            ),
            Self::Listen { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                Some("ports below 1024 need root; choose another with --port")
            }
            Self::State(StateError::Io { .. }) => {
                Some("choose a folder that this user may write with --state-dir")
            }
            _ => None,
        }
    }
}

fn in_use_by(holder: Option<&Holder>) -> String {
    holder.map_or_else(String::new, |holder| format!("; {holder} listens there"))
}

/// What a thread that relays calls is made from.
struct Seed {
    sockets: Vec<Socket>,
    options: ServeOptions,
    shutdown: Shutdown,
    shared: Arc<Shared>,
    router: Router,
    runtime: Handle,
}

/// Where a thread accepts calls.
struct Socket {
    listener: std::net::TcpListener,
    tls: Option<Tls>,
}

/// Runs the gateway until it is told to stop.
pub async fn run(config: Config) -> Result<(), StartError> {
    config.validate()?;
    let tls = config.tls.open()?;
    let config = backend::resolve(config).await;
    let state = StateDir::open(&config.state_dir()?)?;
    let credentials = credentials(&config, &state)?;
    // Before anything is started that would have to be stopped again.
    let metrics_address = Some(config.listen_metrics());
    for address in [config.listen_plain(), config.listen_tls(), metrics_address] {
        address.map_or(Ok(()), must_be_free)?;
    }
    let (metrics, calls) = (Metrics::new()?, Calls::default());
    // From here on functions may run that end with the gateway: a signal must not end it at once.
    let mut stop = StopSignals::new()?;
    let backend = tokio::select! {
        opened = Backend::open(&config, state.path(), &calls) => opened?,
        // Containers stay, and an engine may take its time to answer.
        () = stop.wait(), if config.provider == ProviderKind::Docker => return Ok(()),
    };
    let served = serve(&config, &backend, (credentials, metrics, calls, tls), stop).await;
    backend.close().await;
    served
}

/// Serves until told to stop, and then until the calls have ended.
async fn serve(
    config: &Config,
    backend: &Backend,
    (credentials, metrics, calls, tls): (Option<Credentials>, Metrics, Calls, Option<Tls>),
    mut stop: StopSignals,
) -> Result<(), StartError> {
    let (provider, bundles) = (backend.provider.clone(), backend.bundles.clone());
    let directory = Arc::new(Directory::new(calls, metrics.clone(), config.upstream_timeout));
    let follower = tokio::spawn({
        let (directory, events) = (directory.clone(), provider.watch());
        async move { directory.follow(events).await }
    });
    wait_for_sync(&directory).await;
    let runtime = Handle::current();
    let scaler = Arc::new(Scaler::new(provider.clone(), directory.clone(), runtime.clone()));
    let (trigger, shutdown) = relay::shutdown();
    let api = Api {
        provider,
        directory: directory.clone(),
        scaler: scaler.clone(),
        bundles: bundles.clone().map(Bundles::new),
        stopping: shutdown.clone(),
        writes: Default::default(),
    };
    let router = api::router(Arc::new(api), credentials);
    let shared = Shared {
        directory: directory.clone(),
        scaler,
        scale_from_zero: config.scale_from_zero,
        access_log: config.access_log,
        leaving: Default::default(),
    };
    if let Some(store) = bundles {
        sweep_when_synced(store, directory.clone());
    }
    serve_metrics(config.listen_metrics(), metrics).await?;
    let sockets = bind(config, backend.functions_ip, tls.as_ref())?;
    let announcement = announcement(&sockets)?;
    let shared = Arc::new(shared);
    let seeds = sockets.into_iter().map(|sockets| Seed {
        sockets,
        options: serve_options(config),
        shutdown: shutdown.clone(),
        shared: shared.clone(),
        router: router.clone(),
        runtime: runtime.clone(),
    });
    let threads = relay::threads::start(seeds.collect(), relay_calls)?;
    let certificates = tls.map(|tls| tokio::spawn(tls::follow(tls)));
    print!("{announcement}");
    stop.wait().await;
    tracing::info!(
        "stopping: no new calls, {} ms for those in flight",
        config.write_timeout.as_millis()
    );
    trigger.drain();
    let ended = tokio::task::spawn_blocking(|| threads.join());
    tokio::select! {
        _ = ended => tracing::info!("stopped"),
        () = stop.wait() => tracing::warn!("told to stop again: calls in flight are cut"),
    }
    follower.abort();
    if let Some(certificates) = certificates {
        certificates.abort();
    }
    Ok(())
}

fn credentials(config: &Config, state: &StateDir) -> Result<Option<Credentials>, StartError> {
    Ok(match (&config.secret_mount_path, config.basic_auth) {
        (_, false) => None,
        (Some(dir), true) => Some(Credentials::read(dir)?),
        (None, true) => Some(Credentials::read_or_create(state.path())?),
    })
}

async fn wait_for_sync(directory: &Directory) {
    if tokio::time::timeout(SYNC, directory.synced()).await.is_err() {
        tracing::warn!("the provider has not told what runs; calls are answered 503 until it does");
    }
}

/// Before the provider has told what runs, bundles that are used look as if they were not.
fn sweep_when_synced(store: Arc<Store>, directory: Arc<Directory>) {
    tokio::spawn(async move {
        directory.synced().await;
        sweep(store).await;
    });
}

fn serve_options(config: &Config) -> ServeOptions {
    ServeOptions {
        header_timeout: config.read_timeout,
        idle_timeout: config.read_timeout,
        drain_timeout: config.write_timeout,
        ..ServeOptions::default()
    }
}

/// The sockets of each thread. One more thread serves where functions look for the gateway, when
/// that is elsewhere.
fn bind(
    config: &Config,
    functions_ip: IpAddr,
    tls: Option<&Tls>,
) -> Result<Vec<Vec<Socket>>, StartError> {
    let threads = config.threads.map_or_else(relay::threads::per_core, usize::from);
    let mut sockets: Vec<Vec<Socket>> = (0..threads).map(|_| Vec::new()).collect();
    let mut add = |address: SocketAddr, tls: Option<&Tls>| {
        must_be_free(address)?;
        let listeners = Listener::bind_tcp(address, threads);
        let listeners = listeners.map_err(|source| cannot_listen(address, source))?;
        for (thread, listener) in sockets.iter_mut().zip(listeners) {
            thread.push(Socket { listener, tls: tls.cloned() });
        }
        Ok::<_, StartError>(())
    };
    if let Some((address, tls)) = config.listen_tls().zip(tls) {
        add(address, Some(tls))?;
    }
    let Some(address) = config.listen_plain() else { return Ok(sockets) };
    add(address, None)?;
    let covered = |ip: IpAddr| {
        config.port == FUNCTIONS_PORT && (address.ip().is_unspecified() || address.ip() == ip)
    };
    if !covered(functions_ip) {
        let address = SocketAddr::new(functions_ip, FUNCTIONS_PORT);
        match Listener::bind_tcp(address, 1) {
            Ok(more) => {
                let more = more.into_iter().map(|listener| Socket { listener, tls: None });
                sockets.push(more.collect());
            }
            Err(error) => {
                tracing::warn!(%address, %error, "functions cannot call each other: cannot listen");
            }
        }
    }
    Ok(sockets)
}

/// Says where clients get in, a line each.
fn announcement(sockets: &[Vec<Socket>]) -> std::io::Result<String> {
    let line = |Socket { listener, tls }: &Socket| {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (version, address) = (env!("CARGO_PKG_VERSION"), listener.local_addr()?);
        Ok(format!("faas-gateway {version} listening on {scheme}://{address}\n"))
    };
    sockets.first().map_or(Ok(String::new()), |sockets| sockets.iter().map(line).collect())
}

/// Whether nobody listens there. The sockets of all threads share the port, and would share it
/// with another gateway's of this user, too: only one that does not share can tell.
fn must_be_free(address: SocketAddr) -> Result<(), StartError> {
    let alone = std::net::TcpListener::bind(address);
    alone.map(drop).map_err(|source| cannot_listen(address, source))
}

fn cannot_listen(address: SocketAddr, source: std::io::Error) -> StartError {
    let in_use = source.kind() == ErrorKind::AddrInUse;
    StartError::Listen { address, holder: in_use.then(|| holder::of(address)).flatten(), source }
}

/// The work of one data thread: calls here, everything else on the API's runtime.
async fn relay_calls(seed: Seed) {
    let Seed { sockets, options, shutdown, shared, router, runtime } = seed;
    let caller = std::rc::Rc::new(Caller::new(shared));
    let handler = move |request: Request<Body>, peer: Peer| {
        let (caller, router, runtime) = (caller.clone(), router.clone(), runtime.clone());
        async move {
            match request.uri().path().starts_with(PREFIX) {
                true => caller.call(request, peer).await,
                false => system(request, router, &runtime).await,
            }
        }
    };
    let serve = |Socket { listener, tls }| {
        let (shutdown, handler) = (shutdown.clone(), handler.clone());
        let listener = match tls {
            Some(tls) => Listener::from_tls(listener, tls),
            None => Listener::from_tcp(listener),
        };
        async move {
            match listener {
                Ok(listener) => relay::serve(listener, options, shutdown, handler).await,
                Err(error) => tracing::error!(%error, "cannot serve"),
            }
        }
    };
    join_all(sockets.into_iter().map(serve)).await;
}

/// Hands a request to the API and its answer back.
async fn system(
    request: Request<Body>,
    mut router: Router,
    runtime: &Handle,
) -> http::Response<Body> {
    let request = request.map(relay::Sendable::from);
    let answer = runtime.spawn(async move { router.call(request).await });
    match answer.await {
        Ok(Ok(response)) => response.map(Body::boxed),
        Ok(Err(never)) => match never {},
        Err(panic) => {
            tracing::error!(%panic, "a handler failed");
            let error = provider::Error::Backend {
                backend: "gateway",
                reason: "a handler failed".to_owned(),
            };
            Error::from(error).response().map(Body::from)
        }
    }
}

async fn serve_metrics(address: SocketAddr, metrics: Metrics) -> Result<(), StartError> {
    let listen = |source| cannot_listen(address, source);
    let listener = tokio::net::TcpListener::bind(address).await.map_err(listen)?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/metrics", get(metrics_text))
        .route("/healthz", get(async || "OK"))
        .with_state(metrics);
    tokio::spawn(async move { axum::serve(listener, router).await });
    println!("faas-gateway metrics on http://{address}/metrics");
    Ok(())
}

async fn metrics_text(State(metrics): State<Metrics>) -> axum::response::Response {
    let text = metrics.text().unwrap_or_default();
    let mut response = axum::response::Response::new(axum::body::Body::from(text));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// SIGTERM and SIGINT.
struct StopSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
