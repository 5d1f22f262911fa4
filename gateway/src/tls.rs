//! TLS on the gateway: the flags, the certificate, and learning that it was exchanged.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures_util::StreamExt as _;
use inotify::{EventStream, Inotify, WatchMask};
use relay::{Tls, TlsError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use crate::config::ConfigError;

/// Room for the events of one read; each is at most 272 bytes.
const BUFFER_BYTES: usize = 16 * 1024;
/// How long after the first word of a change the files are read: certificate and key are two
/// files, and both are to be there.
const SETTLE: Duration = Duration::from_millis(500);
/// Links that are followed on the way to one file; the kernel follows as many.
const MAX_LINKS: usize = 40;

/// TLS, and who may go without.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// PEM file of the certificate and the chain above it; with it https is served at --tls-port,
    /// and the files may change at any time
    #[arg(long, env = "FAAS_TLS_CERT", value_name = "FAAS_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// PEM file of the certificate's key
    #[arg(long, env = "FAAS_TLS_KEY", value_name = "FAAS_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Port of the API and of function calls by https
    #[arg(long, env = "FAAS_TLS_PORT", value_name = "FAAS_TLS_PORT", default_value_t = 8443)]
    pub tls_port: u16,

    /// Who may call by plain http, at --port
    #[arg(long, env = "FAAS_PLAIN_HTTP", value_name = "FAAS_PLAIN_HTTP", default_value = "all")]
    pub plain_http: PlainHttp,
}

/// Who may call by plain http.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlainHttp {
    /// Everyone who reaches the gateway's address.
    All,
    /// Programs of this machine, and functions, which know the gateway as http://gateway:8080.
    Local,
    /// Nobody; functions cannot call each other either, unless they trust the certificate.
    Off,
}

impl TlsArgs {
    /// Reads the certificate, if one is named.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn open(&self) -> Result<Option<Tls>, ConfigError> {
        let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Ok(None);
        };
        Tls::open(certificate, key).map(Some).map_err(|error| bad_file(&error))
    }

    /// Checks what one flag alone cannot know; `others` are the ports that are taken.
    pub(crate) fn validate(&self, others: [u16; 2]) -> Result<(), ConfigError> {
        let plain = self.plain_http.to_possible_value();
        if self.tls_cert.is_none() && self.plain_http != PlainHttp::All {
            let value = plain.map(|value| value.get_name().to_owned()).unwrap_or_default();
            let reason =
                "leaves others no way in; name a certificate with --tls-cert and --tls-key";
            return Err(ConfigError::new("FAAS_PLAIN_HTTP", value, reason));
        }
        if self.tls_cert.is_some() && self.tls_port != 0 && others.contains(&self.tls_port) {
            let reason = "is the port of plain http or of the metrics too; choose another with \
                          --tls-port";
            return Err(ConfigError::new("FAAS_TLS_PORT", self.tls_port.to_string(), reason));
        }
        Ok(())
    }
}

fn bad_file(error: &TlsError) -> ConfigError {
    let (variable, flag) = match error.in_key {
        true => ("FAAS_TLS_KEY", "--tls-key"),
        false => ("FAAS_TLS_CERT", "--tls-cert"),
    };
    let reason = format!("{} ({flag})", error.reason);
    ConfigError::new(variable, error.path.display().to_string(), reason)
}

/// Puts a new certificate into use as soon as its files change, or on SIGHUP. Runs for ever.
///
/// # Errors
/// When the kernel does not tell of signals.
pub async fn follow(tls: Tls) -> io::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    let mut complaint = String::new();
    loop {
        // Before the files are read, so that no change is missed; anew each time, because links
        // may lead elsewhere now.
        let changes = watch(&tls).inspect_err(|error| {
            tracing::warn!(%error, "cannot watch the TLS certificate; send SIGHUP when it has changed");
        });
        reload(&tls, &mut complaint).await;
        wait(changes.ok(), &mut hangups).await;
    }
}

