//! A replica's log: two files, the older one put aside when the newer began.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use jiff::Timestamp;
use tokio::sync::watch;

use super::refused;
use super::watch::{Folders, Watched};
use crate::confine::Layout;
use crate::replicas::logs::{Range, Source};
use crate::replicas::seen::Phase;
use crate::{LogLine, Result};

/// How much is read at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// A longer line is cut into several.
const MAX_LINE_BYTES: usize = 1 << 20;

/// One replica's log, and how to know when more comes.
pub(super) struct Log {
    pub(super) layout: Layout,
    pub(super) folders: Arc<Folders>,
    /// The replica's phase; lines come while it is up.
    pub(super) phase: watch::Receiver<Phase>,
}

impl Log {
    /// Its lines; those that follow end when it stops.
    pub(super) fn lines(self, source: Source, range: Range) -> BoxStream<'static, Result<LogLine>> {
        let reader = match Reader::open(self, source, range) {
            Ok(reader) => reader,
            Err(e) => return stream::once(async move { Err(refused(e.to_string())) }).boxed(),
        };
        let next = |mut reader: Reader| async {
            match reader.next().await {
                Ok(line) => Some((Ok(line?), reader)),
                Err(e) => {
                    reader.done = true;
                    Some((Err(refused(e.to_string())), reader))
                }
            }
        };
        stream::unfold(reader, next).boxed()
    }
}

struct Reader {
    log: Log,
    source: Source,
    range: Range,
    /// Present while lines are followed.
    watched: Option<Watched>,
    /// What is still to be read, the oldest first.
    files: VecDeque<File>,
    /// The begin of a line.
    rest: Vec<u8>,
    /// Lines that were read.
    lines: VecDeque<LogLine>,
    /// The last line's time, for one that has none.
    last: Timestamp,
    done: bool,
}

impl Reader {
    fn open(log: Log, source: Source, range: Range) -> io::Result<Self> {
        // Before the first look, so that nothing is missed between the two.
        let watched = range.follow.then(|| log.folders.watch(&log.layout.dir));
        let mut files = open_both(&log.layout)?;
        if let Some(tail) = range.tail {
            seek_tail(&mut files, tail)?;
        }
        Ok(Self {
            log,
            source,
            range,
            watched,
            files,
            rest: Vec::new(),
            lines: VecDeque::new(),
            last: Timestamp::UNIX_EPOCH,
            done: false,
        })
    }

    async fn next(&mut self) -> io::Result<Option<LogLine>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(Some(line));
            }
            if self.done {
                return Ok(None);
            }
            // Looked at first: all was written when it is not up any more.
            let up = is_up(*self.log.phase.borrow_and_update());
            if self.fill()? || self.reopen()? {
                continue;
            }
            let Some(watched) = self.watched.as_mut().filter(|_| up) else {
                self.done = true;
                continue;
            };
            tokio::select! {
                () = watched.changed() => {}
                changed = self.log.phase.changed() => {
                    // The replica is gone, and its gateway with it.
                    self.done = changed.is_err();
                }
            }
        }
    }

    /// Reads on; `false` when all that there is was read.
    fn fill(&mut self) -> io::Result<bool> {
        let Some(file) = self.files.front_mut() else { return Ok(false) };
        let mut chunk = vec![0; CHUNK_BYTES];
        let read = file.read(&mut chunk)?;
        if read > 0 {
            self.take(&chunk[..read]);
            return Ok(true);
        }
        if self.files.len() > 1 {
            self.files.pop_front();
            return Ok(true);
        }
        Ok(false)
    }

    /// Goes on to the file that is written now, when that is another one; `false` when it is not.
    fn reopen(&mut self) -> io::Result<bool> {
        let Some(now) = open(&self.log.layout.log())? else { return Ok(false) };
        let same = self.files.front().map(|file| is_same(file, &now)).transpose()?;
        if same == Some(true) {
            return Ok(false);
        }
        self.files.push_back(now);
        Ok(true)
    }

    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.rest.len() >= MAX_LINE_BYTES {
                let whole = std::mem::take(&mut self.rest);
                let line = self.line(&whole);
                let wanted = self.range.since.is_none_or(|since| line.timestamp >= since);
                self.lines.extend(wanted.then_some(line));
            }
        }
    }

    fn line(&mut self, bytes: &[u8]) -> LogLine {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_end_matches(['\n', '\r']);
        let (time, text) = text.split_once(' ').unwrap_or((text, ""));
        let (time, text) = match time.parse() {
            Ok(time) => (time, text.to_owned()),
            Err(_) => (self.last, format!("{time} {text}")),
        };
        self.last = time;
        LogLine {
            name: self.source.name.function().to_owned(),
            namespace: self.source.name.namespace().to_owned(),
            instance: self.source.replica.clone(),
            timestamp: time,
            text,
        }
    }
}

