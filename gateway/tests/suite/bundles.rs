//! Bundles over HTTP: what is taken in, and every way to be refused.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use futures_util::{StreamExt, stream};
use gateway::api::bundles::Bundles;
use gateway::api::{self, Api};
use gateway::auth::Credentials;
use gateway::directory::Directory;
use gateway::metrics::Metrics;
use gateway::peers::{Circle, Client, Lead};
use gateway::scaling::Scaler;
use gateway::usage::Sampler;
use http::{Request, StatusCode};
use provider::bundle::sample::{self, Archive, SmallDisk, config, digest, pack, paths};
use provider::bundle::{Digest, Limits, MEDIA_TYPE, Store};
use provider::fake::Fake;
use provider::{Address, Calls};
use relay::{Listener, ServeOptions};
use tokio::runtime::Handle;
use tower_service::Service;

/// `admin:secret`.
const LOGIN: &str = "Authorization: Basic YWRtaW46c2VjcmV0\r\n";
const LIMITS: Limits = Limits { archive_bytes: 64 << 10, unpacked_bytes: 256 << 10, files: 20 };

/// A gateway's API over a real socket, with a store that takes little.
struct House {
    address: SocketAddr,
    state: tempfile::TempDir,
    store: Arc<Store>,
    router: Router,
    _stop: relay::Trigger,
    _disk: Option<SmallDisk>,
}

impl House {
    fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap(), LIMITS, None)
    }

    fn on(state: tempfile::TempDir, limits: Limits, disk: Option<SmallDisk>) -> Self {
        let store = Store::open(state.path(), limits).unwrap();
        let router = router(Some(store.clone()));
        let (address, stop) = serve(router.clone());
        Self { address, state, store, router, _stop: stop, _disk: disk }
    }

    fn put(&self, digest: Digest, body: &[u8]) -> Answer {
        let head = format!("{LOGIN}Content-Length: {}\r\n", body.len());
        send(self.address, &format!("PUT /system/bundles/{digest}"), &head, body)
    }

    fn put_right(&self, archive: &[u8]) -> Answer {
        self.put(digest(archive), archive)
    }

    fn send(&self, line: &str) -> Answer {
        send(self.address, line, LOGIN, b"")
    }

    /// Waits until so many uploads are under way.
    async fn uploads(&self, count: usize) {
        while self.temps() != count {
            tokio::task::yield_now().await;
        }
    }

    fn temps(&self) -> usize {
        std::fs::read_dir(self.state.path().join("bundles/temp")).unwrap().count()
    }

    /// What the store has but for its own folders.
    fn content(&self) -> Vec<String> {
        let own = ["bundles/", "bundles/archives/", "bundles/unpacked/", "bundles/temp/"];
        paths(self.state.path()).into_iter().filter(|path| !own.contains(&path.as_str())).collect()
    }

    /// Calls the API without a socket, so that time can be paused.
    fn call(&self, digest: Digest, body: Body) -> tokio::task::JoinHandle<StatusCode> {
        let mut router = self.router.clone();
        let request = Request::put(format!("/system/bundles/{digest}"))
            .header("authorization", "Basic YWRtaW46c2VjcmV0")
            .body(body)
            .unwrap();
        tokio::spawn(async move { router.call(request).await.unwrap().status() })
    }
}

fn router(store: Option<Arc<Store>>) -> Router {
    let calls = Calls::default();
    let provider = Fake::new(Address::Tcp(([127, 0, 0, 1], 1).into()), calls.clone());
    let metrics = Metrics::new().unwrap();
    let directory = Arc::new(Directory::new(calls, metrics, Duration::from_secs(20)));
    let scaler = Scaler::new(provider.clone(), directory.clone(), Handle::current());
    let api = Api {
        sampler: Arc::new(Sampler::new(provider.clone(), directory.clone())),
        provider,
        directory,
        scaler: Arc::new(scaler),
        bundles: store.map(Bundles::new),
        stopping: relay::shutdown().1,
        writes: Default::default(),
        circle: Circle::new(Lead::default(), Client::new(String::new(), None, None).unwrap()),
    };
    api::router(Arc::new(api), Some(Credentials::new("admin", "secret")))
}

