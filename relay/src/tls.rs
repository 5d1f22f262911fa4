//! TLS for servers: a certificate and its key from files, which may change while it serves.

mod same;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::ProducesTickets;
use tokio_rustls::rustls::{Error as RustlsError, InconsistentKeys, ServerConfig};
use tokio_rustls::server::TlsStream;

/// What clients may choose to speak, best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// Longest that a handshake may take, whatever the server's other limits are.
const MAX_HANDSHAKE: Duration = Duration::from_secs(10);
/// Largest file that is read; a chain of certificates has some 10 KiB.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A certificate in use. Clones share it, so that a [`Tls::reload`] of one is one of all.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    certificate: PathBuf,
    key: PathBuf,
    tickets: Arc<dyn ProducesTickets>,
    now: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    pair: Pair,
}

/// What was in the files.
#[derive(Debug, PartialEq)]
struct Pair {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Why a certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", .path.display())]
pub struct TlsError {
    /// Whether it is the key's fault, not the certificate's.
    pub in_key: bool,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl Tls {
    /// Reads certificate and key, both PEM: the certificate first and then the chain above it; a
    /// key as PKCS#8, PKCS#1 (RSA) or SEC1 (elliptic curve).
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        let bad_key = |reason: &RustlsError| error_in(true, &key, reason);
        // One for all that is ever loaded, so that clients can resume after a reload.
        let tickets = aws_lc_rs::Ticketer::new().map_err(|e| bad_key(&e))?;
        let now = ArcSwap::from_pointee(load(&certificate, &key, &tickets)?);
        Ok(Self(Arc::new(Inner { certificate, key, tickets, now })))
    }

    /// Reads the files again. From then on new connections get what is in them; those that are
    /// open go on. `false` when nothing has changed.
    ///
    /// # Errors
    /// What is wrong with which file. Then the old certificate stays in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let inner = &self.0;
        let loaded = load(&inner.certificate, &inner.key, &inner.tickets)?;
        let changed = loaded.pair != inner.now.load().pair;
        if changed {
            inner.now.store(Arc::new(loaded));
        }
        Ok(changed)
    }

    /// The files.
    pub fn paths(&self) -> [&Path; 2] {
        [&self.0.certificate, &self.0.key]
    }

    /// Shakes hands. What goes wrong here is the client's fault, or its lack of trust.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        limit: Duration,
    ) -> io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.0.now.load().config);
        let greeting = TlsAcceptor::from(config).accept(stream);
        timeout(limit.min(MAX_HANDSHAKE), greeting)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

fn load(
    certificate: &Path,
    key: &Path,
    tickets: &Arc<dyn ProducesTickets>,
) -> Result<Loaded, TlsError> {
    let pair = Pair { chain: read_chain(certificate)?, key: read_key(key)? };
    let versions = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions();
    let config = versions.and_then(|builder| {
        builder.with_no_client_auth().with_single_cert(pair.chain.clone(), pair.key.clone_key())
    });
    let mut config = config.map_err(|error| match error {
        RustlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let reason = format!("is not the key of the certificate in {}", certificate.display());
            error_in(true, key, &reason)
        }
        RustlsError::InvalidCertificate(_) => error_in(false, certificate, &error),
        error => error_in(true, key, &error),
    })?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    config.ticketer = Arc::clone(tickets);
    Ok(Loaded { config: Arc::new(config), pair })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |reason: &dyn std::fmt::Display| error_in(false, path, reason);
    let pem = read(path).map_err(|e| bad(&e))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(bad(&"holds no PEM certificate")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(bad(&error)),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    use tokio_rustls::rustls::pki_types::pem::Error as PemError;
    let bad = |reason: &dyn std::fmt::Display| error_in(true, path, reason);
    let pem = read(path).map_err(|e| bad(&e))?;
    let marker = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
    let encrypted = pem.windows(marker.len()).any(|bytes| bytes == marker);
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        PemError::NoItemsFound if encrypted => {
            bad(&"is encrypted; store the key without a password")
        }
        PemError::NoItemsFound => bad(&"holds no PEM private key"),
        error => bad(&error),
    })
}

/// A file of reasonable size; anything else that a path can name may have no end.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is no file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("is larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(bytes)
}

