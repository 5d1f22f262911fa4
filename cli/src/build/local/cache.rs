//! Where builds keep what they need again.
//!
//! Each function has a folder, named after it and its handler's place, which one build uses at a
//! time: `work/` is the build folder, `steps/` holds the outputs of steps, `persist/` is the
//! `${cache}` of its commands, `bundles/` the newest archive, `tmp/` what is not finished.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use provider::bundle::Digest;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};

use super::Bundle;
use crate::config::Environment;
use crate::error::{caused, hinted};

/// Time between two looks whether another build of the function has ended.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);
/// How many outputs of steps are kept beside those that the newest build used.
const KEPT_STEPS: usize = 4;
/// How much of a hash tells two handlers of the same name apart, in bytes.
const PLACE_BYTES: usize = 6;

/// The folder of one function; nobody else builds it as long as this is not dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    folder: PathBuf,
    _lock: File,
}

/// The folder that holds the folders of functions.
pub(crate) fn root(env: &Environment) -> Result<PathBuf> {
    let building = &env.building;
    if let Some(folder) = &building.state_dir {
        return Ok(std::path::absolute(folder)?.join("build"));
    }
    let home = || env.home.as_ref().map(|home| home.join(".cache"));
    let base = building.xdg_cache_home.clone().filter(|folder| folder.is_absolute()).or_else(home);
    base.map(|base| base.join("flint/build")).ok_or_else(|| {
        hinted("there is no folder for what is built", "set FAAS_STATE_DIR, or HOME")
    })
}

/// The folder of a function: its name for people, its place so that projects do not mix.
fn folder(root: &Path, function: &str, handler: &Path) -> Result<PathBuf> {
    let place = std::path::absolute(handler)?;
    let hash = Sha256::digest(place.as_os_str().as_encoded_bytes());
    let hex: String = hash.iter().take(PLACE_BYTES).map(|byte| format!("{byte:02x}")).collect();
    Ok(root.join(format!("{function}-{hex}")))
}

/// The archive that was built last, and its digest; `None` when none was.
pub(crate) fn latest(env: &Environment, function: &str, handler: &Path) -> Result<Option<Bundle>> {
    let folder = folder(&root(env)?, function, handler)?;
    let Ok(text) = fs::read_to_string(folder.join("latest")) else { return Ok(None) };
    let Ok(digest) = text.trim().parse::<Digest>() else { return Ok(None) };
    let archive = archive(&folder, digest);
    let bundle = Bundle { name: function.to_owned(), digest, archive };
    Ok(bundle.archive.is_file().then_some(bundle))
}

fn archive(folder: &Path, digest: Digest) -> PathBuf {
    folder.join("bundles").join(format!("{}.tar.zst", digest.hex()))
}