async fn reload(tls: &Tls, complaint: &mut String) {
    let shared = tls.clone();
    let reloaded = tokio::task::spawn_blocking(move || shared.reload()).await;
    let said = match reloaded {
        Ok(Ok(true)) => {
            let [certificate, _] = tls.paths();
            tracing::info!(certificate = %certificate.display(), "new TLS certificate in use");
            String::new()
        }
        Ok(Ok(false)) => String::new(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    // Files in the same folder may change all the time.
    if !said.is_empty() && *complaint != said {
        tracing::error!(error = said, "the TLS certificate cannot be used; the old one stays");
    }
    *complaint = said;
}

async fn wait(changes: Option<EventStream<Vec<u8>>>, hangups: &mut Signal) {
    let changed = async {
        match changes {
            Some(mut changes) => changes.next().await.map(drop),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = changed => sleep(SETTLE).await,
        _ = hangups.recv() => (),
    }
}

/// Word of every change that could matter: files that are written or renamed, and links that are
/// turned elsewhere (Kubernetes exchanges one link above both files).
fn watch(tls: &Tls) -> io::Result<EventStream<Vec<u8>>> {
    let inotify = Inotify::init()?;
    let mask = WatchMask::CREATE
        | WatchMask::CLOSE_WRITE
        | WatchMask::MOVED_TO
        | WatchMask::ATTRIB
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF
        | WatchMask::ONLYDIR;
    let mut folders = BTreeSet::new();
    for path in tls.paths() {
        folders.extend(folders_on_the_way(&std::path::absolute(path)?));
    }
    for folder in folders {
        inotify.watches().add(&folder, mask)?;
    }
    inotify.into_event_stream(vec![0; BUFFER_BYTES])
}

/// The folders in which something would have to change for the path to lead to another file: those
/// of the links on the way, and that of the file. Each is named without links.
fn folders_on_the_way(path: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    let mut at = PathBuf::from("/");
    let mut rest: VecDeque<OsString> = names(path);
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        match std::fs::read_link(&next) {
            Ok(to) if links < MAX_LINKS => {
                links += 1;
                folders.insert(at.clone());
                if to.is_absolute() {
                    at = PathBuf::from("/");
                }
                names(&to).into_iter().rev().for_each(|name| rest.push_front(name));
            }
            _ if rest.is_empty() || !next.is_dir() => {
                folders.insert(at);
                return folders;
            }
            _ => at = next,
        }
    }
    folders
}

fn names(path: &Path) -> VecDeque<OsString> {
    let named = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use clap::Parser;

    use super::*;
    use crate::config::Config;

    fn checked(args: &[&str]) -> Result<(), String> {
        let args = std::iter::once(&"faas-gateway").chain(args);
        let config = Config::try_parse_from(args).map_err(|e| e.to_string())?;
        config.validate().map_err(|e| e.to_string())?;
        config.tls.open().map(drop).map_err(|e| e.to_string())
    }

    #[test]
    fn flags_that_cannot_work_are_named() {
        let with = |more: &[&'static str]| {
            checked(
                &[&["--tls-cert", "/none/tls.crt", "--tls-key", "/none/tls.key"], more].concat(),
            )
        };
        let error = with(&[]).unwrap_err();
        assert!(error.starts_with("FAAS_TLS_CERT=/none/tls.crt: No such file"), "{error}");
        assert!(error.ends_with("(--tls-cert)"), "{error}");
        for port in ["8080", "8082"] {
            let error = with(&["--tls-port", port]).unwrap_err();
            assert!(error.starts_with(&format!("FAAS_TLS_PORT={port}: ")), "{error}");
        }
        let error = checked(&["--tls-cert", "/none/tls.crt"]).unwrap_err();
        assert!(error.contains("--tls-key"), "{error}");
        for way in ["local", "off"] {
            let error = checked(&["--plain-http", way]).unwrap_err();
            assert!(error.starts_with(&format!("FAAS_PLAIN_HTTP={way}: ")), "{error}");
        }
        checked(&["--tls-port", "8080"]).unwrap();
    }

    #[test]
    fn every_folder_in_which_the_path_could_be_turned_is_watched() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path().canonicalize().unwrap();
        let [mounted, data, other] = ["mounted", "mounted/..1", "other"].map(|name| top.join(name));
        for dir in [&mounted, &data, &other] {
            fs::create_dir(dir).unwrap();
        }
        fs::write(data.join("tls.crt"), "").unwrap();
        symlink("..1", mounted.join("..data")).unwrap();
        symlink("..data/tls.crt", mounted.join("tls.crt")).unwrap();
        symlink(mounted.join("tls.crt"), other.join("to-file")).unwrap();
        symlink("../mounted/..data", other.join("to-folder")).unwrap();
        for (path, folders) in [
            (data.join("tls.crt"), vec![&data]),
            (mounted.join("tls.crt"), vec![&mounted, &data]),
            (other.join("to-file"), vec![&mounted, &data, &other]),
            (other.join("to-folder/tls.crt"), vec![&mounted, &data, &other]),
            (other.join("none/tls.crt"), vec![&other]),
        ] {
            let expected: BTreeSet<_> = folders.into_iter().cloned().collect();
            assert_eq!(folders_on_the_way(&path), expected, "{}", path.display());
        }
        symlink("round", other.join("round")).unwrap();
        assert_eq!(folders_on_the_way(&other.join("round/tls.crt")), BTreeSet::from([other]));
    }
}
