//! One gateway in the place of another, whatever its clients speak.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use h2::Reason;
use h2::client::SendRequest;
use http::{Request, StatusCode};
use serde_json::json;
use system::authority::Authority;
use system::client::Client;
use system::gateway::Gateway;
use system::world::World;
use system::{binary, bundle};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Longest wait for an answer; only a failing test takes so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Calls before the change, and after it.
const CALLS: u64 = 40;
/// Clients that call all the time.
const CLIENTS: usize = 4;

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

type Connect = Arc<dyn Fn() -> BoxFuture<'static, Result<Box<dyn Wire>>> + Send + Sync>;

/// Clients that call `/function/f/version` until they are told to stop.
struct Callers {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    tasks: JoinSet<Result<()>>,
}

impl Callers {
    fn http2(connect: &Connect) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut tasks = JoinSet::new();
        for _ in 0..CLIENTS {
            tasks.spawn(call_on(connect.clone(), stop.clone(), answered.clone()));
        }
        Self { stop, answered, tasks }
    }

    /// The same by HTTP/1.1, with connections that are kept.
    fn https(http: &reqwest::Client, url: &str) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut tasks = JoinSet::new();
        for _ in 0..CLIENTS {
            let (stop, answered) = (stop.clone(), answered.clone());
            let (http, url) = (http.clone(), format!("{url}/function/f/version"));
            tasks.spawn(async move {
                while !stop.load(SeqCst) {
                    let answer = http.get(&url).send().await?.error_for_status()?;
                    ensure!(answer.text().await? == "1", "another answer");
                    answered.fetch_add(1, SeqCst);
                }
                Ok(())
            });
        }
        Self { stop, answered, tasks }
    }

    /// Returns when so many calls have been answered as make a step.
    async fn go_on(&mut self) -> Result<()> {
        let enough = self.answered.load(SeqCst) + CALLS;
        while self.answered.load(SeqCst) < enough {
            tokio::select! {
                Some(ended) = self.tasks.join_next() => bail!("a client ended: {ended:?}"),
                () = tokio::time::sleep(Duration::from_millis(5)) => (),
            }
        }
        Ok(())
    }

    /// Fails when any call did.
    async fn end(mut self) -> Result<()> {
        self.stop.store(true, SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// Calls one after the other, on a new connection when the server says goodbye.
async fn call_on(connect: Connect, stop: Arc<AtomicBool>, answered: Arc<AtomicU64>) -> Result<()> {
    let mut client = None;
    while !stop.load(SeqCst) {
        let open = match client.take() {
            Some(open) => open,
            None => {
                let (open, connection) = h2::client::handshake(connect().await?).await?;
                tokio::spawn(connection);
                open
            }
        };
        // Nothing was sent when it is not ready any more.
        let Ok(mut open) = open.ready().await else { continue };
        if timeout(PATIENCE, is_answered(&mut open)).await?? {
            answered.fetch_add(1, SeqCst);
            client = Some(open);
        }
    }
    Ok(())
}

/// Whether the call was answered; `false` when the server said that it has not begun it.
async fn is_answered(client: &mut SendRequest<Bytes>) -> Result<bool> {
    let request = Request::get("http://localhost/function/f/version").body(())?;
    let (answer, _) = client.send_request(request, true)?;
    let answer = match answer.await {
        Ok(answer) => answer,
        Err(error) if error.is_go_away() && error.reason() == Some(Reason::NO_ERROR) => {
            return Ok(false);
        }
        Err(error) if error.reason() == Some(Reason::REFUSED_STREAM) => return Ok(false),
        Err(error) => return Err(error).context("a call"),
    };
    ensure!(answer.status() == StatusCode::OK, "{}", answer.status());
    let mut body = answer.into_body();
    let text = body.data().await.context("a body")??;
    ensure!(text == "1", "{text:?}");
    Ok(true)
}

fn plain(port: u16) -> Connect {
    Arc::new(move || {
        Box::pin(async move {
            let stream = TcpStream::connect(("127.0.0.1", port)).await?;
            Ok(Box::new(stream) as Box<dyn Wire>)
        })
    })
}

fn tls(port: u16, authority: &Authority) -> Result<Connect> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.der.clone()))?;
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    Ok(Arc::new(move || {
        let connector = connector.clone();
        Box::pin(async move {
            let stream = TcpStream::connect(("127.0.0.1", port)).await?;
            let stream = connector.connect(ServerName::try_from("localhost")?, stream).await?;
            Ok(Box::new(stream) as Box<dyn Wire>)
        })
    }))
}

