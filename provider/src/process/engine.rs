//! The engine: all replicas, found again when a gateway starts.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::{self, BoxStream};
use jiff::Timestamp;
use tokio_stream::wrappers::BroadcastStream;

use super::record::{Found, Record, Wanted};
use super::replica::{Current, Replica};
use super::run::{Run, report_of};
use super::shared::{Shared, bundle};
use super::{BACKEND, blocking, refused, render};
use crate::confine::Layout;
use crate::replicas::engine::{Blueprint, Create, Engine, Happening, What};
use crate::replicas::files::at;
use crate::replicas::logs::{Range, Source};
use crate::replicas::machine::Facts;
use crate::replicas::seen::Seen;
use crate::replicas::usage::Running;
use crate::{Error, Function, LogLine, Result, Usage};

/// Holds the records that could not be understood, in the state directory.
const UNREADABLE: &str = "unreadable";
/// Where this machine's name is to be read.
const HOSTNAME: &str = "/proc/sys/kernel/hostname";

/// Runs replicas as processes of this machine.
pub struct ProcessEngine {
    shared: Arc<Shared>,
    facts: Facts,
    /// Whether replicas can be given users of their own.
    is_root: bool,
    replicas: Mutex<BTreeMap<String, Arc<Replica>>>,
    /// Folders that were not taken over, and are not ours to change.
    left_alone: HashSet<String>,
}

impl ProcessEngine {
    /// Takes over what is in the replicas' folders. What has no record there is nobody's: if it
    /// runs, it ends now. A folder with which that cannot be done is left as it is: it is no reason
    /// to serve nobody.
    pub(super) async fn open(shared: Arc<Shared>, state_dir: &Path) -> Result<Self> {
        let host = fs::read_to_string(HOSTNAME).unwrap_or_default();
        let mut engine = Self {
            facts: Facts::new("linux", std::env::consts::ARCH, host.trim()),
            is_root: rustix::process::geteuid().is_root(),
            replicas: Mutex::default(),
            left_alone: HashSet::new(),
            shared,
        };
        let mut records = Vec::new();
        for dir in folders(&state_dir.join("replicas"))? {
            let layout = Layout::new(&dir);
            let abandoned = match Record::load(&dir)? {
                Found::Record(record) => {
                    records.push((layout, *record));
                    continue;
                }
                Found::Closed(error) => Err(error),
                Found::Nothing => abandon(&layout).await,
                Found::Torn(error) => match Record::put_aside(&dir, &state_dir.join(UNREADABLE)) {
                    Ok(kept) => {
                        let (path, kept) = (dir.display(), kept.display());
                        tracing::error!(%path, %error, %kept, "a replica is lost: its record is torn");
                        abandon(&layout).await
                    }
                    failed => failed.map(|_| ()),
                },
            };
            engine.leave_alone_unless(&dir, abandoned);
        }
        if engine.is_root {
            give_users(records.iter_mut().map(|(_, record)| record));
        }
        dismiss_surplus(records.iter_mut().map(|(_, record)| record));
        // All at once: one that takes its time is no reason for others to wait.
        let take_over = async |(layout, record): (Layout, Record)| {
            (layout.dir.clone(), engine.take_over(layout, record).await)
        };
        for (dir, taken) in join_all(records.into_iter().map(take_over)).await {
            engine.leave_alone_unless(&dir, taken);
        }
        Ok(engine)
    }

    fn leave_alone_unless(&mut self, dir: &Path, taken: Result<()>) {
        let Err(error) = taken else { return };
        let path = dir.display();
        tracing::error!(%path, %error, "a replica is left as it is; remove its folder to end this");
        self.left_alone.extend(dir.file_name().map(|name| name.to_string_lossy().into_owned()));
    }

