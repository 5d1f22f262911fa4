//! TLS: who gets in, by which protocol, and with which certificate.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use relay::{Body, Listener, Peer, ServeOptions, Tls};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::harness::{Served, ask, get, run, serve_as};

/// Certificate and key in files.
struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> (Self, CertificateDer<'static>) {
        let files = Self { dir: tempfile::tempdir().expect("a folder") };
        let certificate = files.write();
        (files, certificate)
    }

    /// A new pair.
    fn write(&self) -> CertificateDer<'static> {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        std::fs::write(self.path("tls.crt"), cert.pem()).expect("written");
        std::fs::write(self.path("tls.key"), signing_key.serialize_pem()).expect("written");
        cert.der().clone()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.dir.path()).join(name)
    }

    fn open(&self) -> Tls {
        Tls::open(&self.path("tls.crt"), &self.path("tls.key")).expect("usable")
    }
}

fn serve_tls(options: ServeOptions, tls: Tls) -> Served {
    let dress = move |listener: std::net::TcpListener| {
        Listener::from_tls(listener, tls.clone()).expect("a listener")
    };
    serve_as(options, dress, || {
        async |request: Request<Body>, peer: Peer| {
            let version = request.version();
            Response::new(Body::from(format!("{version:?} {}", peer.scheme())))
        }
    })
}

async fn greet(
    served: &Served,
    trusted: &CertificateDer<'static>,
    protocols: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    let stream = TcpStream::connect(("127.0.0.1", served.port)).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn ask_by_http_1(stream: &mut TlsStream<TcpStream>) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("open");
    let mut text = Vec::new();
    while !text.ends_with(b"https") {
        assert_ne!(stream.read_buf(&mut text).await.expect("open"), 0, "{text:?}");
    }
    String::from_utf8(text).expect("text")
}

#[test]
fn clients_choose_what_they_speak() {
    let (files, trusted) = Files::new();
    let served = serve_tls(ServeOptions::default(), files.open());
    run(async {
        for protocols in [&[][..], &[&b"http/1.1"[..]], &[b"http/1.1", b"spdy"]] {
            let mut stream = greet(&served, &trusted, protocols).await.expect("a handshake");
            let answer = ask_by_http_1(&mut stream).await;
            assert!(answer.ends_with("HTTP/1.1 https"), "{answer}");
        }
        let stream = greet(&served, &trusted, &[b"http/1.1", b"h2"]).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (client, connection) = h2::client::handshake(stream).await.expect("a handshake");
        tokio::task::spawn_local(connection);
        let answer = ask(&client, get("/"), None).await.expect("an answer");
        assert_eq!(answer.text, "HTTP/2.0 https");
        greet(&served, &trusted, &[b"spdy"]).await.expect_err("nothing in common");
    });
    served.end();
}

#[test]
fn a_new_certificate_is_for_new_connections() {
    let (files, first) = Files::new();
    let tls = files.open();
    let served = serve_tls(ServeOptions::default(), tls.clone());
    run(async {
        let mut open = greet(&served, &first, &[]).await.expect("a handshake");
        ask_by_http_1(&mut open).await;
        let second = files.write();
        assert!(tls.reload().expect("usable"));
        ask_by_http_1(&mut open).await;
        greet(&served, &first, &[]).await.expect_err("no longer in use");
        greet(&served, &second, &[]).await.expect("in use");
        std::fs::write(files.path("tls.crt"), "nonsense").expect("written");
        tls.reload().expect_err("nonsense");
        greet(&served, &second, &[]).await.expect("still in use");
        ask_by_http_1(&mut open).await;
    });
    served.end();
}

#[test]
fn failed_handshakes_disturb_nobody() {
    let (files, trusted) = Files::new();
    let header_timeout = Duration::from_millis(200);
    let options = ServeOptions { header_timeout, ..ServeOptions::default() };
    let served = serve_tls(options, files.open());
    // Silent; half a hello; plain HTTP; none of it.
    let mut bad: Vec<_> =
        [&b""[..], b"\x16\x03\x01\x01\x00\x01", b"GET / HTTP/1.1\r\n\r\n", &[0; 64]]
            .into_iter()
            .map(|bytes| {
                let mut stream = served.connect();
                stream.write_all(bytes).expect("open");
                stream
            })
            .collect();
    run(async {
        let mut stream = greet(&served, &trusted, &[]).await.expect("a handshake");
        ask_by_http_1(&mut stream).await;
        let (_, untrusted) = Files::new();
        greet(&served, &untrusted, &[]).await.expect_err("the client does not trust it");
    });
    for stream in &mut bad {
        let ended = stream.read_to_end(&mut Vec::new());
        let silent = ended.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!silent, "it must end");
    }
    served.end();
}
