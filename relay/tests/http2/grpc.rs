//! gRPC through two hops: a gateway, a watchdog, and a function that speaks HTTP/2.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use relay::{Body, Call, Pool, PoolOptions, Rules, SendError, ServeOptions, Target, grpc};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::Instant;

use crate::harness::{Answer, Served, ask, read, run, serve};

/// A limit that a test sets for its call at the first hop, in milliseconds.
const LIMIT: &str = "x-limit";

/// A hop that passes on what comes.
fn hop(target: Target) -> Served {
    serve(ServeOptions::default(), move || {
        let (pool, target) = (Pool::new(PoolOptions::default()), target.clone());
        move |mut request: Request<Body>, _| {
            let (pool, target) = (pool.clone(), target.clone());
            async move {
                let (version, limit) = (request.version(), request.headers_mut().remove(LIMIT));
                let limit = limit.map(|ms| ms.to_str().expect("text").parse().expect("a number"));
                let deadline = limit.map(|ms| Instant::now() + Duration::from_millis(ms));
                let rules = Rules { deadline, ..Rules::default() };
                let mut call = Call::forward(request, &rules);
                let answer = pool.send(&target, &mut call).await.unwrap_or_else(|e| failed(&e));
                grpc::answer(answer, version).await
            }
        }
    })
}

fn failed(error: &SendError) -> Response<Body> {
    let status = if matches!(error, SendError::Deadline) { 504 } else { 502 };
    let response = Response::builder().status(status).header("x-faas-error", "test");
    response.body(Body::from(error.to_string())).expect("a response")
}

/// A function: every connection is told to `behave` with each call.
async fn function<B>(behave: B) -> (Target, JoinHandle<()>)
where
    B: Fn(Request<h2::RecvStream>, SendResponse<Bytes>) + Clone + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let target = Target::from(listener.local_addr().expect("bound"));
    let accepting = spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a client");
            spawn_local(connection(stream, behave.clone()));
        }
    });
    (target, accepting)
}

async fn connection<S, B>(stream: S, behave: B)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    B: Fn(Request<h2::RecvStream>, SendResponse<Bytes>),
{
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        behave(request, respond);
    }
}

/// Says goodbye before it begins a call.
async fn goodbye() -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let target = Target::from(listener.local_addr().expect("bound"));
    spawn_local(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        // Settings, and a goodbye after stream 0.
        let frames = *b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0";
        stream.read_exact(&mut [0; 100]).await.expect("a call");
        stream.write_all(&frames).await.expect("open");
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    target
}

fn status(code: &'static str) -> HeaderMap {
    let name = HeaderName::from_static("grpc-status");
    HeaderMap::from_iter([(name, HeaderValue::from_static(code))])
}

/// What a gRPC server does that sends back each message as it comes.
fn echo(request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>) {
    spawn_local(async move {
        let headers = request.headers();
        assert_eq!(headers["te"], "trailers");
        assert!(!headers.contains_key("host"));
        let authority = request.uri().authority().expect("an authority").to_string();
        let head = Response::builder()
            .header("content-type", "application/grpc")
            .header("x-authority", authority)
            .header("x-path", request.uri().path());
        let head = head.body(()).expect("a head");
        let mut sender = respond.send_response(head, false).ok()?;
        let mut body = request.into_body();
        while let Some(data) = body.data().await {
            let data = data.ok()?;
            body.flow_control().release_capacity(data.len()).ok()?;
            sender.send_data(data, false).ok()?;
        }
        let told = body.trailers().await.ok()?.is_some();
        sender.send_trailers(status(if told { "0" } else { "3" })).ok()
    });
}

fn call(path: &str) -> Request<()> {
    Request::post(format!("http://a.test{path}"))
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
        .body(())
        .expect("a request")
}

fn grpc_status(answer: &Answer) -> &str {
    let headers = answer.trailers.as_ref().unwrap_or(&answer.headers);
    headers["grpc-status"].to_str().expect("text")
}

/// A call without messages.
async fn ask_for(served: &Served, request: Request<()>) -> Answer {
    let client = served.client().await;
    ask(&client, request, Some(b"")).await.expect("an answer")
}