    async fn take_over(&self, layout: Layout, record: Record) -> Result<()> {
        let reference = bundle(&record.image)?;
        let replica = Replica::new(self.shared.clone(), layout, record);
        let (bundles, id) = (self.shared.bundles.clone(), replica.id.clone());
        let digest = reference.digest;
        let held = blocking(move || bundles.hold(&id, digest, &reference.name)).await;
        if let Err(error) = held {
            tracing::warn!(replica = replica.id, %error, "the bundle of a replica is not here");
        }
        replica.adopt(self.shared.bundles.is_unpacked(digest)).await?;
        self.replicas().insert(replica.id.clone(), replica);
        Ok(())
    }

    /// Ends all replicas, so that the next gateway starts them again.
    pub(super) async fn shut_down(&self) {
        self.shared.close();
        let all: Vec<_> = self.replicas().values().cloned().collect();
        let end = |replica: Arc<Replica>| async move {
            if let Err(error) = replica.rest().await {
                tracing::warn!(replica = replica.id, %error, "cannot end a replica");
            }
        };
        join_all(all.into_iter().map(end)).await;
    }

    fn get(&self, id: &str) -> Option<Arc<Replica>> {
        self.replicas().get(id).cloned()
    }

    fn expect(&self, id: &str) -> Result<Arc<Replica>> {
        self.get(id).ok_or_else(|| Error::NotFound(format!("replica {id}")))
    }

    /// A replica of that id with a user of its own, if none has it.
    fn add(&self, new: &Blueprint<'_>) -> Option<Arc<Replica>> {
        let mut replicas = self.replicas();
        if replicas.contains_key(new.replica) {
            return None;
        }
        let taken: BTreeSet<u32> = replicas.values().filter_map(|r| r.user()).collect();
        let user = self.is_root.then(|| render::free_user(&taken));
        let record = Record::new(new, user);
        let layout = Layout::new(&new.files.dir);
        let replica = Replica::new(self.shared.clone(), layout, record);
        replicas.insert(new.replica.to_owned(), replica.clone());
        Some(replica)
    }

    fn forget(&self, id: &str) {
        self.replicas().remove(id);
        self.shared.bundles.release(id);
    }

