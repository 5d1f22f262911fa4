//! A certificate of a test's own, for gateways that speak TLS.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::Certificate;
use tempfile::TempDir;

/// Longest wait for an answer; only a failing test takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A certificate for `localhost`, signed by itself, and its files.
pub struct Authority {
    dir: TempDir,
    /// The certificate as it is on the wire.
    pub der: Vec<u8>,
    pem: String,
}

impl Authority {
    /// A new one.
    pub fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()])?;
        let pem = cert.pem();
        std::fs::write(dir.path().join("tls.crt"), &pem)?;
        std::fs::write(dir.path().join("tls.key"), signing_key.serialize_pem())?;
        Ok(Self { dir, der: cert.der().to_vec(), pem })
    }

    /// The certificate's file.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("tls.crt")
    }

    /// What a gateway is told of it, for a port of its own.
    pub fn flags(&self) -> Vec<String> {
        let key = self.dir.path().join("tls.key");
        let flags = [("cert", self.path()), ("key", key)];
        let named = flags.map(|(flag, file)| format!("--tls-{flag}={}", file.display()));
        named.into_iter().chain(["--tls-port=0".to_owned()]).collect()
    }

    /// An HTTP client that trusts nobody else.
    pub fn client(&self) -> Result<reqwest::Client> {
        let trusted = [Certificate::from_pem(self.pem.as_bytes())?];
        Ok(reqwest::Client::builder().tls_certs_only(trusted).timeout(PATIENCE).build()?)
    }
}
