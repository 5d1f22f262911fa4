//! Metrics and health, on a port of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use relay::Shutdown;

use crate::metrics::Metrics;

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
    metrics: Metrics,
    (shutdown, readiness): (Shutdown, Readiness),
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/metrics", get(text))
        .with_state(metrics)
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

async fn text(State(metrics): State<Metrics>) -> axum::response::Response {
    let text = metrics.text().unwrap_or_default();
    let mut response = axum::response::Response::new(axum::body::Body::from(text));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