    fn replicas(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Replica>>> {
        self.replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ProcessEngine {
    fn drop(&mut self) {
        self.shared.close();
    }
}

#[async_trait]
impl Engine for ProcessEngine {
    fn name(&self) -> &'static str {
        BACKEND
    }

    async fn ping(&self) -> Result<()> {
        let watchdog = &self.shared.watchdog;
        if watchdog.is_file() {
            return Ok(());
        }
        let reason = format!("there is no fwatchdog at {}", watchdog.display());
        Err(Error::Unavailable { backend: BACKEND, reason })
    }

    fn check(&self, function: &Function) -> Result<()> {
        for (field, resources) in [("limits", &function.limits), ("requests", &function.requests)] {
            let Some(resources) = resources else { continue };
            let devices = [
                ("nvidia.com/gpu", &resources.nvidia_gpu),
                ("amd.com/gpu", &resources.amd_gpu),
                ("intel.com/gpu", &resources.intel_gpu),
            ];
            if let Some((key, _)) = devices.iter().find(|(_, wish)| wish.is_some()) {
                let reason = "a sandboxed process is given no devices; use --provider docker";
                return Err(Error::invalid(format!("{field}.{key}"), reason));
            }
        }
        self.facts.check(function)
    }

    async fn fetch(&self, function: &Function) -> Result<String> {
        let (shared, image) = (self.shared.clone(), function.image.clone());
        blocking(move || shared.ingredients(&image).map(|_| image)).await
    }

    async fn create(&self, new: &Blueprint<'_>) -> Result<Seen, Create> {
        let reference = bundle(new.image).map_err(Create::Other)?;
        let replica = self.add(new).ok_or(Create::NameTaken)?;
        let (bundles, id) = (self.shared.bundles.clone(), replica.id.clone());
        let tmp = replica.layout.tmp();
        let made = blocking(move || {
            bundles.hold(&id, reference.digest, &reference.name)?;
            bundles.folder(reference.digest)?;
            make_tmp(&tmp)
        });
        let made = match made.await {
            Ok(()) => replica.save().await,
            failed => failed,
        };
        if let Err(error) = made {
            self.forget(&replica.id);
            return Err(match error {
                Error::Invalid { field, reason } if field == "image" => Create::NoImage(reason),
                error => Create::Other(error),
            });
        }
        Ok(replica.seen())
    }

    async fn start(&self, id: &str) -> Result<()> {
        self.expect(id)?.start().await
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<()> {
        match self.get(id) {
            Some(replica) => replica.stop(grace).await,
            None => Ok(()),
        }
    }

    async fn remove(&self, id: &str) -> Result<()> {
        let Some(replica) = self.get(id) else { return Ok(()) };
        replica.remove().await?;
        let layout = replica.layout.clone();
        blocking(move || {
            make_removable(&layout);
            Ok(())
        })
        .await?;
        self.forget(id);
        self.shared.tell(replica.seen().deploy.name, id, What::Changed);
        Ok(())
    }

    async fn mark_removed(&self, id: &str, _replica: &str) -> Result<()> {
        match self.get(id) {
            Some(replica) => replica.mark_removed().await,
            None => Ok(()),
        }
    }

    async fn pause(&self, id: &str) -> Result<()> {
        self.expect(id)?.pause().await
    }

    async fn unpause(&self, id: &str) -> Result<()> {
        self.expect(id)?.unpause().await
    }

    async fn inspect(&self, id: &str) -> Result<Option<Seen>> {
        Ok(self.get(id).map(|replica| replica.seen()))
    }

    async fn list(&self) -> Result<Vec<Seen>> {
        Ok(self.replicas().values().map(|replica| replica.seen()).collect())
    }

    /// Begins with a look at every replica: so nothing is lost that happened since they were
    /// listed, whenever that was.
    fn events(&self, _since: Timestamp) -> BoxStream<'static, Result<Happening>> {
        let from_now_on = BroadcastStream::new(self.shared.listen());
        let all: Vec<_> = self.replicas().values().map(|replica| replica.seen()).collect();
        let look = |seen: Seen| {
            Ok(Happening { name: seen.deploy.name, replica: seen.replica, what: What::Changed })
        };
        let lost = |e: tokio_stream::wrappers::errors::BroadcastStreamRecvError| {
            refused(format!("too much happened at once: {e}"))
        };
        let from_now_on = from_now_on.map(move |happening| happening.map_err(lost));
        stream::iter(all).map(look).chain(from_now_on).boxed()
    }

    fn log_lines(&self, source: Source, range: Range) -> BoxStream<'static, Result<LogLine>> {
        match self.get(&source.id) {
            Some(replica) => replica.log().lines(source, range),
            None => stream::empty().boxed(),
        }
    }

    async fn usage(&self, running: Vec<Running>) -> Result<Vec<Usage>> {
        let current = |of: Running| Some((self.get(&of.id)?.current()?, of));
        let running: Vec<_> = running.into_iter().filter_map(current).collect();
        let used = |(current, of): (Current, Running)| of.used(current.run.usage(&current.report));
        blocking(move || Ok(running.into_iter().filter_map(used).collect())).await
    }

    /// Bundles are collected by the gateway; there is nothing else that replicas share.
    async fn tidy(&self) -> Result<()> {
        Ok(())
    }

    async fn note(&self, id: &str, to_stop: bool) -> Result<()> {
        match self.get(id) {
            Some(replica) => replica.note(to_stop).await,
            None => Ok(()),
        }
    }

    fn left_alone(&self) -> HashSet<String> {
        self.left_alone.clone()
    }

    fn close(&self) {
        self.shared.close();
    }
}

/// The folders in the replicas' folder, which may not be there yet.
fn folders(root: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(root) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(at(root))?,
    };
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(at(root))).collect()
}

/// Gives a user to those that have none: a gateway which was not root made them.
fn give_users<'a>(records: impl Iterator<Item = &'a mut Record>) {
    let (with, without): (Vec<_>, Vec<_>) = records.partition(|record| record.user.is_some());
    let mut taken: BTreeSet<u32> = with.into_iter().filter_map(|record| record.user).collect();
    for record in without {
        let user = render::free_user(&taken);
        taken.insert(user);
        record.user = Some(user);
    }
}