impl Slot {
    /// Waits until nobody else builds the function, and makes its folder.
    pub(crate) async fn open(
        env: &Environment,
        (function, handler): (&str, &Path),
        waiting: impl FnOnce(),
    ) -> Result<Self> {
        let folder = folder(&root(env)?, function, handler)?;
        let lock = open_lock(&folder).map_err(|error| {
            let hint = "name a folder that can be written with FAAS_STATE_DIR or XDG_CACHE_HOME";
            caused(format!("the cache {} cannot be made", folder.display()), hint, error)
        })?;
        let mut waiting = Some(waiting);
        while flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            if let Some(waiting) = waiting.take() {
                waiting();
            }
            tokio::time::sleep(LOCK_INTERVAL).await;
        }
        let slot = Self { folder, _lock: lock };
        // Nobody else is here, so these are of a build that was broken off.
        remove(&slot.folder.join("tmp"))?;
        Ok(slot)
    }

    /// The build folder.
    pub(crate) fn work(&self) -> PathBuf {
        self.folder.join("work")
    }

    /// The folder that commands know as `${cache}`.
    pub(crate) fn persist(&self) -> Result<PathBuf> {
        made(self.folder.join("persist"))
    }

    /// The folder of the outputs of steps.
    pub(crate) fn steps(&self) -> PathBuf {
        self.folder.join("steps")
    }

    /// A new folder for what is not finished; it is on the file system of all the others.
    pub(crate) fn temporary(&self) -> Result<PathBuf> {
        let parent = made(self.folder.join("tmp"))?;
        let folder = tempfile::Builder::new().tempdir_in(&parent);
        Ok(folder.with_context(|| parent.display().to_string())?.keep())
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) -> Result<()> {
        ["work", "work.json", "steps", "persist"]
            .iter()
            .try_for_each(|name| remove(&self.folder.join(name)))
    }

    /// Keeps an archive as the newest one, and gives its place.
    pub(crate) fn keep(&self, file: &Path, digest: Digest) -> Result<PathBuf> {
        let place = archive(&self.folder, digest);
        let folder = made(self.folder.join("bundles"))?;
        for old in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if old.path() != place {
                remove(&old.path())?;
            }
        }
        fs::rename(file, &place).with_context(|| place.display().to_string())?;
        replace(&self.folder.join("latest"), digest.to_string().as_bytes())?;
        Ok(place)
    }

    /// The steps whose outputs are in the build folder as they were kept.
    pub(crate) fn placed(&self) -> Vec<String> {
        let text = fs::read(self.folder.join("work.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Notes them; `None` while the build folder changes.
    pub(crate) fn note_placed(&self, keys: Option<&[String]>) -> Result<()> {
        let file = self.folder.join("work.json");
        match keys {
            Some(keys) => replace(&file, &serde_json::to_vec(keys)?),
            None => remove(&file),
        }
    }

    /// Removes outputs of steps that have not been used for long.
    pub(crate) fn collect(&self, used: &[String]) -> Result<()> {
        let entries = fs::read_dir(self.steps()).into_iter().flatten().flatten();
        let mut others: Vec<_> = entries
            .filter(|entry| !used.iter().any(|key| entry.file_name() == key.as_str()))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        others.sort();
        let surplus = others.len().saturating_sub(KEPT_STEPS);
        others.iter().take(surplus).try_for_each(|(_, path)| remove(path))
    }
}

fn open_lock(folder: &Path) -> std::io::Result<File> {
    fs::create_dir_all(folder)?;
    OpenOptions::new().write(true).create(true).truncate(false).open(folder.join("lock"))
}

/// A folder that is there from now on.
pub(crate) fn made(folder: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}

/// Removes a file or folder; nothing there is fine.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}

/// Writes a small file whole or not at all.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = made(path.parent().unwrap_or(Path::new("/")).join("tmp"))?;
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(&folder)?;
        file.write_all(bytes)?;
        file.persist(path).map_err(|error| error.error)
    };
    write().map(drop).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(state: Option<&Path>, home: Option<&str>, cache: Option<&str>) -> Environment {
        let mut env = Environment { home: home.map(PathBuf::from), ..Default::default() };
        env.building.state_dir = state.map(Path::to_owned);
        env.building.xdg_cache_home = cache.map(PathBuf::from);
        env
    }

    async fn slot(env: &Environment, handler: &str) -> Slot {
        Slot::open(env, ("f", Path::new(handler)), || ()).await.unwrap()
    }

    #[test]
    fn the_state_folder_comes_first_and_home_last() {
        let at = |env: Environment| root(&env).map(|path| path.display().to_string());
        let all = env(Some(Path::new("/s")), Some("/h"), Some("/c"));
        assert_eq!(at(all).unwrap(), "/s/build");
        assert_eq!(at(env(None, Some("/h"), Some("/c"))).unwrap(), "/c/flint/build");
        assert_eq!(at(env(None, Some("/h"), Some("c"))).unwrap(), "/h/.cache/flint/build");
        assert!(at(env(None, None, None)).unwrap_err().to_string().contains("no folder"));
    }

    #[tokio::test]
    async fn one_build_at_a_time_and_nothing_half_done_stays() {
        let folder = tempfile::tempdir().unwrap();
        let env = env(Some(folder.path()), None, None);
        let one = slot(&env, "./größe 1").await;
        let half = one.temporary().unwrap();
        let mut told = false;
        let second = Slot::open(&env, ("f", Path::new("./größe 1")), || told = true);
        let held = tokio::time::timeout(2 * LOCK_INTERVAL, second).await;
        assert!(held.is_err() && told && half.is_dir());
        let other = slot(&env, "./elsewhere").await;
        assert_ne!(one.work(), other.work());
        drop(one);
        slot(&env, "./größe 1").await;
        assert!(!half.exists());
    }

    #[tokio::test]
    async fn only_the_newest_archive_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let env = env(Some(folder.path()), None, None);
        let handler = Path::new("./f");
        let one = slot(&env, "./f").await;
        assert!(latest(&env, "f", handler).unwrap().is_none());
        let mut places = Vec::new();
        for byte in [1, 2] {
            let file = one.temporary().unwrap().join("x");
            fs::write(&file, [byte]).unwrap();
            places.push(one.keep(&file, Digest::new([byte; 32])).unwrap());
        }
        let newest = latest(&env, "f", handler).unwrap().unwrap();
        assert_eq!((newest.digest, &newest.archive), (Digest::new([2; 32]), &places[1]));
        assert!(!places[0].exists());
        fs::remove_file(newest.archive).unwrap();
        assert!(latest(&env, "f", handler).unwrap().is_none());
    }

    #[tokio::test]
    async fn old_outputs_go_but_not_those_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let env = env(Some(folder.path()), None, None);
        let one = slot(&env, "f").await;
        for index in 0..KEPT_STEPS + 3 {
            made(one.steps().join(index.to_string())).unwrap();
        }
        one.collect(&["0".to_owned()]).unwrap();
        assert_eq!(fs::read_dir(one.steps()).unwrap().count(), KEPT_STEPS + 1);
        assert!(one.steps().join("0").is_dir());
    }
}
