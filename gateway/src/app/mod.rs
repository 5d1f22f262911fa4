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
use provider::Calls;
use provider::bundle::Store;
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
        // Containers stay, and an engine may take its time to answer.
        () = stop.wait(), if config.provider == ProviderKind::Docker => return Ok(()),
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
    tasks.spawn({
        let (directory, events) = (directory.clone(), provider.watch());
        async move { directory.follow(events).await }
    });
    wait_for_sync(&directory).await;
    let (runtime, leaving) = (Handle::current(), Leaving::default());
    let scaler = Scaler::new(provider.clone(), directory.clone(), runtime.clone());
    let scaler = Arc::new(scaler.until(leaving.clone()).within(scaling::bounds(&config)));
    let sampler = Arc::new(Sampler::new(provider.clone(), directory.clone()));
    let has_predecessor = predecessor.is_some();
    let autoscaler = scaling::autoscaler(&config, has_predecessor, &scaler, &sampler)?;
    let (trigger, shutdown) = relay::shutdown();
    let api = Api {
        provider,
        directory: directory.clone(),
        scaler: scaler.clone(),
        sampler: sampler.clone(),
        bundles: bundles.clone().map(Bundles::new),
        stopping: shutdown.clone(),
        writes: Default::default(),
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
    if let Some(store) = bundles {
        tasks.spawn(sweep_when_synced(store, directory.clone()));
    }
    let place = (backend.functions_ip, state.path());
    let sockets = Sockets::bind(&config, place, tls.as_ref(), predecessor.as_mut())?;
    let announcement = sockets.announcement()?;
    let Sockets { threads, metrics: listener, doubles } = sockets;
    let readiness = Readiness::default();
    let sources = Sources { metrics, directory, sampler };
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
    if let Some(tls) = tls {
        tasks.spawn(follow_certificate(tls));
    }
    tasks.spawn(autoscaler.run(leaving.clone()));
    let desk = Desk::open(state.path(), config.takeover_timeout)?;
    print!("{announcement}");
    if let Some(predecessor) = predecessor {
        predecessor.serving().await;
    }
    let manner = Manner { drain: config.write_timeout, delay: config.shutdown_delay, readiness };
    let farewell = Farewell { backend, state, trigger, threads, tasks, leaving, manner, doubles };
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

async fn wait_for_sync(directory: &Directory) {
    if tokio::time::timeout(SYNC, directory.synced()).await.is_err() {
        tracing::warn!("the provider has not told what runs; calls are answered 503 until it does");
    }
}

/// Before the provider has told what runs, bundles that are used look as if they were not.
async fn follow_certificate(tls: Tls) {
    if let Err(error) = tls::follow(tls).await {
        tracing::error!(%error, "a new certificate is not noticed: restart the gateway for it");
    }
}

async fn sweep_when_synced(store: Arc<Store>, directory: Arc<Directory>) {
    directory.synced().await;
    sweep(store).await;
}
