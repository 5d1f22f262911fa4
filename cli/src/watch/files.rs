//! Which files have changed: folders are watched with inotify, and changes that come together are
//! told together.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow};
use futures_util::StreamExt;
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::time::{Instant, timeout_at};

use super::ignored::{Ignored, is_list};
use crate::error::caused;

/// How long nothing must happen until a change is taken to be whole.
const QUIET: Duration = Duration::from_millis(10);
/// Longest that a change is waited with, however much goes on.
const LONGEST: Duration = Duration::from_millis(250);
/// Room for events, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;
/// Longest time that may lie between a save and the word of it.
const LATEST_WORD: Duration = Duration::from_secs(2);

/// What is watched.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// Folders with everything in them but what is ignored.
    pub(super) folders: BTreeSet<PathBuf>,
    /// Single files.
    pub(super) files: BTreeSet<PathBuf>,
}

/// Changes that came together.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// What has changed, or is gone.
    pub(super) paths: BTreeSet<PathBuf>,
    /// Whether so much happened that some of it was lost: anything may have changed.
    pub(super) lost: bool,
    /// When the newest of them was saved.
    pub(super) saved: Option<Instant>,
}

/// Watches files.
pub(super) struct Files {
    events: EventStream<Vec<u8>>,
    watches: Watches,
    watching: HashMap<WatchDescriptor, PathBuf>,
    watched: Watched,
    ignored: Vec<Ignored>,
    project: PathBuf,
    pending: Changes,
    /// Files that were made since the last word of changes.
    made: BTreeSet<PathBuf>,
    /// When the first and the last of the changes came that nobody was told of yet.
    since: Option<(Instant, Instant)>,
}

impl Files {
    /// Watches nothing yet. What the project's `.gitignore` takes is no change.
    pub(super) fn new(project: &Path) -> Result<Self> {
        let inotify = Inotify::init().context("files cannot be watched")?;
        let watches = inotify.watches();
        let events = inotify.into_event_stream(vec![0; BUFFER_BYTES])?;
        Ok(Self {
            events,
            watches,
            watching: HashMap::new(),
            watched: Watched::default(),
            ignored: Vec::new(),
            project: project.to_owned(),
            pending: Changes::default(),
            made: BTreeSet::new(),
            since: None,
        })
    }

    /// Watches these from now on. All paths are absolute.
    pub(super) fn watch(&mut self, watched: Watched) -> Result<()> {
        self.watched = watched;
        self.read_lists();
        let above = self.watched.folders.iter().chain(&self.watched.files);
        let above: BTreeSet<PathBuf> =
            above.filter_map(|path| path.parent().map(Path::to_owned)).collect();
        for folder in above.iter().filter(|folder| folder.is_dir()) {
            self.add(folder)?;
        }
        for folder in self.watched.folders.clone() {
            self.descend(&folder, false)?;
        }
        Ok(())
    }

    /// The next changes. Nothing is lost when this is given up and asked again.
    pub(super) async fn next(&mut self) -> Result<Changes> {
        loop {
            let event = match self.since {
                None => self.events.next().await,
                Some((first, last)) => {
                    let until = (last + QUIET).min(first + LONGEST);
                    match timeout_at(until, self.events.next()).await {
                        Ok(event) => event,
                        Err(_) => match self.finish() {
                            Some(changes) => return Ok(changes),
                            None => continue,
                        },
                    }
                }
            };
            let event = event.ok_or_else(|| anyhow!("files are watched no more"))?;
            self.take(&event.context("files cannot be watched")?)?;
        }
    }

    /// What has come together; `None` when it was only files that came and went.
    fn finish(&mut self) -> Option<Changes> {
        self.since = None;
        let (mut changes, made) =
            (std::mem::take(&mut self.pending), std::mem::take(&mut self.made));
        changes.paths.retain(|path| !made.contains(path) || path.symlink_metadata().is_ok());
        (changes.lost || !changes.paths.is_empty()).then_some(changes)
    }

    fn read_lists(&mut self) {
        let read = |folder: &PathBuf| Ignored::read(folder, &self.project);
        self.ignored = self.watched.folders.iter().map(read).collect();
    }