#[test]
fn messages_and_trailers_stream_both_ways_through_both_hops() {
    run(async {
        let (target, _function) = function(echo).await;
        let watchdog = hop(target);
        let gateway =
            hop(Target::from(std::net::SocketAddr::from(([127, 0, 0, 1], watchdog.port))));
        let mut client = gateway.client().await.ready().await.expect("ready");
        let (answer, mut sender) = client.send_request(call("/a.B/C%2F"), false).expect("open");
        let answer = answer.await.expect("a head, before any message");
        assert_eq!(answer.headers()["x-authority"], "a.test");
        assert_eq!(answer.headers()["x-path"], "/a.B/C%2F");
        let mut body = answer.into_body();
        for message in ["one", "two", "three"] {
            sender.send_data(Bytes::from_static(message.as_bytes()), false).expect("open");
            let echoed = body.data().await.expect("a message").expect("whole");
            assert_eq!(echoed, message);
            body.flow_control().release_capacity(echoed.len()).expect("read");
        }
        sender
            .send_trailers(HeaderMap::from_iter([(
                HeaderName::from_static("x-told"),
                HeaderValue::from_static("1"),
            )]))
            .expect("open");
        assert!(body.data().await.is_none());
        let trailers = body.trailers().await.expect("a proper end").expect("trailers");
        assert_eq!(trailers["grpc-status"], "0");
        gateway.ended().await;
        watchdog.ended().await;
    });
}

#[test]
fn calls_share_a_connection_as_far_as_it_allows() {
    run(async {
        let accepted = Rc::new(Cell::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let target = Target::from(listener.local_addr().expect("bound"));
        let counter = Rc::clone(&accepted);
        spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a client");
                counter.set(counter.get() + 1);
                spawn_local(async move {
                    let mut builder = h2::server::Builder::new();
                    let handshake = builder.max_concurrent_streams(5).handshake(stream);
                    let mut connection = handshake.await.expect("a handshake");
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        echo(request, respond);
                    }
                });
            }
        });
        let pool = Pool::new(PoolOptions::default());
        let exchange = async || {
            let request = Request::post("/").header("content-type", "application/grpc");
            let request = request.header("host", "a").body(Body::from("x")).expect("a request");
            let mut call = Call::new(request, None);
            pool.send(&target, &mut call).await.expect("an answer")
        };
        for _ in 0..3 {
            http_body_util::BodyExt::collect(exchange().await).await.expect("whole");
        }
        assert_eq!(accepted.get(), 1);
        let mut open = Vec::new();
        for _ in 0..10 {
            open.push(exchange().await);
        }
        assert!((2..=3).contains(&accepted.get()), "{} connections", accepted.get());
    });
}

#[test]
fn a_function_on_a_unix_socket_is_called_too() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).expect("a socket");
        spawn_local(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            connection(stream, echo).await;
        });
        let served = hop(Target::unix(&path));
        let answer = ask_for(&served, call("/")).await;
        assert_eq!(grpc_status(&answer), "3");
        served.ended().await;
    });
}

#[test]
fn an_answer_that_is_only_a_status_stays_one() {
    run(async {
        let refuse = |_, mut respond: SendResponse<Bytes>| {
            let head = Response::builder().header("content-type", "application/grpc");
            let head = head.header("grpc-status", "5").body(()).expect("a head");
            respond.send_response(head, true).expect("open");
        };
        let (target, _function) = function(refuse).await;
        let served = hop(target);
        let answer = ask_for(&served, call("/")).await;
        assert_eq!((grpc_status(&answer), answer.trailers.is_none()), ("5", true));
        served.ended().await;
    });
}

#[test]
fn the_deadline_resets_the_call_and_tells_both_sides() {
    let (sender, mut resets) = tokio::sync::mpsc::unbounded_channel();
    run(async {
        let hang = move |request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>| {
            let sender = sender.clone();
            spawn_local(async move {
                if request.uri().path() == "/silent" {
                    let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
                    return sender.send(reason.expect("a reset"));
                }
                let mut body = respond.send_response(Response::new(()), false).expect("open");
                body.send_data(Bytes::from_static(b"part"), false).expect("open");
                let reason = std::future::poll_fn(|cx| body.poll_reset(cx)).await;
                sender.send(reason.expect("a reset"))
            });
        };
        let (target, _function) = function(hang).await;
        let served = hop(target);
        for (path, text) in [("/silent", ""), ("/begun", "part")] {
            let mut request = call(path);
            request.headers_mut().insert(LIMIT, HeaderValue::from_static("200"));
            // The request has no end of its own.
            let mut client = served.client().await.ready().await.expect("ready");
            let (answer, _open) = client.send_request(request, false).expect("open");
            let answer = read(answer.await.expect("a head")).await.expect("a proper end");
            assert_eq!((grpc_status(&answer), answer.text.as_str()), ("4", text), "{path}");
            assert_eq!(resets.recv().await, Some(Reason::CANCEL), "{path}");
        }
        served.ended().await;
    });
}

