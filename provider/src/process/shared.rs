//! What all replicas have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Resource, getrlimit};
use sha2::{Digest as _, Sha256};
use tokio::sync::{broadcast, watch};
use tokio::task::AbortHandle;

use super::record::{Record, write};
use super::refused;
use super::render::{self, Place};
use super::watch::Folders;
use crate::bundle::{Config, Reference, Store};
use crate::confine::{Layout, Report};
use crate::programs::{Found, Programs};
use crate::replicas::engine::{Happening, What};
use crate::{Error, Name, Result};

/// Happenings that may wait for a slow listener before it must look at everything anew.
const BACKLOG: usize = 4096;

/// What all replicas have in common.
pub(super) struct Shared {
    /// The program `fwatchdog`.
    pub(super) watchdog: PathBuf,
    pub(super) bundles: Arc<Store>,
    pub(super) programs: Programs,
    pub(super) hosts: BTreeMap<String, IpAddr>,
    pub(super) folders: Arc<Folders>,
    happenings: broadcast::Sender<Happening>,
    closed: watch::Sender<bool>,
    /// Gaps in sandboxes that were told of.
    gaps: Mutex<BTreeSet<(String, String)>>,
}

impl Shared {
    pub(super) fn new(
        watchdog: PathBuf,
        bundles: Arc<Store>,
        programs: Programs,
        hosts: BTreeMap<String, IpAddr>,
    ) -> Result<Arc<Self>> {
        let (folders, reader) = Folders::open().map_err(|e| refused(format!("inotify: {e}")))?;
        let shared = Arc::new(Self {
            watchdog,
            bundles,
            programs,
            hosts,
            folders: Arc::new(folders),
            happenings: broadcast::Sender::new(BACKLOG),
            closed: watch::Sender::new(false),
            gaps: Mutex::default(),
        });
        shared.spawn(reader);
        Ok(shared)
    }

    /// Runs a task until it ends or this is closed.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut closed = self.closed.subscribe();
        let task = tokio::spawn(async move {
            tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => {}
                () = work => {}
            }
        });
        task.abort_handle()
    }

    /// Ends every task; no run begins any more.
    pub(super) fn close(&self) {
        self.closed.send_replace(true);
    }

    pub(super) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Tells of something that happened to a replica.
    pub(super) fn tell(&self, name: Name, replica: &str, what: What) {
        let _nobody_listens =
            self.happenings.send(Happening { name, replica: replica.to_owned(), what });
    }

    /// What happens from now on.
    pub(super) fn listen(&self) -> broadcast::Receiver<Happening> {
        self.happenings.subscribe()
    }

    /// Logs what could not be enforced, once for each kind of gap.
    pub(super) fn tell_gaps(&self, replica: &str, report: &Report) {
        let mut told = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        for gap in &report.gaps {
            let (measure, reason) = (gap.measure.clone(), gap.reason.clone());
            if told.insert((measure, reason)) {
                let (measure, reason) = (&gap.measure, &gap.reason);
                tracing::warn!(replica, %measure, %reason, "the sandbox of functions has a gap");
            }
        }
    }

    /// Finds a bundle and the programs that it needs. This blocks.
    pub(super) fn ingredients(&self, image: &str) -> Result<(PathBuf, Config, Vec<Found>)> {
        let digest = bundle(image)?.digest;
        let folder = self.bundles.folder(digest)?;
        let config = self.bundles.config(digest)?;
        let find = |program| self.programs.find(program, &config.template);
        let programs = config.programs.iter().map(find).collect::<Result<_>>()?;
        Ok((folder, config, programs))
    }

    /// Writes the confiner's orders into a replica's folder. This blocks.
    pub(super) fn prepare(&self, layout: &Layout, record: &Record) -> Result<()> {
        let (folder, config, programs) = self.ingredients(&record.image)?;
        let place = Place {
            name: &sandbox_name(record.deploy.name.function(), &layout.dir),
            bundle: &folder,
            config: &config,
            programs: &programs,
            hosts: &self.hosts,
            user: record.user,
            most_files: getrlimit(Resource::Nofile).maximum,
        };
        let spec = render::spec(&record.deploy.function, &place)?;
        let bytes = serde_json::to_vec(&spec).map_err(|e| refused(e.to_string()))?;
        write(&layout.spec(), &bytes, false)
    }
}

/// The bundle that an image names; an error when it names none.
pub(super) fn bundle(image: &str) -> Result<Reference> {
    let plain = || {
        let reason = format!(
            "{image:?} is no bundle, and this gateway runs bundles: use `faas up` to build and \
             deploy, or start the gateway with --provider docker to run images"
        );
        Error::invalid("image", reason)
    };
    Reference::from_image(image)?.ok_or_else(plain)
}

/// A sandbox's name: for people it begins with the function's; it is no other's on this machine, of
/// other gateways too, and short enough for a host's name (63 characters).
fn sandbox_name(function: &str, folder: &Path) -> String {
    let digest = Sha256::digest(folder.as_os_str().as_encoded_bytes());
    let unique: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let function: String = function.chars().take(40).collect();
    format!("{function}-{unique}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_has_a_name_of_its_own() {
        let long = "f".repeat(63);
        let name = sandbox_name(&long, Path::new("/a/replicas/x"));
        assert!(name.len() <= 63 && name.starts_with("fff"), "{name}");
        assert_ne!(name, sandbox_name(&long, Path::new("/b/replicas/x")));
    }

    #[test]
    fn an_image_is_refused_with_what_to_do() {
        let error = bundle("ghcr.io/a/echo:1").unwrap_err().to_string();
        assert!(error.starts_with("image: ") && error.contains("--provider docker"), "{error}");
    }
}
