//! Metrics and health, on a port of their own.

mod functions;
mod peers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use prometheus::TEXT_FORMAT;
use relay::Shutdown;

use crate::directory::Directory;
use crate::metrics::Metrics;
use crate::peers::Circle;
use crate::usage::Sampler;

/// What an answer to Prometheus is made from.
pub(super) struct Sources {
    /// What was counted.
    pub(super) metrics: Metrics,
    /// What runs now.
    pub(super) directory: Arc<Directory>,
    /// What it uses.
    pub(super) sampler: Arc<Sampler>,
    /// Which gateway leads, and what the others tell it.
    pub(super) circle: Circle,
}

/// Whether new clients are welcome, until it is withdrawn. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// From now on they are not, though they are still served.
    pub(super) fn withdraw(&self) {
        self.0.store(true, Relaxed);
    }
}

/// Serves them until the gateway is told to end.
pub(super) fn serve(
    listener: std::net::TcpListener,
    sources: Sources,
    (shutdown, readiness): (Shutdown, Readiness),
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/metrics", get(text))
        .with_state(Arc::new(sources))
        .route("/healthz", get(health))
        .with_state((shutdown.clone(), readiness));
    let mut end = shutdown;
    let served =
        axum::serve(listener, router).with_graceful_shutdown(async move { end.wait().await });
    tokio::spawn(async move { served.await });
    println!("faas-gateway metrics on http://{address}/metrics");
    Ok(())
}

/// Whether new calls are welcome.
async fn health(
    State((shutdown, readiness)): State<(Shutdown, Readiness)>,
) -> (StatusCode, &'static str) {
    match shutdown.is_given() || readiness.0.load(Relaxed) {
        true => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        false => (StatusCode::OK, "OK"),
    }
}

/// Everything as Prometheus reads it. What functions use is left out while the backend does not
/// tell: half of it is better than none.
async fn text(State(sources): State<Arc<Sources>>) -> Response {
    let sample = sources.sampler.sample().await;
    if let Err(error) = &sample {
        tracing::debug!(%error, "what functions use is not known");
    }
    let functions = sources.directory.all();
    let functions = functions.iter().map(|entry| &**entry);
    let seen = functions::look(functions, sample.ok().as_deref()).and_then(|mut seen| {
        seen.extend(peers::look(&sources.circle)?);
        Ok(seen)
    });
    match seen.and_then(|seen| sources.metrics.text_with(seen)) {
        Ok(text) => {
            let kind = HeaderValue::from_static(TEXT_FORMAT);
            ([(CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
