//! The data path over real sockets. Servers run in threads of their own; clients and upstreams
//! are plain sockets, so that they can be odd.

use std::convert::Infallible;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use relay::{
    Body, Call, Forwarded, Listener, Peer, Pool, PoolOptions, Rules, SendError, ServeOptions,
    Target, Trigger,
};
use tokio::time::Instant;

/// Longest wait for anything; only a failing test takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

struct Served {
    port: u16,
    trigger: Trigger,
    threads: relay::threads::Threads,
}

fn serve<H, F>(options: ServeOptions, make: impl Fn() -> H + Send + Sync + 'static) -> Served
where
    H: Fn(Request<Body>, Peer) -> F + 'static,
    F: Future<Output = Response<Body>> + 'static,
{
    serve_on(1, options, make)
}

fn serve_on<H, F>(
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
        async move {
            let listener = Listener::from_tcp(listener).expect("a listener");
            relay::serve(listener, options, shutdown, handler).await;
        }
    });
    Served { port, trigger, threads: threads.expect("threads") }
}

impl Served {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream
    }

    /// Sends bytes and reads until the connection ends.
    fn ask(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // A refusal may come before everything is sent.
        let _ = stream.write_all(bytes);
        read_all(&mut stream)
    }

    fn end(self) {
        self.trigger.drain();
        assert!(self.threads.join(), "a thread panicked");
    }
}

fn read_all(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        text.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads until `end` has come; `None` when the connection ends before.
fn read_to(stream: &mut impl Read, end: &str) -> Option<String> {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(end.as_bytes()) {
        stream.read_exact(&mut byte).ok()?;
        text.push(byte[0]);
    }
    Some(String::from_utf8(text).expect("text"))
}

fn hello() -> impl Fn(Request<Body>, Peer) -> std::future::Ready<Response<Body>> {
    |_, _| std::future::ready(Response::new(Body::from("hello")))
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = relay::threads::local_runtime().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") })
}

fn get(path: &str, deadline: Option<Instant>) -> Call {
    let request = Request::get(path).header("host", "test").body(Body::empty());
    Call::new(request.expect("a request"), deadline)
}

/// An upstream that gives each connection, with its number, to `talk`.
fn upstream(talk: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> Target {
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

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A body that yields chunks for ever, or one chunk and then fails.
struct Odd {
    endless: bool,
    sent: bool,
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
struct Tell(mpsc::Sender<()>);

impl Drop for Tell {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[test]
fn what_is_no_proper_request_is_refused() {
    let options = ServeOptions { max_uri_bytes: 100, ..ServeOptions::default() };
    let served = serve(options, hello);
    let long = "x".repeat(101);
    let huge = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(1100 << 10));
    let cases = [
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", " 200 "),
        ("GET / HTTP/1.0\r\n\r\n", " 200 "),
        ("GET / HTTP/1.1\r\n\r\n", " 400 "),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", " 400 "),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", " 400 "),
        ("GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n", " 400 "),
        ("nonsense\r\n\r\n", " 400 "),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", " 501 "),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", " 501 "),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", " 501 "),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
            " 501 ",
        ),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", " 400 "),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", " 400 "),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", " 400 "),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            " 400 ",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\ncontent-LENGTH: 1\r\n\r\n",
            " 400 ",
        ),
        (&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), " 414 "),
        (&huge, " 431 "),
    ];
    for (request, status) in cases {
        let answer = served.ask(request.as_bytes());
        let line = answer.lines().next().unwrap_or_default();
        let shown = &request[..request.len().min(120)];
        // Who sends more than is read may be cut off before the answer comes through.
        let cut = request.len() > 1 << 20 && line.is_empty();
        assert!(cut || line.contains(status), "{shown:?}: {answer:?}");
    }
    served.end();
}

#[test]
fn slow_heads_and_idle_connections_are_closed() {
    let quick = Duration::from_millis(200);
    let options = ServeOptions { header_timeout: quick, ..ServeOptions::default() };
    let served = serve(options, hello);
    assert_eq!(served.ask(b"GET / HTTP/1.1\r\nHos"), "");
    served.end();

    let options = ServeOptions { idle_timeout: quick, ..ServeOptions::default() };
    let served = serve(options, hello);
    assert_eq!(served.ask(b""), "");
    let answer = served.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.ends_with("hello"), "{answer}");
    served.end();
}

