//! The function that the whole-system tests deploy: an HTTP server whose paths do what a test
//! needs to see. It listens on `PORT` (3000) of loopback, behind the watchdog.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

type Body = BoxBody<Bytes, Infallible>;

/// What `/hold` holds.
static HELD: Mutex<Vec<u8>> = Mutex::new(Vec::new());
/// What `/release` wakes.
static RELEASE: OnceLock<Arc<Notify>> = OnceLock::new();

/// Bytes of one piece of `/big`.
const PIECE_BYTES: usize = 64 * 1024;

/// Pause before each line of `/drip`.
const DRIP_PAUSE: Duration = Duration::from_millis(20);

fn main() -> std::io::Result<()> {
    let setting = |name: &str| std::env::var(name).ok();
    if let Some(code) = setting("CRASH") {
        eprintln!("testfn: crashing as told");
        return Err(std::io::Error::other(format!("crash {code}")));
    }
    boot();
    let port = setting("PORT").and_then(|port| port.parse().ok()).unwrap_or(3000);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(port))
}

async fn serve(port: u16) -> std::io::Result<()> {
    let host = std::env::var("HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let listener = TcpListener::bind((host.as_str(), port)).await?;
    println!("testfn: listening on {port}");
    loop {
        let (stream, _) = listener.accept().await?;
        // An answer goes out piece by piece: none of them is to wait for the other side's word.
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let service =
                service_fn(|request| async move { Ok::<_, Infallible>(signed(request).await) });
            let server = auto::Builder::new(TokioExecutor::new());
            let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                eprintln!("testfn: {error}");
            }
        });
    }
}

/// The answer, with the name of the replica that made it.
async fn signed(request: Request<Incoming>) -> Response<Body> {
    let mut response = answer(request).await;
    let name = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    if let Ok(name) = name.trim().parse() {
        response.headers_mut().insert("x-replica", name);
    }
    response
}

async fn answer(request: Request<Incoming>) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let value = query.split_once('=').map_or("", |(_, value)| value).to_owned();
    match request.uri().path() {
        "/" | "/echo" => echo(request),
        "/sleep" => sleep(&value).await,
        "/version" => text(std::env::var("VERSION").unwrap_or_default()),
        "/env" => text(std::env::var(&value).unwrap_or_default()),
        "/file" => file(&value),
        "/write" => write(&value),
        "/head" => head(&request),
        "/count" => count(request.into_body()).await,
        "/big" => big(value.parse().unwrap_or(0)),
        "/drip" => drip(value.parse().unwrap_or(0)),
        "/boot" => text(boot()),
        "/sse" => sse(),
        "/release" => {
            release().notify_one();
            text("released")
        }
        "/trailers" => trailers(),
        "/test.Echo/Chat" => chat(request),
        "/upgrade" => upgrade(request),
        "/call" => call(&value).await,
        "/log" => {
            println!("{value}");
            text("logged")
        }
        "/hog" => hog(),
        "/burn" => burn(value.parse().unwrap_or(0)),
        "/hold" => hold(value.parse().unwrap_or(0)),
        "/exit" => std::process::abort(),
        other => text(format!("{} {other}?{query}", request.method())),
    }
}

fn release() -> Arc<Notify> {
    RELEASE.get_or_init(Arc::default).clone()
}

fn full(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed());
    *response.status_mut() = status;
    response
}

fn text(body: impl Into<Bytes>) -> Response<Body> {
    full(StatusCode::OK, body)
}

/// Sends the body back as it comes.
fn echo(request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = StreamBody::new(stream::unfold(body, async |mut body| {
        let frame = body.frame().await?.ok()?;
        Some((Ok(frame), body))
    }));
    let mut response = Response::new(BodyExt::boxed(SyncBody(Box::pin(body))));
    if let Some(kind) = parts.headers.get(CONTENT_TYPE) {
        response.headers_mut().insert(CONTENT_TYPE, kind.clone());
    }
    response
}

/// What a gRPC server does that sends each message back.
fn chat(request: Request<Incoming>) -> Response<Body> {
    let mut status = HeaderMap::new();
    status.insert("grpc-status", hyper::header::HeaderValue::from_static("0"));
    let body = StreamBody::new(stream::unfold(Some(request.into_body()), move |body| {
        let end = Frame::trailers(status.clone());
        async move {
            let mut body = body?;
            match body.frame().await {
                Some(frame) => Some((Ok(frame.ok()?), Some(body))),
                None => Some((Ok(end), None)),
            }
        }
    }));
    let mut response = Response::new(BodyExt::boxed(SyncBody(Box::pin(body))));
    let kind = hyper::header::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

async fn sleep(ms: &str) -> Response<Body> {
    tokio::time::sleep(Duration::from_millis(ms.parse().unwrap_or(0))).await;
    text("slept")
}

fn file(path: &str) -> Response<Body> {
    match std::fs::read(path) {
        Ok(content) => text(content),
        Err(error) => full(StatusCode::NOT_FOUND, error.to_string()),
    }
}

fn write(path: &str) -> Response<Body> {
    match std::fs::write(path, "x") {
        Ok(()) => text("written"),
        Err(error) => full(StatusCode::FORBIDDEN, error.to_string()),
    }
}

/// The request's head as this process saw it, a line a header.
fn head(request: &Request<Incoming>) -> Response<Body> {
    let mut lines = format!("{} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        lines.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    }
    text(lines)
}

/// How many bytes the body has, without keeping them.
async fn count(mut body: Incoming) -> Response<Body> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes += frame.data_ref().map_or(0, Bytes::len),
            Err(error) => return full(StatusCode::BAD_REQUEST, error.to_string()),
        }
    }
    text(bytes.to_string())
}

