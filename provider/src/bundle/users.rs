//! Who uses which bundle, and which versions of a name were used last.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io};

use super::Digest;
use super::disk::{at, write_whole};
use crate::Result;

/// Versions of a name that are kept while anybody uses the name: the one that runs, and two to go
/// back to.
const KEPT_VERSIONS: usize = 3;
/// A bundle that was put, or asked for, so short a time ago may be about to be deployed.
pub(super) const GRACE: Duration = Duration::from_secs(60 * 60);

/// Who uses which bundle. Users are known as long as the gateway runs, versions for good.
pub(super) struct Users {
    file: PathBuf,
    holds: BTreeMap<String, Hold>,
    /// Newest first.
    versions: BTreeMap<String, Vec<Digest>>,
    asked: HashMap<Digest, Instant>,
}

/// One user's bundle.
struct Hold {
    digest: Digest,
    name: String,
}

impl Users {
    /// Reads which versions were used last. A file that cannot be understood only costs old
    /// versions, so it is begun anew.
    pub(super) fn open(file: PathBuf) -> Result<Self> {
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => b"{}".to_vec(),
            Err(error) => return Err(at(&file)(error)),
        };
        let versions = parse(&text).unwrap_or_else(|error| {
            tracing::warn!(path = %file.display(), %error, "begun anew: it cannot be read");
            BTreeMap::new()
        });
        Ok(Self { file, versions, holds: BTreeMap::new(), asked: HashMap::new() })
    }

    pub(super) fn hold(&mut self, user: &str, digest: Digest, name: &str) {
        let hold = Hold { digest, name: name.to_owned() };
        self.holds.insert(user.to_owned(), hold);
        let versions = self.versions.entry(name.to_owned()).or_default();
        if versions.first() == Some(&digest) {
            return;
        }
        versions.retain(|version| *version != digest);
        versions.insert(0, digest);
        versions.truncate(KEPT_VERSIONS);
        self.save();
    }

    pub(super) fn release(&mut self, user: &str) {
        self.holds.remove(user);
    }

    /// Somebody was told that the bundle is here, and may be about to use it.
    pub(super) fn asked(&mut self, digest: Digest) {
        self.asked.insert(digest, Instant::now());
    }

    pub(super) fn forget(&mut self, digest: Digest) {
        self.asked.remove(&digest);
    }

    pub(super) fn was_asked_lately(&self, digest: Digest) -> bool {
        self.asked.get(&digest).is_some_and(|asked| asked.elapsed() < GRACE)
    }

    /// Who uses it, as `<user> of <name>`.
    pub(super) fn holders(&self, digest: Digest) -> Vec<String> {
        let holds = self.holds.iter().filter(|(_, hold)| hold.digest == digest);
        holds.map(|(user, hold)| format!("{user} of {}", hold.name)).collect()
    }

    /// The names that it is a version of.
    pub(super) fn names(&self, digest: Digest) -> Vec<String> {
        let versions = self.versions.iter().filter(|(_, versions)| versions.contains(&digest));
        versions.map(|(name, _)| name.clone()).collect()
    }

    /// Forgets the versions of names that nobody uses; returns all that is used or may be again.
    pub(super) fn kept(&mut self) -> HashSet<Digest> {
        let names: HashSet<&str> = self.holds.values().map(|hold| hold.name.as_str()).collect();
        let before = self.versions.len();
        self.versions.retain(|name, _| names.contains(name.as_str()));
        if self.versions.len() != before {
            self.save();
        }
        let held = self.holds.values().map(|hold| hold.digest);
        held.chain(self.versions.values().flatten().copied()).collect()
    }

    /// What cannot be written only costs old versions: no reason to fail a deploy.
    fn save(&self) {
        if let Err(error) = write(&self.file, &self.versions) {
            tracing::warn!(%error, "which bundles are recent versions is not written down");
        }
    }
}

fn parse(text: &[u8]) -> Result<BTreeMap<String, Vec<Digest>>, String> {
    let names: BTreeMap<String, Vec<String>> =
        serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let digests = |texts: Vec<String>| {
        let digests = texts.iter().map(|text| text.parse::<Digest>());
        digests.collect::<Result<Vec<_>>>().map_err(|error| error.to_string())
    };
    names.into_iter().map(|(name, texts)| digests(texts).map(|all| (name, all))).collect()
}

fn write(file: &Path, versions: &BTreeMap<String, Vec<Digest>>) -> Result<()> {
    let text = serde_json::to_vec_pretty(versions)
        .map_err(|error| super::disk::refused(error.to_string()))?;
    write_whole(file, &text)
}