fn error_in(in_key: bool, path: &Path, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError { in_key, path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use tempfile::TempDir;

    use super::*;

    fn pair() -> (String, String) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        (cert.pem(), signing_key.serialize_pem())
    }

    fn files(certificate: &str, key: &str) -> (TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().expect("a folder");
        let paths = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
        fs::write(&paths.0, certificate).expect("written");
        fs::write(&paths.1, key).expect("written");
        (dir, paths.0, paths.1)
    }

    #[test]
    fn what_is_wrong_is_said_of_the_right_file() {
        let ((certificate, key), (_, other)) = (pair(), pair());
        let pkcs8 = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
        let torn = format!("{}\n-----END", &certificate[..certificate.len() / 2]);
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let long = "x".repeat((1 << 20) + 1);
        for (certificate, key, in_key, reason) in [
            ("", key.as_str(), false, "holds no PEM certificate"),
            (&key, &key, false, "holds no PEM certificate"),
            (&torn, &key, false, ""),
            (broken, &key, false, "invalid peer certificate"),
            (&long, &key, false, "larger than"),
            (&certificate, "", true, "holds no PEM private key"),
            (&certificate, &certificate, true, "holds no PEM private key"),
            (&certificate, &pkcs8, true, "is encrypted"),
            (&certificate, &other, true, "is not the key of the certificate in"),
        ] {
            let (_dir, certificate, key) = files(certificate, key);
            let error = Tls::open(&certificate, &key).expect_err(reason);
            assert_eq!(error.in_key, in_key, "{error}");
            assert!(error.to_string().contains(reason), "{error}");
            assert_eq!(error.path, if in_key { key } else { certificate });
        }
        let (dir, certificate, key) = files(&certificate, &key);
        let error = Tls::open(&dir.path().join("none"), &key).expect_err("no file").to_string();
        assert!(error.contains("/none: No such file"), "{error}");
        let error = Tls::open(&certificate, dir.path()).expect_err("a folder").to_string();
        assert!(error.ends_with("is no file"), "{error}");
    }

    #[tokio::test]
    async fn equals_trust_each_other_and_nobody_else() {
        use tokio_rustls::TlsConnector;
        use tokio_rustls::rustls::pki_types::ServerName;

        let (ours, others) = (pair(), pair());
        let open = |(certificate, key): &(String, String)| {
            let (dir, certificate, key) = files(certificate, key);
            (Tls::open(&certificate, &key).expect("usable"), dir)
        };
        let (tls, dir) = open(&ours);
        let (equal, _equal_dir) = open(&ours);
        let (stranger, _stranger_dir) = open(&others);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let greet = async |server: &Tls| {
            let config = Arc::new(tls.among_equals().expect("versions"));
            // Its certificate is for another name.
            let name = ServerName::IpAddress(address.ip().into());
            let stream = TcpStream::connect(address).await.expect("a connection");
            let (accepted, _) = listener.accept().await.expect("a connection");
            let limit = Duration::from_secs(10);
            let connect = TlsConnector::from(config).connect(name, stream);
            tokio::join!(connect, server.accept(accepted, limit)).0.is_ok()
        };
        assert!(greet(&equal).await);
        assert!(!greet(&stranger).await);
        fs::write(dir.path().join("tls.crt"), &others.0).expect("written");
        fs::write(dir.path().join("tls.key"), &others.1).expect("written");
        tls.reload().expect("another pair");
        assert!(greet(&stranger).await && !greet(&equal).await, "what is in use now");
    }

    #[test]
    fn a_broken_new_pair_leaves_the_old_one_in_use() {
        let ((first, key), (second, second_key)) = (pair(), pair());
        let (_dir, certificate_path, key_path) = files(&first, &key);
        let tls = Tls::open(&certificate_path, &key_path).expect("usable");
        let in_use = || tls.0.now.load().pair.chain.clone();
        let before = in_use();
        assert!(!tls.reload().expect("the same"));
        fs::write(&certificate_path, &second).expect("written");
        assert!(tls.reload().expect_err("half of a pair").in_key);
        assert_eq!(in_use(), before);
        fs::write(&key_path, &second_key).expect("written");
        assert!(tls.reload().expect("a pair"));
        assert_ne!(in_use(), before);
    }
}
