//! Following log lines, of pods that start later too, and through broken connections.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::core::Core;
use super::jitter;
use super::logs::{Range, Source};
use super::state::Key;
use crate::{LogLine, LogQuery, Result};

/// Lines that may wait for a slow reader before pods' streams are held up.
const BACKLOG: usize = 256;
/// Pause before a stream that ended is taken up again; it doubles each time that nothing comes.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// Attaches to pods as they come; ends when the function is gone.
struct Follower {
    core: Arc<Core>,
    key: Key,
    query: LogQuery,
    lines: mpsc::Sender<Result<LogLine>>,
    /// One task a pod that is attached; it returns the pod and how far it came.
    readers: JoinSet<(String, Place)>,
    /// Pods that were ever attached and are still there: `None` while they are.
    seen: HashMap<String, Option<Place>>,
}

/// How far a pod's lines were read.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The time of the last line.
    last: Option<Timestamp>,
    /// What is waited before it is gone on.
    pause: Duration,
}

impl Core {
    /// Lines now and to come. Dropping the stream ends all that feeds it.
    pub(super) fn follow_logs(
        self: &Arc<Self>,
        key: Key,
        query: LogQuery,
    ) -> BoxStream<'static, Result<LogLine>> {
        let (lines, receiver) = mpsc::channel(BACKLOG);
        let (readers, seen) = Default::default();
        let follower = Follower { core: self.clone(), key, query, lines, readers, seen };
        let mut tasks = JoinSet::new();
        tasks.spawn(follower.run());
        let next = |(mut receiver, tasks): (mpsc::Receiver<_>, JoinSet<()>)| async {
            let line = receiver.recv().await?;
            Some((line, (receiver, tasks)))
        };
        stream::unfold((receiver, tasks), next).boxed()
    }
}

impl Follower {
    async fn run(mut self) {
        let mut changes = self.core.changes.subscribe();
        let first = Range { tail: self.query.tail, since: self.query.since, follow: true };
        for source in self.core.sources(&self.key, &self.query) {
            self.attach(source, first, Place::beginning());
        }
        loop {
            let is_gone = self.core.read(&self.key, |known| known.wanted().is_none());
            if is_gone && self.readers.is_empty() {
                return;
            }
            tokio::select! {
                changed = changes.changed() => match changed {
                    Err(_) => return,
                    Ok(()) if is_gone => {}
                    Ok(()) => self.attach_running(),
                },
                Some(Ok((pod, place))) = self.readers.join_next() => {
                    self.seen.insert(pod, Some(place));
                    if !is_gone {
                        self.attach_running();
                    }
                }
            }
        }
    }

    /// Pods that run and are not attached, from where they were left.
    fn attach_running(&mut self) {
        let sources = self.core.sources(&self.key, &self.query);
        self.seen.retain(|pod, place| place.is_none() || sources.iter().any(|s| s.pod == *pod));
        for source in sources.into_iter().filter(|source| source.is_running) {
            let place = match self.seen.get(&source.pod) {
                Some(None) => continue,
                Some(Some(place)) => *place,
                None => Place::beginning(),
            };
            let since = place.last.or(self.query.since);
            self.attach(source, Range { tail: None, since, follow: true }, place);
        }
    }

    /// Reads a pod's lines after the one that was read last.
    fn attach(&mut self, source: Source, range: Range, place: Place) {
        let pod = source.pod.clone();
        self.seen.insert(pod.clone(), None);
        let (core, lines) = (self.core.clone(), self.lines.clone());
        self.readers.spawn(async move {
            sleep(jitter(place.pause)).await;
            let mut read = core.lines(source, range);
            let mut last = place.last;
            // Whatever ends this, it is taken up again while the pod is there.
            while let Some(Ok(line)) = read.next().await {
                if place.last.is_some_and(|last| line.timestamp <= last) {
                    continue;
                }
                let time = line.timestamp;
                if lines.send(Ok(line)).await.is_err() {
                    break;
                }
                last = Some(time);
            }
            (pod, place.after(last))
        });
    }
}

impl Place {
    /// Nothing was read, and nothing is waited for.
    fn beginning() -> Self {
        Self { last: None, pause: Duration::ZERO }
    }

    /// The place after a stream: what told something is taken up again soon.
    fn after(self, last: Option<Timestamp>) -> Self {
        let longer = (self.pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE);
        Self { last, pause: if last == self.last { longer } else { FIRST_PAUSE } }
    }
}