#[test]
fn no_more_connections_than_allowed() {
    let options = ServeOptions { max_connections: 1, ..ServeOptions::default() };
    let served = serve(options, hello);
    let mut first = served.connect();
    first.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("open");
    read_to(&mut first, "hello").expect("an answer");
    let mut second = served.connect();
    second.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("open");
    second.set_nonblocking(true).expect("a socket");
    first.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("open");
    read_to(&mut first, "hello").expect("an answer");
    let early = second.read(&mut [0]).expect_err("it waits");
    assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock);
    second.set_nonblocking(false).expect("a socket");
    drop(first);
    read_to(&mut second, "hello").expect("its turn");
    drop(second);
    served.end();
}

#[test]
fn a_body_that_fails_resets() {
    let served = serve(ServeOptions::default(), || {
        |_, _| async { Response::new(Body::boxed(Odd { endless: false, sent: false })) }
    });
    for version in ["1.1", "1.0"] {
        let mut stream = served.connect();
        let request = format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("open");
        let mut text = Vec::new();
        let error = stream.read_to_end(&mut text).expect_err("no proper end");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    served.end();
}

#[test]
fn guards_go_at_the_end_of_the_body_or_of_the_client() {
    let (sender, dropped) = mpsc::channel();
    let served = serve(ServeOptions::default(), move || {
        let sender = sender.clone();
        move |request: Request<Body>, _| {
            let guard = Tell(sender.clone());
            async move {
                let body = match request.uri().path() {
                    "/endless" => Body::boxed(Odd { endless: true, sent: false }),
                    _ => Body::from("hello"),
                };
                Response::new(body.with_guard(guard))
            }
        }
    });
    let mut stream = served.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("open");
    read_to(&mut stream, "hello").expect("an answer");
    dropped.recv_timeout(PATIENCE).expect("at the end of the body");
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").expect("open");
    read_to(&mut stream, "xxxx").expect("some of it");
    drop(stream);
    dropped.recv_timeout(PATIENCE).expect("when the client is gone");
    served.end();
}

#[test]
fn a_client_that_does_not_read_cannot_hold_a_call_beyond_its_deadline() {
    let (sender, dropped) = mpsc::channel();
    let options =
        ServeOptions { header_timeout: Duration::from_millis(100), ..ServeOptions::default() };
    let served = serve(options, move || {
        let sender = sender.clone();
        move |_, _| {
            let guard = Tell(sender.clone());
            let deadline = Instant::now() + Duration::from_millis(300);
            let body = Body::boxed(Odd { endless: true, sent: false });
            let body = body.with_deadline(deadline).with_guard(guard);
            std::future::ready(Response::new(body))
        }
    });
    let mut stream = served.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("open");
    dropped.recv_timeout(PATIENCE).expect("at the deadline");
    served.end();
}

#[test]
fn draining_lets_calls_finish_and_cuts_what_is_left() {
    let (asked, asks) = mpsc::channel();
    let (sender, dropped) = mpsc::channel();
    let options =
        ServeOptions { drain_timeout: Duration::from_millis(300), ..ServeOptions::default() };
    let served = serve(options, move || {
        let (asked, sender) = (asked.clone(), sender.clone());
        move |_, _| {
            let guard = Tell(sender.clone());
            asked.send(()).expect("a listener");
            async move {
                let _guard = guard;
                std::future::pending().await
            }
        }
    });
    let mut idle = served.connect();
    let mut busy = served.connect();
    busy.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("open");
    asks.recv_timeout(PATIENCE).expect("a call");
    served.trigger.drain();
    assert_eq!(read_all(&mut idle), "");
    assert_eq!(read_all(&mut busy), "");
    dropped.recv_timeout(PATIENCE).expect("the call is over");
    assert!(served.threads.join());
}

#[test]
fn all_threads_share_one_port() {
    let served = serve_on(3, ServeOptions::default(), || {
        |_, _| async {
            let name = thread::current().name().map(str::to_owned);
            Response::new(Body::from(name.unwrap_or_default()))
        }
    });
    for _ in 0..10 {
        let answer = served.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert!(answer.contains("data-"), "{answer}");
    }
    served.end();
}

#[test]
fn the_next_hop_learns_who_asked() {
    let (sender, heads) = mpsc::channel();
    let target = upstream(move |_, mut stream| {
        let head = read_to(&mut stream, "\r\n\r\n").expect("a head");
        sender.send(head.to_ascii_lowercase()).expect("a listener");
        stream.write_all(OK).expect("open");
    });
    let served = serve(ServeOptions::default(), move || {
        let pool = Pool::new(PoolOptions::default());
        let target = target.clone();
        move |request, peer| {
            let (pool, target) = (pool.clone(), target.clone());
            async move {
                let rules = Rules {
                    path: Some("/new?x=%2F".parse().expect("a path")),
                    host: Some(HeaderValue::from_static("other")),
                    forwarded: Some(Forwarded { peer, scheme: peer.scheme() }),
                    ..Rules::default()
                };
                let mut call = Call::forward(request, &rules);
                pool.send(&target, &mut call).await.expect("an answer")
            }
        }
    });
    let answer = served.ask(
        b"GET http://absolute/old HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\n\
          Forwarded: for=9.9.9.9\r\nTraceparent: 00-0af7-b7ad-01\r\nTracestate: a=1, b=%2F\r\n\
          Connection: close\r\n\r\n",
    );
    assert!(answer.ends_with("ok"), "{answer}");
    let head = heads.recv_timeout(PATIENCE).expect("a request");
    assert!(head.starts_with("get /new?x=%2f http/1.1\r\n"), "{head}");
    for line in [
        "host: other",
        "x-forwarded-for: 9.9.9.9, 127.0.0.1",
        "x-forwarded-host: absolute",
        "x-forwarded-proto: http",
        "forwarded: for=9.9.9.9, for=127.0.0.1;host=absolute;proto=http",
        "traceparent: 00-0af7-b7ad-01",
        "tracestate: a=1, b=%2f",
    ] {
        assert!(head.lines().any(|l| l == line), "no {line} in {head}");
    }
    assert!(!head.contains("connection:"), "{head}");
    served.end();
}

#[test]
fn a_call_that_was_not_sent_can_go_elsewhere() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let dead = Target::from(closed.local_addr().expect("bound"));
    drop(closed);
    let alive = upstream(|_, mut stream| {
        read_to(&mut stream, "\r\n\r\nbody").expect("the whole request");
        stream.write_all(OK).expect("open");
    });
    run(async {
        let pool = Pool::new(PoolOptions::default());
        let request = Request::post("/").header("host", "test").body(Body::from("body"));
        let mut call = Call::new(request.expect("a request"), None);
        let error = pool.send(&dead, &mut call).await.expect_err("nobody is there");
        assert!(matches!(error, SendError::NotSent(_)) && call.can_repeat(), "{error}");
        let answer = pool.send(&alive, &mut call).await.expect("an answer");
        assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), "ok");
    });
}

