//! Following log lines, of replicas that start later too.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::core::Core;
use super::logs::{Range, Source};
use super::seen::Phase;
use crate::{Event, LogLine, LogQuery, Name, Result};

/// Lines that may wait for a slow reader before containers' streams are held up.
const BACKLOG: usize = 256;

/// Attaches to containers as they come; ends when the function is gone.
struct Follower {
    core: Arc<Core>,
    query: LogQuery,
    lines: mpsc::Sender<Result<LogLine>>,
    /// One task a container that is attached; it returns the replica and its last line's time.
    readers: JoinSet<(String, Option<Timestamp>)>,
    /// Replicas that were ever attached: `None` while they are, else the time of the last line.
    seen: HashMap<String, Option<Timestamp>>,
    begin: Timestamp,
}

impl Core {
    /// Lines now and to come. Dropping the stream ends all that feeds it.
    pub(super) fn follow_logs(
        self: &Arc<Self>,
        query: LogQuery,
    ) -> BoxStream<'static, Result<LogLine>> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let follower = Follower {
            core: self.clone(),
            query,
            lines: sender,
            readers: JoinSet::new(),
            seen: HashMap::new(),
            begin: Timestamp::now(),
        };
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
        let mut events = self.core.feed.watch();
        let name = self.query.name.clone();
        self.attach_all();
        let mut gone = false;
        while !gone || !self.readers.is_empty() {
            tokio::select! {
                event = events.next(), if !gone => match event {
                    None => return,
                    Some(event) if is_gone(&event, &name) => gone = true,
                    Some(event) if concerns(&event, &name) => self.attach_running(),
                    Some(_) => {}
                },
                Some(Ok((replica, last))) = self.readers.join_next() => {
                    // Attached again when an event says that it runs: at once would be a busy
                    // loop around a container that is down.
                    self.seen.insert(replica, Some(last.unwrap_or(self.begin)));
                }
            }
        }
    }

    /// Everything there is, stopped containers too: they may have said something.
    fn attach_all(&mut self) {
        let range = match self.query.tail {
            // An engine counts back from when it is asked, which may be after the first new line.
            Some(0) => {
                Range { tail: None, since: self.query.since.max(Some(self.begin)), follow: true }
            }
            tail => Range { tail, since: self.query.since, follow: true },
        };
        for source in self.core.sources(&self.query.name, self.query.instance.as_deref()) {
            self.attach(source, range, None);
        }
    }

    /// Containers that run and are not attached, from where they were left.
    fn attach_running(&mut self) {
        for source in self.core.sources(&self.query.name, self.query.instance.as_deref()) {
            let phase = self.core.member(&self.query.name, &source.replica, |m| m.seen.phase);
            let last = match self.seen.get(&source.replica) {
                Some(None) => continue,
                Some(Some(last)) => Some(*last),
                None => None,
            };
            if matches!(phase, Some(Phase::Running | Phase::Restarting)) {
                let since = Some(last.unwrap_or(self.begin));
                self.attach(source, Range { tail: None, since, follow: true }, last);
            }
        }
    }

    /// Reads a container's lines after the one that was read last.
    fn attach(&mut self, source: Source, range: Range, mut last: Option<Timestamp>) {
        self.seen.insert(source.replica.clone(), None);
        let replica = source.replica.clone();
        let mut read = self.core.engine.log_lines(source, range);
        let lines = self.lines.clone();
        self.readers.spawn(async move {
            // An engine that goes away ends this; when it is back an event attaches again.
            while let Some(Ok(line)) = read.next().await {
                if last.is_some_and(|last| line.timestamp <= last) {
                    continue;
                }
                let time = line.timestamp;
                if lines.send(Ok(line)).await.is_err() {
                    break;
                }
                last = Some(time);
            }
            (replica, last)
        });
    }
}

fn is_gone(event: &Event, name: &Name) -> bool {
    matches!(event, Event::Gone(gone) if gone == name)
}

fn concerns(event: &Event, name: &Name) -> bool {
    match event {
        Event::Reset(_) => true,
        Event::Changed(status) => status.name().as_ref() == Some(name),
        Event::Gone(_) => false,
    }
}