/// A gateway that was killed while it let replicas go may have stopped some that it did not come
/// to remove. One that rests is kept for a function that sleeps, and none beside others that run.
fn dismiss_surplus<'a>(records: impl Iterator<Item = &'a mut Record>) {
    let mut generations: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for record in records.filter(|record| record.wanted != Wanted::Nothing && !record.removed) {
        let deploy = &record.deploy;
        generations.entry((deploy.name.clone(), deploy.generation)).or_default().push(record);
    }
    for generation in generations.into_values() {
        let sleeps = generation.iter().all(|record| record.wanted == Wanted::Stopped);
        let rest = generation.into_iter().filter(|record| record.wanted == Wanted::Stopped);
        rest.skip(usize::from(sleeps)).for_each(|record| record.removed = true);
    }
}

/// Ends what runs in a folder without a record; the folder itself goes with those of all replicas
/// that are gone.
async fn abandon(layout: &Layout) -> Result<()> {
    if !layout.dir.is_dir() {
        return Ok(());
    }
    let failed = |e: std::io::Error| refused(format!("{}: {e}", layout.dir.display()));
    if let Some(run) = Run::adopt(layout).await.map_err(failed)? {
        tracing::info!(dir = %layout.dir.display(), "ending a replica that nobody knows of");
        let report = report_of(layout);
        run.kill(&report);
        run.ended().await;
        run.clear_up(&report).await.map_err(failed)?;
    }
    make_removable(layout);
    Ok(())
}

/// A replica's `/tmp`: for whichever user it is given. Nobody else gets that far.
fn make_tmp(path: &Path) -> Result<()> {
    let made = DirBuilder::new().mode(0o700).create(path);
    made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o1777))).map_err(at(path))
}

/// A function can take our right to look into folders that it made, though not our right to take
/// that back: they are the same user's.
fn make_removable(layout: &Layout) {
    let mut dirs = vec![layout.run(), layout.tmp()];
    while let Some(dir) = dirs.pop() {
        if fs::set_permissions(&dir, Permissions::from_mode(0o700)).is_err() {
            continue;
        }
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
        // The kind of the entry itself: links are not followed.
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        dirs.extend(below.map(|entry| entry.path()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Function;
    use crate::replicas::deploy::Deploy;
    use crate::replicas::files::Files;

    #[test]
    fn who_has_no_user_is_given_one_that_nobody_has() {
        let dir = tempfile::tempdir().unwrap();
        let function = Function::from_json(br#"{"service":"echo","image":"i"}"#).unwrap();
        let deploy = Deploy {
            name: function.name().unwrap(),
            function,
            generation: 7,
            created_at: Timestamp::UNIX_EPOCH,
        };
        let new = Blueprint {
            deploy: &deploy,
            replica: "echo.1",
            image: "bundle:x",
            files: &Files::open(dir.path()).unwrap().of("echo.1"),
            stop_timeout: Duration::ZERO,
        };
        let users = [None, Some(render::FIRST_USER), None];
        let mut records = users.map(|user| Record::new(&new, user));
        give_users(records.iter_mut());
        let users = records.map(|record| record.user.unwrap() - render::FIRST_USER);
        assert_eq!(users, [1, 0, 2]);
    }

    #[test]
    fn a_folder_that_was_locked_from_inside_can_be_removed_and_links_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(&dir.path().join("echo.1"));
        let (locked, outside) = (layout.tmp().join("a/b"), dir.path().join("outside"));
        fs::create_dir_all(&locked).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::set_permissions(&outside, Permissions::from_mode(0o500)).unwrap();
        std::os::unix::fs::symlink(&outside, layout.tmp().join("a/link")).unwrap();
        for path in [&locked, locked.parent().unwrap()] {
            fs::set_permissions(path, Permissions::from_mode(0o000)).unwrap();
        }
        make_removable(&layout);
        fs::remove_dir_all(&layout.dir).unwrap();
        let mode = fs::metadata(&outside).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o500);
    }
}
