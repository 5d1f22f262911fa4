//! Metrics and health, on a port of their own.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use relay::Shutdown;

use crate::metrics::Metrics;

/// Serves them until the gateway is told to end.
pub(super) fn serve(
    listener: std::net::TcpListener,
    metrics: Metrics,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/metrics", get(text))
        .with_state(metrics)
        .route("/healthz", get(health))
        .with_state(shutdown.clone());
    let mut end = shutdown;
    let served =
        axum::serve(listener, router).with_graceful_shutdown(async move { end.wait().await });
    tokio::spawn(async move { served.await });
    println!("faas-gateway metrics on http://{address}/metrics");
    Ok(())
}

/// Whether new calls are welcome.
async fn health(State(shutdown): State<Shutdown>) -> (StatusCode, &'static str) {
    match shutdown.is_given() {
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
