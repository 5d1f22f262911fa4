//! Puts the parts together, starts them, and stops them in order.

mod error;
mod files;
mod leave;
mod metrics;
mod scaling;
mod signals;
mod sockets;
mod threads;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::middleware::from_fn_with_state;
use provider::bundle::Store;
use provider::{Calls, Provider};
use relay::Tls;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

pub use self::error::StartError;
use self::leave::{Farewell, Manner};
use self::metrics::{Readiness, Sources};
use self::signals::StopSignals;
use self::sockets::{Sockets, must_all_be_free};
use self::threads::{Seed, relay_calls, serve_options};
use crate::api::bundles::Bundles;
use crate::api::{self, Api};
use crate::auth::Credentials;
use crate::backend::{self, Backend};
use crate::call::Shared;
use crate::config::{Config, ProviderKind};
use crate::directory::Directory;
use crate::handover::{Desk, Leaving, Predecessor};
use crate::limits::Clients;
use crate::metrics::{Metrics, observe};
use crate::peers::{Circle, Client};
use crate::scaling::Scaler;
use crate::state::StateDir;
use crate::sweep::sweep;
use crate::tls;
use crate::usage::Sampler;

/// Longest wait at the start for the provider to tell what runs.
const SYNC: Duration = Duration::from_secs(30);

/// What a gateway is made from.
struct Parts {
    config: Config,
    credentials: Option<Credentials>,
    tls: Option<Tls>,
    metrics: Metrics,
    calls: Calls,
    predecessor: Option<Predecessor>,
}

/// Runs the gateway until it is told to stop, or another one has taken its place.
pub async fn run(config: Config) -> Result<(), StartError> {
    config.validate()?;
    files::take_all();
    let tls = config.tls.open()?;
    let config = backend::resolve(config).await;
    let (mut predecessor, state) = enter(&config).await?;
    // Before anything is started that would have to be stopped again.
    if predecessor.is_none() {
        must_all_be_free(&config)?;
    }
    let credentials = credentials(&config, state.path())?;
    let (metrics, calls) = (Metrics::new()?, Calls::default());
    // From here on functions may run that end with the gateway: a signal must not end it at once.
    let mut stop = StopSignals::new()?;
    let backend = tokio::select! {
        opened = Backend::open(&config, state.path(), &calls) => opened?,
        // Containers and pods stay, and an engine may take its time to answer.
        () = stop.wait(), if config.provider != ProviderKind::Process => return Ok(()),
    };
    let predecessor = predecessor.take();
    let parts = Parts { config, credentials, tls, metrics, calls, predecessor };
    serve(parts, backend, state, stop).await
}

/// Takes hold of the state folder: a free one, or that of the gateway before this one, which lets
/// go of it when everything else is known to work.
async fn enter(config: &Config) -> Result<(Option<Predecessor>, StateDir), StartError> {
    let path = config.state_dir()?;
    if !config.takeover {
        return Ok((None, StateDir::open(&path)?));
    }
    let mut predecessor = Predecessor::find(&path).await.map_err(StartError::Takeover)?;
    if let Some(predecessor) = &mut predecessor {
        StateDir::check(&path)?;
        credentials(config, &path)?;
        let (pid, version) = (predecessor.pid, &predecessor.version);
        tracing::info!(pid, version, "taking the place of the gateway that runs");
        predecessor.release().await.map_err(StartError::Takeover)?;
    }
    Ok((predecessor, StateDir::open(&path)?))
}