    fn add(&mut self, folder: &Path) -> Result<()> {
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MOVE
            | WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::ATTRIB
            | WatchMask::ONLYDIR;
        match self.watches.add(folder, mask) {
            Ok(watch) => {
                self.watching.insert(watch, folder.to_owned());
                Ok(())
            }
            // It is gone again already.
            Err(_) if !folder.is_dir() => Ok(()),
            Err(error) => {
                let hint = "allow more watches with the sysctl fs.inotify.max_user_watches, or name folders in .gitignore";
                Err(caused(format!("{} cannot be watched", folder.display()), hint, error))
            }
        }
    }

    /// Watches a folder and those in it; `new`: what is in it is a change.
    fn descend(&mut self, folder: &Path, new: bool) -> Result<()> {
        self.add(folder)?;
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if self.is_ignored(&path, is_folder) {
                continue;
            }
            if is_folder {
                self.descend(&path, new)?;
            } else if new {
                self.note(path);
            }
        }
        Ok(())
    }

    fn take(&mut self, event: &EventOwned) -> Result<()> {
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            self.pending.lost = true;
            self.begin(Instant::now());
            return Ok(());
        }
        if event.mask.contains(EventMask::IGNORED) {
            self.watching.remove(&event.wd);
            return Ok(());
        }
        let (Some(folder), Some(name)) = (self.watching.get(&event.wd), &event.name) else {
            return Ok(());
        };
        let path = folder.join(name);
        match event.mask.contains(EventMask::ISDIR) {
            true => self.folder(event.mask, path),
            false => {
                self.file(event.mask, path);
                Ok(())
            }
        }
    }

    fn folder(&mut self, mask: EventMask, path: PathBuf) -> Result<()> {
        if mask.intersects(EventMask::MOVED_FROM) {
            self.forget(&path);
        }
        if mask.intersects(EventMask::CREATE | EventMask::MOVED_TO) {
            // Below a watched folder, or one of them that was away.
            let inside = self.is_inside(&path) && !self.is_ignored(&path, true);
            if inside {
                self.descend(&path, true)?;
            }
            let back = |root: &&PathBuf| root.starts_with(&path) && **root != path;
            for root in self.watched.folders.iter().filter(back).cloned().collect::<Vec<_>>() {
                self.descend(&root, true)?;
            }
        }
        let removed = mask.intersects(EventMask::DELETE | EventMask::MOVED_FROM);
        if removed && self.is_inside(&path) && !self.is_ignored(&path, true) {
            self.note(path);
        }
        Ok(())
    }

    fn file(&mut self, mask: EventMask, path: PathBuf) {
        // A new file is whole when it is closed; only links are so at once.
        if mask.contains(EventMask::CREATE) {
            self.made.insert(path.clone());
            if !path.is_symlink() {
                return;
            }
        }
        let single = self.watched.files.contains(&path);
        if !single && (!self.is_inside(&path) || self.is_ignored(&path, false)) {
            return;
        }
        if is_list(&path) {
            self.read_lists();
        }
        self.note(path);
    }

    /// What was moved away is watched no more: its paths are wrong.
    fn forget(&mut self, folder: &Path) {
        let gone: Vec<WatchDescriptor> = self
            .watching
            .iter()
            .filter(|(_, path)| path.starts_with(folder))
            .map(|(watch, _)| watch.clone())
            .collect();
        for watch in gone {
            self.watching.remove(&watch);
            // It may have ended by itself.
            let _ = self.watches.remove(watch);
        }
    }

    fn is_inside(&self, path: &Path) -> bool {
        self.watched.folders.iter().any(|folder| path.starts_with(folder))
    }

    fn is_ignored(&self, path: &Path, is_folder: bool) -> bool {
        self.ignored.iter().any(|ignored| ignored.takes(path, is_folder))
    }

    fn note(&mut self, path: PathBuf) {
        let saved = saved(&path);
        self.pending.paths.insert(path);
        self.begin(saved);
    }

    fn begin(&mut self, saved: Instant) {
        self.pending.saved = self.pending.saved.max(Some(saved));
        let now = Instant::now();
        let first = self.since.map_or(now, |(first, _)| first);
        self.since = Some((first, now));
    }
}

