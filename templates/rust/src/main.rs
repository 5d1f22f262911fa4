//! The HTTP server around the handler. The watchdog starts it, waits until it listens, and is its
//! only client.

use axum::Router;
use tokio::signal::unix::{SignalKind, signal};
use tower_http::catch_panic::CatchPanicLayer;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    // A panic is logged by Rust itself; this answers it with 500.
    let app = Router::new().fallback(function::handle).layer(CatchPanicLayer::new());
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            terminate.recv().await;
        })
        .await
}