/// So many bytes, piece by piece.
fn big(bytes: usize) -> Response<Body> {
    let piece = Bytes::from(vec![b'x'; PIECE_BYTES]);
    let pieces = stream::unfold((bytes, piece), async |(left, piece)| {
        let now = left.min(PIECE_BYTES);
        (now > 0).then(|| (Ok(Frame::data(piece.slice(..now))), (left - now, piece)))
    });
    Response::new(BodyExt::boxed(SyncBody(Box::pin(StreamBody::new(pieces)))))
}

/// So many numbered lines, with a pause before each.
fn drip(lines: usize) -> Response<Body> {
    let lines = stream::unfold((0, lines), async |(line, lines)| {
        tokio::time::sleep(DRIP_PAUSE).await;
        (line < lines).then(|| (Ok(Frame::data(format!("{line}\n").into())), (line + 1, lines)))
    });
    Response::new(BodyExt::boxed(SyncBody(Box::pin(StreamBody::new(lines)))))
}

/// What tells this process from the one before it in the same replica.
fn boot() -> String {
    static BOOT: OnceLock<u128> = OnceLock::new();
    let now = || std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |age| age.as_nanos());
    BOOT.get_or_init(now).to_string()
}

/// One event at once, the second when `/release` was called.
fn sse() -> Response<Body> {
    let events = stream::unfold(0, async |step| {
        if step == 1 {
            release().notified().await;
        }
        let event = Frame::data(Bytes::from(format!("data: {step}\n\n")));
        (step < 2).then_some((Ok(event), step + 1))
    });
    let mut response = Response::new(BodyExt::boxed(SyncBody(Box::pin(StreamBody::new(events)))));
    let kind = hyper::header::HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn trailers() -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", hyper::header::HeaderValue::from_static("42"));
    let frames = [Frame::data(Bytes::from_static(b"body")), Frame::trailers(trailers)];
    let body = StreamBody::new(stream::iter(frames.map(Ok)));
    let mut response = Response::new(BodyExt::boxed(body));
    let announced = hyper::header::HeaderValue::from_static("x-sum");
    response.headers_mut().insert("trailer", announced);
    response
}

/// Switches to a protocol in which every byte comes back.
fn upgrade(mut request: Request<Incoming>) -> Response<Body> {
    let Some(protocol) = request.headers().get(UPGRADE).cloned() else {
        return full(StatusCode::UPGRADE_REQUIRED, "no Upgrade header");
    };
    tokio::spawn(async move {
        if let Ok(stream) = hyper::upgrade::on(&mut request).await {
            let (mut from, mut to) = tokio::io::split(TokioIo::new(stream));
            let _ = tokio::io::copy(&mut from, &mut to).await;
        }
    });
    let mut response = full(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = response.headers_mut();
    headers.insert(UPGRADE, protocol);
    headers.insert(CONNECTION, hyper::header::HeaderValue::from_static("upgrade"));
    response
}

/// Calls another function through the gateway that functions see.
async fn call(path: &str) -> Response<Body> {
    match get("gateway.openfaas", path).await {
        Ok(body) => text(body),
        Err(error) => full(StatusCode::BAD_GATEWAY, error),
    }
}

async fn get(host: &str, path: &str) -> Result<Bytes, String> {
    let stream = TcpStream::connect((host, 8080)).await.map_err(|e| e.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    let request = Request::get(path).header("host", host).body(Full::<Bytes>::default());
    let request = request.map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let body = response.into_body().collect().await.map_err(|e| e.to_string())?;
    Ok(body.to_bytes())
}

/// Takes memory until there is no more.
fn hog() -> Response<Body> {
    let mut kept = Vec::new();
    loop {
        kept.push(vec![1_u8; 1 << 20]);
        if kept.len() > 1 << 20 {
            return text("all of it");
        }
    }
}

/// Uses so many hundredths of a second of processor time, however long that takes.
fn burn(ticks: u64) -> Response<Body> {
    let until = processor_ticks() + ticks;
    while processor_ticks() < until {}
    text("burnt")
}

/// In user mode and in the kernel, as `/proc/PID/stat` has them.
fn processor_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let fields = after_name.split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// Holds so many MiB of memory from now on, instead of those before.
fn hold(mib: usize) -> Response<Body> {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    if held.len() != mib << 20 {
        // What was held before goes first.
        *held = Vec::new();
        *held = vec![1; mib << 20];
    }
    text("held")
}

/// A body that is only ever polled from one thread, for `boxed`.
struct SyncBody<B>(std::pin::Pin<Box<B>>);

impl<B: hyper::body::Body> hyper::body::Body for SyncBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.0.as_mut().poll_frame(context)
    }
}