/// When a file was saved: the kernel notes it, and the word of it comes a little later.
fn saved(path: &Path) -> Instant {
    let now = Instant::now();
    let Ok(about) = path.symlink_metadata() else { return now };
    let (seconds, nanos) = (about.ctime().try_into(), about.ctime_nsec().try_into());
    let (Ok(seconds), Ok(nanos)) = (seconds, nanos) else { return now };
    let changed = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
    let ago = changed.elapsed().ok().filter(|ago| *ago < LATEST_WORD);
    ago.and_then(|ago| now.checked_sub(ago)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use futures_util::FutureExt;
    use tokio::time::timeout;

    use super::*;

    struct Project {
        folder: tempfile::TempDir,
        files: Files,
    }

    impl Project {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join("f/sub/node_modules")).unwrap();
            fs::write(folder.path().join("f/a"), "1").unwrap();
            let mut files = Files::new(folder.path()).unwrap();
            let watched = Watched {
                folders: [folder.path().join("f")].into(),
                files: [folder.path().join("stack.yml")].into(),
            };
            files.watch(watched).unwrap();
            Self { folder, files }
        }

        fn at(&self, path: &str) -> PathBuf {
            self.folder.path().join(path)
        }

        fn write(&self, path: &str) {
            fs::write(self.at(path), "2").unwrap();
        }

        async fn next(&mut self) -> Vec<String> {
            let changes = self.files.next().await.unwrap();
            assert!(!changes.lost && changes.saved.is_some());
            let inside = |path: &PathBuf| {
                path.strip_prefix(self.folder.path()).unwrap().display().to_string()
            };
            changes.paths.iter().map(inside).collect()
        }
    }

    #[tokio::test]
    async fn what_comes_together_is_told_together_and_the_rest_not_at_all() {
        let mut project = Project::new();
        project.write("f/.a.swp");
        project.write("f/sub/node_modules/x");
        project.write("f/gone");
        fs::remove_file(project.at("f/gone")).unwrap();
        project.write("other");
        project.write("f/a");
        project.write("f/sub/ö b");
        project.write("stack.yml");
        assert_eq!(project.next().await, ["f/a", "f/sub/ö b", "stack.yml"]);
    }

    #[tokio::test]
    async fn being_asked_again_and_again_puts_nothing_off() {
        let mut project = Project::new();
        project.write("f/a");
        while project.files.since.is_none() {
            let asked = timeout(Duration::from_millis(1), project.next()).await;
            assert!(asked.is_err(), "it is not whole yet");
        }
        tokio::time::sleep(2 * QUIET).await;
        assert!(project.next().now_or_never().is_some());
    }

    #[tokio::test]
    async fn saves_by_rename_links_and_removals() {
        let mut project = Project::new();
        project.write("f/new");
        fs::rename(project.at("f/new"), project.at("f/a")).unwrap();
        assert_eq!(project.next().await, ["f/a"]);
        symlink("a", project.at("f/link")).unwrap();
        assert_eq!(project.next().await, ["f/link"]);
        fs::remove_file(project.at("f/a")).unwrap();
        assert_eq!(project.next().await, ["f/a"]);
    }

    #[tokio::test]
    async fn folders_that_come_and_go() {
        let mut project = Project::new();
        fs::create_dir(project.at("new")).unwrap();
        project.write("new/x");
        fs::rename(project.at("new"), project.at("f/new")).unwrap();
        assert_eq!(project.next().await, ["f/new/x"]);
        project.write("f/new/y");
        assert_eq!(project.next().await, ["f/new/y"]);
        fs::rename(project.at("f/new"), project.at("away")).unwrap();
        assert_eq!(project.next().await, ["f/new"]);
        project.write("away/y");
        // As a checkout of another branch does.
        fs::remove_dir_all(project.at("f")).unwrap();
        while !project.next().await.contains(&"f".to_owned()) {}
        fs::create_dir(project.at("f")).unwrap();
        project.write("f/a");
        assert_eq!(project.next().await, ["f/a"]);
    }

    #[tokio::test]
    async fn a_new_list_counts_at_once() {
        let mut project = Project::new();
        fs::write(project.at("f/.gitignore"), "*.log\n").unwrap();
        assert_eq!(project.next().await, ["f/.gitignore"]);
        project.write("f/x.log");
        project.write("f/a");
        assert_eq!(project.next().await, ["f/a"]);
    }
}