/// As the gateway does it: sockets on a data thread, the API on this runtime.
fn serve(router: Router) -> (SocketAddr, relay::Trigger) {
    let listener = Listener::bind_tcp(([127, 0, 0, 1], 0).into(), 1).unwrap().remove(0);
    let address = listener.local_addr().unwrap();
    let (trigger, shutdown) = relay::shutdown();
    let seed = (listener, shutdown, router, Handle::current());
    let work = |(listener, shutdown, router, runtime): (_, _, Router, Handle)| async move {
        let handler = move |request: Request<relay::Body>, _| {
            let (mut router, runtime) = (router.clone(), runtime.clone());
            let request = request.map(relay::Sendable::from);
            async move {
                let answer = runtime.spawn(async move { router.call(request).await });
                answer.await.unwrap().unwrap().map(relay::Body::boxed)
            }
        };
        let listener = Listener::from_tcp(listener).unwrap();
        relay::serve(listener, ServeOptions::default(), shutdown, handler).await;
    };
    relay::threads::start(vec![seed], work).unwrap();
    (address, trigger)
}

/// What came back.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn has(&self, header: &str) -> bool {
        self.head.to_ascii_lowercase().lines().any(|line| line == header.to_ascii_lowercase())
    }
}

fn send(address: SocketAddr, line: &str, headers: &str, body: &[u8]) -> Answer {
    tokio::task::block_in_place(|| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").unwrap();
        stream.write_all(body).unwrap();
        receive(stream)
    })
}

