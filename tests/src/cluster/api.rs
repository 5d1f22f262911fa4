//! The cluster's API as one gateway reaches it: what it asks is written down, and it can be taken
//! away from it without disturbing anybody else.

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::TryStreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

type Body = UnsyncBoxBody<Bytes, reqwest::Error>;

/// What `kubectl proxy` says when it listens.
const SERVING: &str = "Starting to serve on ";

/// One request to the API.
#[derive(Clone, Debug)]
pub struct Asked {
    /// When it came.
    pub at: Instant,
    /// Method and path, without the query.
    pub what: String,
    /// Whether it is a watch, which goes on.
    pub is_watch: bool,
    /// Whether it was told that what it asks for has been forgotten (410).
    pub is_expired: bool,
}

/// A way to the API; dropping it ends it.
///
/// `kubectl proxy` stands behind it, so that whatever a kubeconfig says about credentials works,
/// and requests can be read.
pub struct Api {
    shared: Arc<Shared>,
    kubectl: Child,
    kubeconfig: (TempDir, PathBuf),
}

struct Shared {
    upstream: String,
    http: reqwest::Client,
    asked: Mutex<Vec<Asked>>,
    /// Watches from before this resource version are not known any more.
    oldest: Mutex<u64>,
    is_away: watch::Sender<bool>,
}

impl Api {
    /// Opens one to the cluster of `KUBECONFIG`.
    pub async fn open() -> Result<Self> {
        let (kubectl, upstream) = kubectl_proxy()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let kubeconfig = write_kubeconfig(listener.local_addr()?)?;
        let shared = Arc::new(Shared {
            upstream,
            http: reqwest::Client::builder().no_proxy().build()?,
            asked: Mutex::default(),
            oldest: Mutex::default(),
            is_away: watch::Sender::new(false),
        });
        tokio::spawn(serve(listener, shared.clone()));
        Ok(Self { shared, kubectl, kubeconfig })
    }

    /// The API, without credentials.
    pub fn url(&self) -> &str {
        &self.shared.upstream
    }

    /// The kubeconfig that leads here.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig.1
    }

    /// Ends all its connections, and hangs up on new ones.
    pub fn cut(&self) {
        self.shared.is_away.send_replace(true);
    }

    /// Answers again.
    pub fn restore(&self) {
        self.shared.is_away.send_replace(false);
    }

    /// Forgets the changes up to now, as a store does that is compacted: a watch that goes on from
    /// before is told so, and whoever watches has to list again.
    pub fn compact(&self, resource_version: u64) {
        *lock(&self.shared.oldest) = resource_version;
    }

    /// What was asked since then.
    pub fn asked_since(&self, since: Instant) -> Vec<Asked> {
        lock(&self.shared.asked).iter().filter(|asked| asked.at >= since).cloned().collect()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.cut();
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts it, and gives where it listens.
fn kubectl_proxy() -> Result<(Child, String)> {
    let mut command = Command::new("kubectl");
    command.args(["proxy", "--port=0"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start kubectl")?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut line)?;
    let at = line.trim().strip_prefix(SERVING).map(|at| format!("http://{at}"));
    if at.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    Ok((child, at.with_context(|| format!("kubectl proxy said {line:?}"))?))
}

fn write_kubeconfig(address: SocketAddr) -> Result<(TempDir, PathBuf)> {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "t",
        "clusters": [{ "name": "t", "cluster": { "server": format!("http://{address}") } }],
        "users": [{ "name": "t", "user": {} }],
        "contexts": [{ "name": "t", "context": { "cluster": "t", "user": "t" } }],
    });
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("kubeconfig");
    std::fs::write(&path, config.to_string())?;
    Ok((dir, path))
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(attend(stream, shared.clone()));
    }
}

/// Serves one connection until it ends, or the API goes away.
async fn attend(stream: TcpStream, shared: Arc<Shared>) {
    let mut away = shared.is_away.subscribe();
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(shared.answer(request).await) }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    tokio::select! {
        _ = server.serve_connection(TokioIo::new(stream), service) => {}
        _ = away.wait_for(|away| *away) => {}
    }
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let parameter = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let is_watch = matches!(parameter("watch"), Some("1" | "true"));
        let from = parameter("resourceVersion").and_then(|version| version.parse::<u64>().ok());
        // 0 asks for whatever is known.
        let is_old = from.is_some_and(|from| from > 0 && from < *lock(&self.oldest));
        let is_expired = is_watch && is_old;
        let what = format!("{} {path}", request.method());
        lock(&self.asked).push(Asked { at: Instant::now(), what, is_watch, is_expired });
        if is_expired {
            return expired();
        }
        self.pass_on(request).await.unwrap_or_else(|error| {
            let text = Full::from(format!("{error:#}")).map_err(|never| match never {});
            let mut response = Response::new(text.boxed_unsync());
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        })
    }

    async fn pass_on(&self, request: Request<Incoming>) -> Result<Response<Body>> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let url = format!("{}{path}", self.upstream);
        parts.headers.remove("host");
        let body = body.collect().await?.to_bytes();
        let asked = self.http.request(parts.method, url).headers(parts.headers).body(body);
        let answer = asked.send().await?;
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        for hop in ["transfer-encoding", "connection"] {
            headers.remove(hop);
        }
        let pieces = answer.bytes_stream().map_ok(Frame::data);
        let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        Ok(response)
    }
}

/// What a watch is told whose beginning was compacted away (the API conventions' `Expired`).
fn expired() -> Response<Body> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too old resource version", "reason": "Expired", "code": 410,
    });
    let event = format!("{}\n", json!({ "type": "ERROR", "object": status }));
    let body = Full::from(event).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    let kind = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}
