//! Certificates that are exchanged while the gateway serves.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gateway::tls::follow;
use http::Response;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use relay::{Body, Listener, ServeOptions, Tls};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Longest wait for a new certificate; only a failing test takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes a new pair into a folder.
fn write(dir: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(dir.join("tls.crt"), cert.pem()).unwrap();
    std::fs::write(dir.join("tls.key"), signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

/// A server whose certificate is in this folder, and is followed.
fn serve(dir: &Path) -> (SocketAddr, relay::Trigger) {
    let tls = Tls::open(&dir.join("tls.crt"), &dir.join("tls.key")).unwrap();
    tokio::spawn(follow(tls.clone()));
    let listener = Listener::bind_tcp(([127, 0, 0, 1], 0).into(), 1).unwrap().remove(0);
    let address = listener.local_addr().unwrap();
    let (trigger, shutdown) = relay::shutdown();
    let work = |(listener, tls, shutdown)| async move {
        let listener = Listener::from_tls(listener, tls).unwrap();
        let handler = async |_, _| Response::new(Body::from("hello"));
        relay::serve(listener, ServeOptions::default(), shutdown, handler).await;
    };
    relay::threads::start(vec![(listener, tls, shutdown)], work).unwrap();
    (address, trigger)
}

/// Returns when the server has this certificate.
async fn in_use(address: SocketAddr, certificate: &CertificateDer<'static>) {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let connect = async || {
        let stream = TcpStream::connect(address).await?;
        connector.connect(ServerName::try_from("localhost").unwrap(), stream).await
    };
    let trusted = async {
        while connect().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, trusted).await.expect("the certificate in time");
}

#[tokio::test]
async fn files_that_are_replaced_are_read_again() {
    let [dir, new] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let first = write(dir.path());
    let (address, _stop) = serve(dir.path());
    in_use(address, &first).await;
    // As a cautious program replaces them.
    let second = write(new.path());
    for name in ["tls.crt", "tls.key"] {
        std::fs::copy(new.path().join(name), dir.path().join("temporary")).unwrap();
        std::fs::rename(dir.path().join("temporary"), dir.path().join(name)).unwrap();
    }
    in_use(address, &second).await;
    // What is no certificate does not end the watch.
    std::fs::write(dir.path().join("tls.crt"), "nonsense").unwrap();
    in_use(address, &second).await;
    let third = write(dir.path());
    in_use(address, &third).await;
    std::fs::remove_file(dir.path().join("tls.key")).unwrap();
    in_use(address, &third).await;
    let fourth = write(dir.path());
    in_use(address, &fourth).await;
}

#[tokio::test]
async fn links_that_are_turned_are_followed() {
    let top = tempfile::tempdir().unwrap();
    let mounted = top.path();
    let turn = |version: &str| {
        std::fs::create_dir(mounted.join(version)).unwrap();
        let certificate = write(&mounted.join(version));
        symlink(version, mounted.join("..data_tmp")).unwrap();
        std::fs::rename(mounted.join("..data_tmp"), mounted.join("..data")).unwrap();
        certificate
    };
    let first = turn("..1");
    for name in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(name), mounted.join(name)).unwrap();
    }
    let (address, _stop) = serve(mounted);
    in_use(address, &first).await;
    for version in ["..2", "..3"] {
        let certificate = turn(version);
        in_use(address, &certificate).await;
    }
}