#[test]
fn a_connection_that_breaks_says_so() {
    let target = upstream(|_, mut stream| drop(read_to(&mut stream, "\r\n\r\n")));
    run(async {
        let pool = Pool::new(PoolOptions::default());
        let error = pool.send(&target, &mut get("/", None)).await.expect_err("no answer");
        assert!(matches!(error, SendError::Broken(_)), "{error}");
    });
}

#[test]
fn the_deadline_ends_a_call_and_its_connection() {
    let (sender, gone) = mpsc::channel();
    let target = upstream(move |_, mut stream| {
        read_to(&mut stream, "\r\n\r\n").expect("a head");
        assert_eq!(read_all(&mut stream), "");
        sender.send(()).expect("a listener");
    });
    run(async {
        let pool = Pool::new(PoolOptions::default());
        let deadline = Instant::now() + Duration::from_millis(100);
        let error = pool.send(&target, &mut get("/", Some(deadline))).await.expect_err("too late");
        assert!(matches!(error, SendError::Deadline), "{error}");
        tokio::task::yield_now().await;
        tokio::task::spawn_blocking(move || gone.recv_timeout(PATIENCE))
            .await
            .expect("no panic")
            .expect("the connection is closed");
    });
}

#[test]
fn connections_are_kept_and_expire() {
    let (sender, gone) = mpsc::channel();
    let target = upstream(move |number, mut stream| {
        while read_to(&mut stream, "\r\n\r\n").is_some() {
            let number = number.to_string();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}");
            stream.write_all(answer.as_bytes()).expect("open");
        }
        sender.send(()).expect("a listener");
    });
    run(async {
        let idle_timeout = Duration::from_secs(1);
        let pool = Pool::new(PoolOptions { idle_timeout, ..PoolOptions::default() });
        for _ in 0..5 {
            let answer = pool.send(&target, &mut get("/", None)).await.expect("an answer");
            assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), "0");
        }
        tokio::task::spawn_blocking(move || gone.recv_timeout(PATIENCE))
            .await
            .expect("no panic")
            .expect("the connection expires");
        let answer = pool.send(&target, &mut get("/", None)).await.expect("an answer");
        assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), "1");
    });
}