/// Serves until told to stop or replaced, and then until the calls have ended.
async fn serve(
    parts: Parts,
    backend: Backend,
    state: StateDir,
    stop: StopSignals,
) -> Result<(), StartError> {
    let Parts { config, credentials, tls, metrics, calls, mut predecessor } = parts;
    let (provider, bundles) = (backend.provider.clone(), backend.bundles.clone());
    let directory = Arc::new(Directory::new(calls, metrics.clone(), config.upstream_timeout));
    let mut tasks = JoinSet::new();
    follow(&directory, &*provider, &mut tasks).await;
    let (runtime, leaving) = (Handle::current(), Leaving::default());
    let scaler = Scaler::new(provider.clone(), directory.clone(), runtime.clone());
    let circle = circle(&backend, credentials.as_ref(), tls.as_ref())?;
    circle.report(&directory, &mut tasks);
    let scaler = scaler.until(leaving.clone()).led_by(circle.lead.clone());
    let scaler = Arc::new(scaler.within(scaling::bounds(&config)));
    let sampler = Arc::new(Sampler::new(provider.clone(), directory.clone()));
    let able = (&scaler, &sampler);
    let autoscaler = scaling::autoscaler(&config, predecessor.is_some(), able, &circle)?;
    let (trigger, shutdown) = relay::shutdown();
    let api = Api {
        provider,
        directory: directory.clone(),
        scaler: scaler.clone(),
        sampler: sampler.clone(),
        bundles: bundles.clone().map(Bundles::new),
        stopping: shutdown.clone(),
        writes: Default::default(),
        circle: circle.clone(),
    };
    let router = api::router(Arc::new(api), credentials);
    let router = router.layer(from_fn_with_state(metrics.requests.clone(), observe));
    let shared = Arc::new(Shared {
        directory: directory.clone(),
        scaler,
        scale_from_zero: config.scale_from_zero,
        access_log: config.access_log,
        clients: Clients::limited(config.clients.client_rate, &config.clients.trusted_proxies),
        leaving: leaving.clone(),
    });
    let place = (backend.functions_ip, state.path());
    let sockets = Sockets::bind(&config, place, tls.as_ref(), predecessor.as_mut())?;
    let announcement = sockets.announcement()?;
    let Sockets { threads, metrics: listener, doubles } = sockets;
    let readiness = Readiness::default();
    keep_in_order(&mut tasks, bundles.zip(Some(directory.clone())), tls);
    let sources = Sources { metrics, directory, sampler, circle: circle.clone() };
    metrics::serve(listener, sources, (shutdown.clone(), readiness.clone()))?;
    let options = serve_options(&config, &threads);
    let seeds = threads.into_iter().map(|sockets| Seed {
        sockets,
        options: options.clone(),
        shutdown: shutdown.clone(),
        shared: shared.clone(),
        router: router.clone(),
        runtime: runtime.clone(),
    });
    let threads = relay::threads::start(seeds.collect(), relay_calls)?;
    tasks.spawn(autoscaler.run(leaving.clone()));
    let desk = Desk::open(state.path(), config.takeover_timeout)?;
    print!("{announcement}");
    if let Some(predecessor) = predecessor {
        predecessor.serving().await;
    }
    let manner = Manner { drain: config.write_timeout, delay: config.shutdown_delay, readiness };
    let farewell =
        Farewell { backend, state, trigger, threads, tasks, leaving, manner, doubles, circle };
    farewell.wait(stop, &desk).await;
    Ok(())
}

fn credentials(config: &Config, state: &Path) -> Result<Option<Credentials>, StartError> {
    Ok(match (&config.secret_mount_path, config.basic_auth) {
        (_, false) => None,
        (Some(dir), true) => Some(Credentials::read(dir)?),
        (None, true) => Some(Credentials::read_or_create(state)?),
    })
}

/// This gateway among the others, if there can be any.
fn circle(
    backend: &Backend,
    credentials: Option<&Credentials>,
    tls: Option<&Tls>,
) -> reqwest::Result<Circle> {
    let header = credentials.map(Credentials::header);
    let client = Client::new(backend.name.clone(), header, tls)?;
    Ok(Circle::new(backend.lead.clone(), client))
}

/// Has the directory follow the provider, and waits until it knows what runs.
async fn follow(directory: &Arc<Directory>, provider: &dyn Provider, tasks: &mut JoinSet<()>) {
    let (follower, events) = (directory.clone(), provider.watch());
    tasks.spawn(async move { follower.follow(events).await });
    if tokio::time::timeout(SYNC, directory.synced()).await.is_err() {
        tracing::warn!("the provider has not told what runs; calls are answered 503 until it does");
    }
}

/// Bundles that nobody uses go, and a certificate that was changed is taken.
fn keep_in_order(
    tasks: &mut JoinSet<()>,
    bundles: Option<(Arc<Store>, Arc<Directory>)>,
    tls: Option<Tls>,
) {
    if let Some((store, directory)) = bundles {
        tasks.spawn(sweep_when_synced(store, directory));
    }
    if let Some(tls) = tls {
        tasks.spawn(follow_certificate(tls));
    }
}

async fn follow_certificate(tls: Tls) {
    if let Err(error) = tls::follow(tls).await {
        tracing::error!(%error, "a new certificate is not noticed: restart the gateway for it");
    }
}

/// Before the provider has told what runs, bundles that are used look as if they were not.
async fn sweep_when_synced(store: Arc<Store>, directory: Arc<Directory>) {
    directory.synced().await;
    sweep(store).await;
}
