//! Servers in threads of their own, and clients that speak HTTP/2 frame by frame.

use std::future::Future;
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use http::{HeaderMap, Request, Response, StatusCode};
use relay::{Body, Listener, Peer, ServeOptions, Trigger};

/// Longest wait for anything; only a failing test takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A server.
pub(crate) struct Served {
    pub(crate) port: u16,
    pub(crate) trigger: Trigger,
    threads: relay::threads::Threads,
}

/// A server on one port and one thread.
pub(crate) fn serve<H, F>(
    options: ServeOptions,
    make: impl Fn() -> H + Send + Sync + 'static,
) -> Served
where
    H: Fn(Request<Body>, Peer) -> F + 'static,
    F: Future<Output = Response<Body>> + 'static,
{
    serve_as(options, |socket| Listener::from_tcp(socket).expect("a listener"), make)
}

/// A server whose listener is made by `listen`.
pub(crate) fn serve_as<H, F>(
    options: ServeOptions,
    listen: impl Fn(std::net::TcpListener) -> Listener + Clone + Send + Sync + 'static,
    make: impl Fn() -> H + Send + Sync + 'static,
) -> Served
where
    H: Fn(Request<Body>, Peer) -> F + 'static,
    F: Future<Output = Response<Body>> + 'static,
{
    let address = "127.0.0.1:0".parse().expect("an address");
    let listeners = Listener::bind_tcp(address, 1).expect("a port");
    let port = listeners[0].local_addr().expect("bound").port();
    let (trigger, shutdown) = relay::shutdown();
    let threads = relay::threads::start(listeners, move |listener| {
        let (listen, shutdown, handler) = (listen.clone(), shutdown.clone(), make());
        let options = options.clone();
        async move { relay::serve(listen(listener), options, shutdown, handler).await }
    });
    Served { port, trigger, threads: threads.expect("threads") }
}

impl Served {
    /// A plain connection.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream
    }

    /// A connection of a client with prior knowledge; its frames are handled in a task.
    pub(crate) async fn client(&self) -> SendRequest<Bytes> {
        let (client, connection) = self.handshake().await;
        tokio::task::spawn_local(connection);
        client
    }

    /// As [`Served::client`], but the connection is the caller's to drive.
    pub(crate) async fn handshake(
        &self,
    ) -> (SendRequest<Bytes>, Connection<tokio::net::TcpStream, Bytes>) {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await;
        h2::client::handshake(stream.expect("it listens")).await.expect("a handshake")
    }

    /// Drains it and waits for its end.
    pub(crate) fn end(self) {
        self.trigger.drain();
        assert!(self.threads.join(), "a thread panicked");
    }
}

impl Served {
    /// As [`Served::end`], while the clients of this runtime go on.
    pub(crate) async fn ended(self) {
        let ended = tokio::task::spawn_blocking(|| self.end());
        ended.await.expect("a thread");
    }
}

/// Runs a test in a runtime like the servers'.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = relay::threads::local_runtime().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") })
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) trailers: Option<HeaderMap>,
}

/// A request without a body.
pub(crate) fn get(path: &str) -> Request<()> {
    Request::get(format!("http://test{path}")).body(()).expect("a request")
}

/// Sends a request and reads the answer to its end.
pub(crate) async fn ask(
    client: &SendRequest<Bytes>,
    request: Request<()>,
    body: Option<&[u8]>,
) -> Result<Answer, h2::Error> {
    let mut client = client.clone().ready().await?;
    let (answer, mut sender) = client.send_request(request, body.is_none())?;
    if let Some(body) = body {
        sender.send_data(Bytes::copy_from_slice(body), true)?;
    }
    read(answer.await?).await
}

/// Reads an answer to its end.
pub(crate) async fn read(response: Response<h2::RecvStream>) -> Result<Answer, h2::Error> {
    let (head, mut body) = response.into_parts();
    let mut text = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        text.extend_from_slice(&data);
    }
    let trailers = body.trailers().await?;
    let text = String::from_utf8(text).expect("text");
    Ok(Answer { status: head.status, headers: head.headers, text, trailers })
}
