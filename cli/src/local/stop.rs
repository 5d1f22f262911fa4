//! Stops the gateway that `faas up` has started, and no other.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use crate::backend::ProviderKind;
use crate::error::{caused, hinted};

/// The file in the state folder of a gateway that this program started: its pid, and its provider
/// on a second line. It stays when the gateway ends in another way than by `faas down`.
const MARKER: &str = "gateway.started";
/// The file that a gateway holds locked while it runs, and that holds its pid; its own choice.
const LOCK: &str = "gateway.lock";
/// Longest wait for its end: longer than it lets calls in flight go on.
const STOP_TIMEOUT: Duration = Duration::from_secs(90);
/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(20);

/// Notes that this program started the gateway of a state folder.
pub(super) fn note(folder: &Path, pid: u32, kind: ProviderKind) -> Result<()> {
    let path = folder.join(MARKER);
    fs::write(&path, format!("{pid}\n{}\n", kind.name()))
        .with_context(|| path.display().to_string())
}

/// The gateway of a state folder, when it runs and this program started it.
pub(super) fn ours(folder: &Path) -> Option<Pid> {
    let started = pid(&folder.join(MARKER))?;
    let running = is_held(folder).then(|| pid(&folder.join(LOCK)))??;
    (started == running).then_some(running)
}

/// What the gateway of a state folder ran functions on, when this program started it and it has
/// ended without `faas down`: its functions are still deployed, and may even run.
pub(super) fn left(folder: &Path) -> Option<ProviderKind> {
    let text = fs::read_to_string(folder.join(MARKER)).ok()?;
    let kind = text.lines().nth(1).unwrap_or_default();
    let kind = <ProviderKind as clap::ValueEnum>::from_str(kind, false).unwrap_or_default();
    (!is_held(folder)).then_some(kind)
}

/// Tells it to end, and waits until it has.
pub(super) async fn stop(folder: &Path, pid: Pid) -> Result<()> {
    kill_process(pid, Signal::TERM).map_err(|error| {
        let hint = "stop it as the user who started it";
        caused(format!("the gateway (pid {}) cannot be stopped", pid.as_raw_nonzero()), hint, error)
    })?;
    let deadline = Instant::now() + STOP_TIMEOUT;
    while is_held(folder) {
        if Instant::now() > deadline {
            let log = folder.join("gateway.log");
            let message = format!("the gateway (pid {}) does not end", pid.as_raw_nonzero());
            return Err(hinted(message, format!("its log is {}", log.display())));
        }
        sleep(INTERVAL).await;
    }
    match fs::remove_file(folder.join(MARKER)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context(MARKER),
        _ => Ok(()),
    }
}

fn pid(path: &Path) -> Option<Pid> {
    Pid::from_raw(fs::read_to_string(path).ok()?.lines().next()?.trim().parse().ok()?)
}

/// Whether a gateway holds the lock. A folder that cannot be looked into is nobody's.
fn is_held(folder: &Path) -> bool {
    let Ok(lock) = File::open(folder.join(LOCK)) else { return false };
    flock(&lock, FlockOperation::NonBlockingLockShared).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_that_runs_and_that_was_started_here() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        assert_eq!(ours(at), None);
        assert_eq!(left(at), None);
        note(at, 7, ProviderKind::Process).unwrap();
        assert_eq!(left(at), Some(ProviderKind::Process));
        assert_eq!(ours(at), None, "no gateway ever ran");
        fs::write(at.join(LOCK), "7\n").unwrap();
        assert_eq!(ours(at), None, "it has ended");
        let lock = File::open(at.join(LOCK)).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert_eq!(ours(at), Pid::from_raw(7));
        assert_eq!(left(at), None, "it runs");
        fs::write(at.join(LOCK), "8\n").unwrap();
        assert_eq!(ours(at), None, "another one runs");
    }
}
