//! A registry of a test's own that wants a password: Debian's `docker-registry`.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use crate::run;

const USER: &str = "flint";
const PASSWORD: &str = "pa:ss";
/// Longest wait for it to listen.
const START: Duration = Duration::from_secs(30);

/// A registry; it ends with the test.
pub struct Registry {
    child: Child,
    dir: TempDir,
    /// `address:port`, the first part of its images' names.
    pub host: String,
}

impl Registry {
    /// Starts one on a free port of loopback, where engines need no TLS.
    pub fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let host = format!("127.0.0.1:{port}");
        let users = run(Command::new("htpasswd").args(["-nbB", USER, PASSWORD]))?;
        std::fs::write(dir.path().join("users"), users)?;
        let at = dir.path().display();
        let config = format!(
            "version: 0.1\nstorage: {{ filesystem: {{ rootdirectory: {at}/images }} }}\n\
             http: {{ addr: '{host}' }}\nauth: {{ htpasswd: {{ realm: test, path: {at}/users }} }}\n"
        );
        let file = dir.path().join("config.yml");
        std::fs::write(&file, config)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(file).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("docker-registry is not installed")?;
        let registry = Self { child, dir, host };
        registry.wait()?;
        Ok(registry)
    }

    /// Writes a Docker `config.json` with this registry's credentials; gives its folder.
    pub fn docker_config(&self) -> Result<String> {
        let auth = STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let config = serde_json::json!({ "auths": { &self.host: { "auth": auth } } });
        let dir = self.dir.path().join("docker");
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join("config.json"), config.to_string())?;
        Ok(dir.to_string_lossy().into_owned())
    }

    fn wait(&self) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect(&self.host).is_err() {
            if start.elapsed() > START {
                bail!("docker-registry does not listen on {}", self.host);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