#[test]
fn a_kept_connection_that_is_closed_meanwhile_is_replaced() {
    // The first connection is closed at the very moment when a second request comes.
    let target = upstream(|number, mut stream| {
        read_to(&mut stream, "\r\n\r\n").expect("a head");
        stream.write_all(OK).expect("open");
        if number == 0 {
            read_to(&mut stream, "\r\n\r\n").expect("a head");
        }
    });
    run(async {
        let pool = Pool::new(PoolOptions::default());
        for _ in 0..2 {
            let answer = pool.send(&target, &mut get("/", None)).await.expect("an answer");
            assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), "ok");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
}

#[test]
fn request_bodies_have_a_limit() {
    let target = upstream(|_, mut stream| drop(read_all(&mut stream)));
    let served = serve(ServeOptions::default(), move || {
        let pool = Pool::new(PoolOptions::default());
        let target = target.clone();
        move |request, _| {
            let (pool, target) = (pool.clone(), target.clone());
            async move {
                let rules = Rules { max_body_bytes: Some(4), ..Rules::default() };
                let error = pool.send(&target, &mut Call::forward(request, &rules)).await;
                Response::new(Body::from(error.expect_err("too large").to_string()))
            }
        }
    });
    let mut stream = served.connect();
    stream
        .write_all(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
        )
        .expect("open");
    read_to(&mut stream, "the body is larger than 4 bytes").expect("an answer");
    drop(stream);
    served.end();
}

#[test]
fn unix_sockets_of_any_length_and_nothing_that_poses_as_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let long = dir.path().join("d".repeat(150));
    std::fs::create_dir(&long).expect("writable");
    let short = dir.path().join("up.sock");
    let listener = UnixListener::bind(&short).expect("a socket");
    let socket = long.join("up.sock");
    std::fs::rename(&short, &socket).expect("same directory");
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            if read_to(&mut stream, "\r\n\r\n").is_some() {
                stream.write_all(OK).expect("open");
            }
        }
    });
    let (link, file) = (long.join("link"), long.join("file"));
    std::os::unix::fs::symlink(&socket, &link).expect("writable");
    std::fs::write(&file, "").expect("writable");
    run(async {
        let pool = Pool::new(PoolOptions::default());
        let answer =
            pool.send(&Target::unix(&socket), &mut get("/", None)).await.expect("an answer");
        assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), "ok");
        for path in [&link, &file, &long.join("missing")] {
            let error = pool.send(&Target::unix(path), &mut get("/", None)).await;
            let error = error.expect_err("not a socket");
            assert!(matches!(error, SendError::NotSent(_)), "{error}");
        }
        assert!(Target::unix(&socket).probe().await.is_ok());
    });
}

#[test]
fn any_body_passes_through_the_body_type() {
    run(async {
        let text = http_body_util::StreamBody::new(futures_util::stream::iter([
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"ab"))),
            Ok(Frame::data(Bytes::from_static(b"cd"))),
        ]));
        let whole = Body::boxed(text).with_limit(4).collect().await.expect("a body");
        assert_eq!(whole.to_bytes(), "abcd");
        assert!(Body::from("abcde").with_limit(4).collect().await.is_err());
        assert!(Body::empty().collect().await.expect("a body").to_bytes().is_empty());
    });
}