fn receive(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("no whole head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: bytes[end + 4..].to_vec() }
}

fn echo() -> Archive {
    Archive::running("cat")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_comes_is_shown_and_goes() {
    let house = House::new();
    let archive = echo().file("index.js", vec![7; 3000]).build();
    let digest = digest(&archive);
    let path = format!("/system/bundles/{digest}");
    assert_eq!(house.send(&format!("HEAD {path}")).status, 404);
    assert_eq!(house.put_right(&archive).status, 201);
    assert_eq!(house.put_right(&archive).status, 200);

    let head = house.send(&format!("HEAD {path}"));
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(head.has(&format!("content-length: {}", archive.len())), "{}", head.head);
    let got = house.send(&format!("GET {path}"));
    assert_eq!((got.status, &got.body), (200, &archive));
    assert!(got.has(&format!("content-type: {MEDIA_TYPE}")), "{}", got.head);
    assert!(got.has(&format!("etag: \"{digest}\"")), "{}", got.head);

    house.store.hold("echo-1", digest, "echo.openfaas-fn").unwrap();
    let list: serde_json::Value =
        serde_json::from_slice(&house.send("GET /system/bundles").body).unwrap();
    assert_eq!(list[0]["digest"], digest.to_string());
    assert_eq!(list[0]["size"], archive.len());
    assert_eq!(list[0]["names"], serde_json::json!(["echo.openfaas-fn"]));
    assert!(list[0]["createdAt"].as_str().unwrap().contains('T'));

    let refused = house.send(&format!("DELETE {path}"));
    assert_eq!(refused.status, 409);
    assert!(refused.text().contains("echo-1 of echo.openfaas-fn"), "{}", refused.text());
    house.store.release("echo-1");
    assert_eq!(house.send(&format!("DELETE {path}")).status, 202);
    for method in ["DELETE", "GET", "HEAD"] {
        assert_eq!(house.send(&format!("{method} {path}")).status, 404, "{method}");
    }
    assert_eq!(house.send("GET /system/bundles").text(), "[]");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_shares_files_with_the_one_it_is_based_on() {
    let house = House::new();
    let versions = ["1", "2", "3"].map(|text| echo().file("same", "s").file("new", text).build());
    let [first, second, third] = &versions;
    let put = |archive: &[u8], base: &str| {
        let head = format!("{LOGIN}Content-Length: {}\r\n", archive.len());
        let line = format!("PUT /system/bundles/{}?base={base}", digest(archive));
        send(house.address, &line, &head, archive)
    };
    let unknown = digest(b"unknown").to_string();
    assert_eq!(put(first, &unknown).status, 201, "it need not be here");
    assert_eq!(put(second, &digest(first).to_string()).status, 201);
    let file = |archive: &[u8], name: &str| house.store.folder(digest(archive)).unwrap().join(name);
    let inode = |archive: &[u8], name: &str| std::fs::metadata(file(archive, name)).unwrap().ino();
    assert_eq!(inode(second, "same"), inode(first, "same"));
    assert_eq!(std::fs::read_to_string(file(second, "new")).unwrap(), "2");
    for bad in ["latest", "sha256:12", "../../etc", ""] {
        let refused = put(third, bad);
        assert_eq!((refused.status, refused.text().starts_with("digest: ")), (400, true), "{bad}");
    }
    assert_eq!(house.send(&format!("HEAD /system/bundles/{}", digest(third))).status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_bundle_is_streamed_whole() {
    let limits = Limits::default();
    let house = House::on(tempfile::tempdir().unwrap(), limits, None);
    let mut state = 1u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
        (state >> 56) as u8
    });
    let noise: Vec<u8> = noise.take(1_000_000).collect();
    let archive = echo().file("noise", noise).build();
    assert!(archive.len() > 600_000, "{} bytes are one chunk only", archive.len());
    assert_eq!(house.put_right(&archive).status, 201);
    let got = house.send(&format!("GET /system/bundles/{}", digest(&archive)));
    assert!(got.body == archive, "{} of {} bytes", got.body.len(), archive.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_archive_is_refused_with_the_reason() {
    let house = House::new();
    let whole = echo().file("index.js", "serve()").build();
    let zeros = |len: usize| echo().file("zeros", vec![0; len]).build();
    let many = (0..30).fold(echo(), |archive, n| archive.file(&format!("{n}"), "")).build();
    for (archive, why) in [
        (whole[..whole.len() / 2].to_vec(), "not whole"),
        (pack(&echo().unfinished()), "not whole"),
        (Vec::new(), "not whole"),
        (b"PK\x03\x04 is a zip archive".to_vec(), "no tar archive packed with zstd"),
        ([whole.as_slice(), b"more"].concat(), "after the end"),
        (echo().file("../../evil", "x").build(), ".. in it"),
        (echo().file("/etc/evil", "x").build(), "absolute"),
        (echo().link("l", "/etc").build(), "absolute"),
        (echo().folder("a").link("l", "a").file("l/x", "x").build(), "goes through"),
        (zeros(1 << 20), "unpacks to more than 262144 bytes"),
        (many, "more than 20 files"),
        (Archive::default().file("index.js", "").build(), "has no .flint/bundle.json"),
        (Archive::default().config(&config(&[])).build(), "neither fprocess nor mode=static"),
        (Archive::default().file(".flint/bundle.json", r#"{"schema":9}"#).build(), "newer faas"),
    ] {
        let answer = house.put_right(&archive);
        assert_eq!(answer.status, 400, "{why}: {}", answer.text());
        assert!(answer.text().starts_with("bundle: "), "{}", answer.text());
        assert!(answer.text().contains(why), "{}", answer.text());
        assert!(answer.has("x-faas-error: invalid"), "{}", answer.head);
        assert_eq!(house.content(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_digest_is_refused() {
    let house = House::new();
    let (archive, other) = (echo().build(), digest(b"other"));
    let answer = house.put(other, &archive);
    assert_eq!(answer.status, 400);
    for named in [other, digest(&archive)] {
        assert!(answer.text().contains(&named.to_string()), "{}", answer.text());
    }
    assert_eq!(house.put_right(&archive).status, 201);
    let mut damaged = archive.clone();
    damaged[20] ^= 1;
    assert_eq!(house.put(digest(&archive), &damaged).status, 400, "also when it is here");
    let upper = digest(&archive).to_string().to_uppercase();
    for bad in
        ["sha256:12", "latest", &upper, "..%2f..%2fetc", &format!("sha256:{}", "g".repeat(64))]
    {
        for method in ["PUT", "GET", "HEAD", "DELETE"] {
            let answer = house.send(&format!("{method} /system/bundles/{bad}"));
            assert_eq!(answer.status, 400, "{method} {bad}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_over_the_limit_is_refused() {
    let house = House::new();
    let big = vec![7; LIMITS.archive_bytes as usize + 1];
    let answer = house.put_right(&big);
    assert_eq!(answer.status, 413);
    assert!(answer.text().contains("65536") && answer.text().contains("--max-bundle-size"));

    let line = format!("PUT /system/bundles/{}", digest(&big));
    let expect = format!("{LOGIN}Content-Length: {}\r\nExpect: 100-continue\r\n", 1u64 << 40);
    assert_eq!(send(house.address, &line, &expect, b"").status, 413, "and not asked to go on");
    let chunk = [b"10001\r\n".as_slice(), &big, b"\r\n0\r\n\r\n"].concat();
    let chunked = format!("{LOGIN}Transfer-Encoding: chunked\r\n");
    assert_eq!(send(house.address, &line, &chunked, &chunk).status, 413);
    house.uploads(0).await;
    assert_eq!(house.content(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_breaks_off_leaves_nothing() {
    let house = House::new();
    let archive = echo().file("index.js", vec![7; 3000]).build();
    let line = format!("PUT /system/bundles/{} HTTP/1.1\r\nHost: x\r\n", digest(&archive));
    for half in
        [format!("Content-Length: {}\r\n", archive.len()), "Transfer-Encoding: chunked\r\n".into()]
    {
        let mut stream = TcpStream::connect(house.address).unwrap();
        write!(stream, "{line}{LOGIN}{half}\r\n").unwrap();
        if half.starts_with('T') {
            write!(stream, "1000\r\n").unwrap();
        }
        stream.write_all(&archive[..archive.len() / 2]).unwrap();
        house.uploads(1).await;
        stream.shutdown(Shutdown::Both).unwrap();
        house.uploads(0).await;
        assert_eq!(house.content(), Vec::<String>::new());
    }
    assert_eq!(house.put_right(&archive).status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bundle_may_come_twice_at_once() {
    let house = House::new();
    let archive = echo().file("index.js", vec![7; 3000]).build();
    let (first, last) = archive.split_at(archive.len() / 2);
    let head = format!(
        "PUT /system/bundles/{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{LOGIN}Content-Length: {}\r\n\r\n",
        digest(&archive),
        archive.len()
    );
    let begin = |_| {
        let mut stream = TcpStream::connect(house.address).unwrap();
        stream.write_all(&[head.as_bytes(), first].concat()).unwrap();
        stream
    };
    let mut both = [(); 2].map(begin);
    house.uploads(2).await;
    for stream in &mut both {
        stream.write_all(last).unwrap();
    }
    let mut statuses = both.map(|stream| tokio::task::block_in_place(|| receive(stream).status));
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 201]);
    house.uploads(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_asks_for_credentials() {
    let house = House::new();
    let path = format!("/system/bundles/{}", digest(b""));
    for line in ["GET /system/bundles".to_owned()]
        .into_iter()
        .chain(["PUT", "GET", "HEAD", "DELETE"].map(|method| format!("{method} {path}")))
    {
        assert_eq!(send(house.address, &line, "", b"").status, 401, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_without_bundles_says_what_to_do() {
    let (address, _stop) = serve(router(None));
    let (archive, path) = (vec![7; 300_000], format!("/system/bundles/{}", digest(b"")));
    for line in ["GET /system/bundles".to_owned()]
        .into_iter()
        .chain(["PUT", "GET", "HEAD", "DELETE"].map(|method| format!("{method} {path}")))
    {
        let body = if line.starts_with("PUT") { archive.as_slice() } else { b"" };
        let head = format!("{LOGIN}Content-Length: {}\r\n", body.len());
        let answer = send(address, &line, &head, body);
        assert_eq!(answer.status, 501, "{line}");
        if !line.starts_with("HEAD") {
            assert!(answer.text().contains("runs images"), "{}", answer.text());
            assert!(answer.text().contains("--provider process"), "{}", answer.text());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_leaves_nothing() {
    let state = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(state.path()) else { return };
    let house = House::on(state, Limits::default(), Some(disk));
    let zeros = echo().file("zeros", vec![0; 4 << 20]).build();
    let long = vec![7; 4 << 20];
    for (digest, body) in [(digest(&zeros), &zeros), (digest(&long), &long)] {
        let answer = house.put(digest, body);
        assert_eq!(answer.status, 500);
        assert!(answer.text().contains("no space left on the disk of"), "{}", answer.text());
        assert_eq!(house.content(), Vec::<String>::new());
    }
    assert_eq!(house.put_right(&echo().build()).status, 201);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_given_up() {
    let house = House::new();
    let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"first"))]);
    let body = Body::from_stream(first.chain(stream::pending()));
    assert_eq!(house.call(digest(b""), body).await.unwrap(), StatusCode::BAD_REQUEST);
    house.uploads(0).await;
}

#[tokio::test(start_paused = true)]
async fn an_endless_body_is_not_read_for_ever() {
    let house = House::new();
    let endless = || {
        let megabyte = Bytes::from(vec![7; 1 << 20]);
        Body::from_stream(stream::repeat_with(move || Ok::<_, std::io::Error>(megabyte.clone())))
    };
    let status = house.call(digest(b""), endless()).await.unwrap();
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test(start_paused = true)]
async fn more_uploads_wait_for_their_turn() {
    let house = House::new();
    let silent = || Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let waiting: Vec<_> = (0..9).map(|_| house.call(digest(b""), silent())).collect();
    house.uploads(8).await;
    let archive = echo().build();
    let last = house.call(digest(&archive), Body::from(archive.clone()));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(house.temps(), 8);
    assert!(!last.is_finished());
    assert_eq!(last.await.unwrap(), StatusCode::CREATED);
    for upload in waiting {
        assert_eq!(upload.await.unwrap(), StatusCode::BAD_REQUEST);
    }
    assert!(Path::new(&house.store.folder(digest(&archive)).unwrap()).is_dir());
    sample::put(&house.store, &archive).unwrap();
}
