//! Asking a replica over HTTP whether it is up.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The port that every function listens on (contract 5.12).
pub(crate) const PORT: u16 = 8080;
/// What is asked for to see whether the function is up (contract 5.12).
pub(crate) const HEALTH_PATH: &str = "/_/health";
/// Pause after the first question; it doubles after each, up to [`LAST_PAUSE`].
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Longest pause between two questions.
pub(crate) const LAST_PAUSE: Duration = Duration::from_millis(250);

/// What can go wrong with a question.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The status of the answer to a GET. Who asks bounds the time.
pub(crate) async fn status(address: SocketAddr, path: &str) -> Result<u16, Failure> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request =
        Request::get(path).header(HOST, address.to_string()).body(Empty::<Bytes>::new())?;
    // The connection is driven here, so that nothing outlives the question.
    let mut answer = std::pin::pin!(sender.send_request(request));
    tokio::select! {
        response = &mut answer => Ok(response?.status().as_u16()),
        // Whoever answers and hangs up at once has answered.
        _ = connection => Ok(answer.await?.status().as_u16()),
    }
}
