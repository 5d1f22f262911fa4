//! Learning that the certificate was exchanged.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use inotify::{EventStream, Inotify, WatchMask};
use relay::Tls;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

/// Room for the events of one read; each is at most 272 bytes.
const BUFFER_BYTES: usize = 16 * 1024;
/// How long after the first word of a change the files are read: certificate and key are two
/// files, and both are to be there.
const SETTLE: Duration = Duration::from_millis(500);
/// Links that are followed on the way to one file; the kernel follows as many.
const MAX_LINKS: usize = 40;

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

    use super::*;

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
