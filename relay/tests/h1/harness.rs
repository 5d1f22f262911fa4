//! Servers in threads of their own; clients and upstreams are plain sockets, so that they can be odd.

use std::future::Future;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use relay::{Body, Call, Listener, Peer, Pool, PoolOptions, Rules, ServeOptions, Target, Trigger};
use tokio::time::Instant;

/// Longest wait for anything; only a failing test takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Served {
    pub(crate) port: u16,
    pub(crate) trigger: Trigger,
    pub(crate) threads: relay::threads::Threads,
}

pub(crate) fn serve<H, F>(
    options: ServeOptions,
    make: impl Fn() -> H + Send + Sync + 'static,
) -> Served
where
    H: Fn(Request<Body>, Peer) -> F + 'static,
    F: Future<Output = Response<Body>> + 'static,
{
    serve_on(1, options, make)
}

pub(crate) fn serve_on<H, F>(
    count: usize,
    options: ServeOptions,
    make: impl Fn() -> H + Send + Sync + 'static,
) -> Served
where
    H: Fn(Request<Body>, Peer) -> F + 'static,
    F: Future<Output = Response<Body>> + 'static,
{
    let address = "127.0.0.1:0".parse().expect("an address");
    let listeners = Listener::bind_tcp(address, count).expect("a port");
    let port = listeners[0].local_addr().expect("bound").port();
    let (trigger, shutdown) = relay::shutdown();
    let threads = relay::threads::start(listeners, move |listener| {
        let handler = make();
        let shutdown = shutdown.clone();
        let options = options.clone();
        async move {
            let listener = Listener::from_tcp(listener).expect("a listener");
            relay::serve(listener, options, shutdown, handler).await;
        }
    });
    Served { port, trigger, threads: threads.expect("threads") }
}

impl Served {
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream
    }

    /// Sends bytes and reads until the connection ends.
    pub(crate) fn ask(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // A refusal may come before everything is sent.
        let _ = stream.write_all(bytes);
        read_all(&mut stream)
    }

    pub(crate) fn end(self) {
        self.trigger.drain();
        assert!(self.threads.join(), "a thread panicked");
    }
}

pub(crate) fn read_all(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        text.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads until `end` has come; `None` when the connection ends before.
pub(crate) fn read_to(stream: &mut impl Read, end: &str) -> Option<String> {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(end.as_bytes()) {
        stream.read_exact(&mut byte).ok()?;
        text.push(byte[0]);
    }
    Some(String::from_utf8(text).expect("text"))
}

pub(crate) fn hello() -> impl Fn(Request<Body>, Peer) -> std::future::Ready<Response<Body>> {
    |_, _| std::future::ready(Response::new(Body::from("hello")))
}

pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = relay::threads::local_runtime().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") })
}

pub(crate) fn get(path: &str, deadline: Option<Instant>) -> Call {
    let request = Request::get(path).header("host", "test").body(Body::empty());
    Call::new(request.expect("a request"), deadline)
}

/// An upstream that gives each connection, with its number, to `talk`.
pub(crate) fn upstream(talk: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = Target::from(listener.local_addr().expect("bound"));
    thread::spawn(move || {
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
            talk(number, stream);
        }
    });
    target
}

pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A body that yields chunks for ever, or one chunk and then fails.
pub(crate) struct Odd {
    pub(crate) endless: bool,
    pub(crate) sent: bool,
}

impl http_body::Body for Odd {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        if self.endless {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 1024])))));
        }
        if self.sent {
            return Poll::Ready(Some(Err("broken".to_owned())));
        }
        self.sent = true;
        cx.waker().wake_by_ref();
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"part")))))
    }
}

/// Tells when it is dropped.
pub(crate) struct Tell(pub(crate) mpsc::Sender<()>);

impl Drop for Tell {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// A server that passes everything on to `target`; what cannot be sent is answered with the error.
pub(crate) fn proxy(options: ServeOptions, target: Target) -> Served {
    serve(options, move || {
        let pool = Pool::new(PoolOptions::default());
        let target = target.clone();
        move |request, _| {
            let (pool, target) = (pool.clone(), target.clone());
            async move {
                let mut call = Call::forward(request, &Rules::default());
                match pool.send(&target, &mut call).await {
                    Ok(response) => response,
                    Err(error) => Response::new(Body::from(format!("failed: {error}"))),
                }
            }
        }
    })
}

/// Answers a request with its own body.
pub(crate) fn echo() -> impl Fn(Request<Body>, Peer) -> std::future::Ready<Response<Body>> {
    |request, _| std::future::ready(Response::new(request.into_body()))
}

/// Waits for what another thread is to tell.
pub(crate) fn told<T>(receiver: &mpsc::Receiver<T>) -> T {
    receiver.recv_timeout(PATIENCE).expect("to be told")
}