/// A gateway that speaks nothing but TLS, with the function.
async fn only_tls(authority: &Authority, more: &[&str]) -> Result<(Gateway, Client)> {
    let flags = authority.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(["--plain-http=off"]).collect();
    let gateway = Gateway::start_on("process", &[&flags, more].concat())?;
    let client = Client::over(&gateway, authority.client()?)?;
    let image = bundle::test_function(&client).await?;
    client.deploy(function(&image)).await?;
    Ok((gateway, client))
}

fn function(image: &str) -> serde_json::Value {
    json!({ "service": "f", "image": image, "envVars": { "VERSION": "1" } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_http2_lose_no_call() -> Result<()> {
    let World { mut gateway, client, image } = World::start("process").await?;
    client.deploy(function(&image)).await?;
    let mut callers = Callers::http2(&plain(gateway.port()));
    callers.go_on().await?;
    let old = block_in_place(|| gateway.replace())?;
    ensure!(old == Some(0), "the old gateway ended with {old:?}");
    callers.go_on().await?;
    callers.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_tls_lose_no_call_where_there_is_nothing_else() -> Result<()> {
    let authority = Authority::new()?;
    let (mut gateway, _) = only_tls(&authority, &[]).await?;
    let mut http2 = Callers::http2(&tls(gateway.tls_port(), &authority)?);
    let mut https = Callers::https(&authority.client()?, &gateway.url);
    http2.go_on().await?;
    https.go_on().await?;
    let old = block_in_place(|| gateway.replace())?;
    ensure!(old == Some(0), "the old gateway ended with {old:?}");
    http2.go_on().await?;
    https.go_on().await?;
    http2.end().await?;
    https.end().await
}

/// The call needs the next gateway, which hangs; it is answered by the one that comes instead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_hangs_is_ended_and_calls_that_wait_are_answered() -> Result<()> {
    let authority = Authority::new()?;
    let (mut gateway, client) = only_tls(&authority, &["--takeover-timeout=1s"]).await?;
    let none = json!({ "replicas": 0 });
    client.system(reqwest::Method::POST, "/system/scale-function/f", Some(none)).await?;
    client.until("f", "asleep", |status| status["availableReplicas"] == 0).await?;
    let mut heir = Command::new(binary("heir"))
        .arg(gateway.state_dir().join("gateway.sock"))
        .stdout(Stdio::piped())
        .spawn()?;
    let said = BufReader::new(heir.stdout.take().context("no output")?);
    block_in_place(|| {
        let released = said.lines().map_while(Result::ok).find(|line| line == "released");
        released.context("it was not let")
    })?;
    // On a connection to the gateway that leaves, which may not start anything.
    let (status, seen) = timeout(PATIENCE, client.call("f/head")).await??;
    ensure!(status.is_success(), "{status}: {seen}");
    ensure!(seen.to_lowercase().contains("for=unknown;"), "it was not passed on: {seen}");
    let end = block_in_place(|| heir.wait())?;
    ensure!(end.signal() == Some(9), "the heir ended with {end}");
    let old = block_in_place(|| gateway.ended())?;
    ensure!(old == Some(0), "the old gateway ended with {old:?}");
    gateway.stop_successor()
}
