//! The HTTP server around the handler. The watchdog starts it, waits until it listens, and is its only client.

use std::io;
use std::net::Ipv4Addr;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::serve::ListenerExt;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tower_http::catch_panic::CatchPanicLayer;

const DEFAULT_PORT: u16 = 3000;

#[tokio::main]
async fn main() -> io::Result<()> {
    let terminate = received(signal(SignalKind::terminate())?);
    if let Some(path) = socket() {
        let listener = UnixListener::bind(path)?;
        return axum::serve(listener, app()).with_graceful_shutdown(terminate).await;
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port()?)).await?;
    let listener = listener.tap_io(|connection| {
        let _ = connection.set_nodelay(true);
    });
    axum::serve(listener, app()).with_graceful_shutdown(terminate).await
}

/// The socket that `upstream_url` names; with any other URL it is a port.
fn socket() -> Option<String> {
    let url = std::env::var("upstream_url").ok()?;
    url.strip_prefix("unix:").map(str::to_owned)
}

/// Every method and every path is the handler's. How long a body may be is for the gateway to say.
fn app() -> Router {
    Router::new()
        .fallback(function::handle)
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::new())
}

fn port() -> io::Result<u16> {
    match std::env::var("http_port") {
        Ok(port) => {
            port.parse().map_err(|_| io::Error::other(format!("http_port: {port:?} is no port")))
        }
        Err(_) => Ok(DEFAULT_PORT),
    }
}

async fn received(mut signal: Signal) {
    signal.recv().await;
}