/// Whether something runs that may write.
pub(super) fn is_up(phase: Phase) -> bool {
    matches!(phase, Phase::Running | Phase::Paused)
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

fn is_same(one: &File, other: &File) -> io::Result<bool> {
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// Both files. The newer one is opened first: when it is put aside in between, it turns up twice,
/// and not never.
fn open_both(layout: &Layout) -> io::Result<VecDeque<File>> {
    let new = open(&layout.log())?;
    let old = open(&layout.old_log())?;
    let twice = match (&old, &new) {
        (Some(old), Some(new)) => is_same(old, new)?,
        _ => false,
    };
    Ok(old.filter(|_| !twice).into_iter().chain(new).collect())
}

/// Moves on to the last lines, over all files.
fn seek_tail(files: &mut VecDeque<File>, mut tail: u64) -> io::Result<()> {
    for file in files.iter_mut().rev() {
        tail -= seek_lines(file, tail)?;
    }
    Ok(())
}

/// Moves to the begin of a file's last lines; returns how many there are, up to the number that is
/// asked for.
fn seek_lines(file: &mut File, wanted: u64) -> io::Result<u64> {
    let mut begin = file.seek(SeekFrom::End(0))?;
    if wanted == 0 {
        return Ok(0);
    }
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut found = 0;
    // The line that ends where the file does begins after the newline before.
    let mut end = begin;
    while end > 0 {
        let size = end.min(CHUNK_BYTES as u64);
        let start = end - size;
        let bytes = &mut chunk[..usize::try_from(size).unwrap_or(CHUNK_BYTES)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(bytes)?;
        for (index, byte) in bytes.iter().enumerate().rev() {
            let after = start + index as u64 + 1;
            if *byte != b'\n' {
                continue;
            }
            if after < begin {
                found += 1;
                begin = after;
            }
            if found == wanted {
                file.seek(SeekFrom::Start(begin))?;
                return Ok(found);
            }
        }
        end = start;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(found + u64::from(begin > 0))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::*;
    use crate::Name;

    struct Scene {
        dir: tempfile::TempDir,
        folders: Arc<Folders>,
        phase: watch::Sender<Phase>,
    }

    impl Scene {
        fn new() -> Self {
            let (folders, reader) = Folders::open().unwrap();
            tokio::spawn(reader);
            let phase = watch::Sender::new(Phase::Running);
            Self { dir: tempfile::tempdir().unwrap(), folders: Arc::new(folders), phase }
        }

        fn layout(&self) -> Layout {
            Layout::new(self.dir.path())
        }

        fn write(&self, second: u32, text: &str) {
            let mut options = OpenOptions::new();
            let mut file = options.append(true).create(true).open(self.layout().log()).unwrap();
            writeln!(file, "2026-01-02T03:04:{second:02}.000000001Z {text}").unwrap();
        }

        fn rotate(&self) {
            fs::rename(self.layout().log(), self.layout().old_log()).unwrap();
        }

        fn read(&self, range: Range) -> BoxStream<'static, Result<LogLine>> {
            let log = Log {
                layout: self.layout(),
                folders: self.folders.clone(),
                phase: self.phase.subscribe(),
            };
            let name = Name::parse("echo").unwrap();
            let source = Source { name, replica: "echo.1".to_owned(), id: "echo.1".to_owned() };
            log.lines(source, range)
        }

        async fn texts(&self, range: Range) -> Vec<String> {
            self.read(range).map(|line| line.unwrap().text).collect().await
        }
    }

    #[tokio::test]
    async fn lines_of_both_files_by_tail_and_since() {
        let scene = Scene::new();
        assert!(scene.texts(Range::default()).await.is_empty());
        scene.write(1, "one");
        scene.write(2, "two words");
        scene.rotate();
        scene.write(3, "");
        scene.write(4, "four");
        assert_eq!(scene.texts(Range::default()).await, ["one", "two words", "", "four"]);
        for (tail, want) in [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (9, 4)] {
            let texts = scene.texts(Range { tail: Some(tail), ..Range::default() }).await;
            assert_eq!(texts, ["one", "two words", "", "four"][4 - want..], "{tail}");
        }
        let since = Some("2026-01-02T03:04:03Z".parse().unwrap());
        assert_eq!(scene.texts(Range { since, ..Range::default() }).await, ["", "four"]);
        let line = scene.read(Range::default()).next().await.unwrap().unwrap();
        assert_eq!((line.name.as_str(), line.instance.as_str()), ("echo", "echo.1"));
        assert_eq!(line.timestamp.to_string(), "2026-01-02T03:04:01.000000001Z");
    }

    #[tokio::test]
    async fn a_tail_over_many_chunks_is_exact() {
        let scene = Scene::new();
        let long = "x".repeat(1000);
        for _ in 0..300 {
            scene.write(1, &long);
        }
        let count = |tail| scene.texts(Range { tail: Some(tail), ..Range::default() });
        assert_eq!(count(200).await.len(), 200);
        assert!(count(200).await.iter().all(|text| *text == long));
        assert_eq!(count(301).await.len(), 300);
    }

    #[tokio::test]
    async fn lines_are_followed_through_a_rotation_to_the_end() {
        let scene = Scene::new();
        let mut lines = scene.read(Range { follow: true, ..Range::default() });
        let mut next = async || lines.next().await.map(|line| line.unwrap().text);
        scene.write(1, "one");
        assert_eq!(next().await.as_deref(), Some("one"));
        scene.write(2, "two");
        scene.rotate();
        scene.write(3, "three");
        assert_eq!(next().await.as_deref(), Some("two"));
        assert_eq!(next().await.as_deref(), Some("three"));
        scene.write(4, "last");
        scene.phase.send_replace(Phase::Restarting);
        assert_eq!(next().await.as_deref(), Some("last"));
        assert_eq!(next().await, None);
    }

    #[tokio::test]
    async fn what_has_no_time_takes_the_last_ones() {
        let scene = Scene::new();
        scene.write(1, "one");
        OpenOptions::new()
            .append(true)
            .open(scene.layout().log())
            .and_then(|mut file| file.write_all(b"torn line\n"))
            .unwrap();
        let lines: Vec<_> = scene.read(Range::default()).map(|line| line.unwrap()).collect().await;
        assert_eq!(lines[1].text, "torn line");
        assert_eq!(lines[1].timestamp, lines[0].timestamp);
    }
}