#[test]
fn a_client_that_goes_away_resets_the_call() {
    let (sender, mut resets) = tokio::sync::mpsc::unbounded_channel();
    run(async {
        let hang = move |_, mut respond: SendResponse<Bytes>| {
            let sender = sender.clone();
            spawn_local(async move {
                let mut body = respond.send_response(Response::new(()), false).expect("open");
                let reason = std::future::poll_fn(|cx| body.poll_reset(cx)).await;
                sender.send(reason.expect("a reset"))
            });
        };
        let (target, _function) = function(hang).await;
        let served = hop(target);
        let mut client = served.client().await.ready().await.expect("ready");
        let (answer, mut sender) = client.send_request(call("/"), false).expect("open");
        answer.await.expect("a head");
        sender.send_reset(Reason::CANCEL);
        assert_eq!(resets.recv().await, Some(Reason::CANCEL));
        served.ended().await;
    });
}

#[test]
fn calls_that_were_not_begun_can_go_elsewhere() {
    run(async {
        let seen = Rc::new(Cell::new(0));
        let counter = Rc::clone(&seen);
        let refuse = move |request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>| {
            counter.set(counter.get() + 1);
            match request.uri().path() {
                "/refuse" => respond.send_reset(Reason::REFUSED_STREAM),
                _ => respond.send_reset(Reason::INTERNAL_ERROR),
            }
        };
        let (target, _function) = function(refuse).await;
        let (healthy, _healthy) = function(echo).await;
        let pool = Pool::new(PoolOptions::default());
        let goodbye = goodbye().await;
        for (target, path, begun) in
            [(&target, "/refuse", false), (&goodbye, "/", false), (&target, "/break", true)]
        {
            let request = Request::post(path).header("content-type", "application/grpc");
            let request = request.header("host", "a").body(Body::from("hello")).expect("a request");
            let mut call = Call::new(request, None);
            let error = pool.send(target, &mut call).await.expect_err(path);
            match begun {
                true => assert!(matches!(error, SendError::Broken(_)), "{path}: {error}"),
                false => assert!(matches!(error, SendError::NotSent(_)), "{path}: {error}"),
            }
            assert!(call.can_repeat());
            if begun {
                continue;
            }
            let answer = pool.send(&healthy, &mut call).await.expect("an answer");
            let answer = http_body_util::BodyExt::collect(answer.into_body()).await;
            assert_eq!(answer.expect("whole").to_bytes(), "hello");
        }
        assert_eq!(seen.get(), 2);
    });
}

#[test]
fn a_connection_that_was_closed_meanwhile_is_replaced() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let target = Target::from(listener.local_addr().expect("bound"));
        spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a client");
                spawn_local(async move {
                    let mut connection = h2::server::handshake(stream).await.expect("a handshake");
                    let (request, respond) =
                        connection.accept().await.expect("a call").expect("one");
                    echo(request, respond);
                    // One call, and then goodbye.
                    connection.graceful_shutdown();
                    while connection.accept().await.is_some() {}
                });
            }
        });
        let served = hop(target);
        let client = served.client().await;
        for _ in 0..20 {
            let answer = ask(&client, call("/"), Some(b"hello")).await.expect("an answer");
            assert_eq!((grpc_status(&answer), answer.text.as_str()), ("3", "hello"));
        }
        served.ended().await;
    });
}

#[test]
fn a_function_that_cannot_be_reached_or_speaks_something_else_is_a_status() {
    use std::io::{Read as _, Write as _};

    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let speaks_http_1 = Target::from(listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 100]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let away = Target::from(closed.local_addr().expect("bound"));
    drop(closed);
    for (target, reason) in [(speaks_http_1, "does not speak HTTP/2"), (away, "cannot connect")] {
        run(async {
            let served = hop(target);
            let answer = ask_for(&served, call("/")).await;
            assert_eq!((answer.status.as_u16(), grpc_status(&answer)), (200, "14"));
            assert_eq!(answer.headers["x-faas-error"], "test");
            let message = answer.headers["grpc-message"].to_str().expect("text");
            assert!(message.contains(reason), "{message}");
            served.ended().await;
        });
    }
}
