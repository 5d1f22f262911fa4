//! The last status of every function, and who wants to hear of changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::{Event, Name, Status};

/// Changes that a slow watcher may fall behind before it gets a fresh [`Event::Reset`].
const BACKLOG: usize = 1024;

/// What [`crate::Provider::watch`] serves: kept by one backend, watched by many.
pub(crate) struct Feed {
    statuses: Mutex<BTreeMap<Name, Status>>,
    changes: broadcast::Sender<Event>,
}

impl Feed {
    /// An empty feed.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { statuses: Mutex::default(), changes: broadcast::Sender::new(BACKLOG) })
    }

    /// Stores a status and tells of it, if it says anything new.
    pub(crate) fn set(&self, name: &Name, status: Status) {
        let mut statuses = self.lock();
        if statuses.get(name) == Some(&status) {
            return;
        }
        statuses.insert(name.clone(), status.clone());
        let _nobody_watches = self.changes.send(Event::Changed(Box::new(status)));
    }

    /// Forgets a function and tells of it, if it was there.
    pub(crate) fn remove(&self, name: &Name) {
        let mut statuses = self.lock();
        if statuses.remove(name).is_some() {
            let _nobody_watches = self.changes.send(Event::Gone(name.clone()));
        }
    }

    /// Puts all of this in the place of all that was known.
    pub(crate) fn reset(&self, all: BTreeMap<Name, Status>) {
        let mut statuses = self.lock();
        *statuses = all;
        let _nobody_watches = self.changes.send(snapshot(&statuses));
    }

    /// The last status of a function.
    #[cfg(any(feature = "replicas", feature = "kubernetes"))]
    pub(crate) fn get(&self, name: &Name) -> Option<Status> {
        self.lock().get(name).cloned()
    }

    /// Names of all functions.
    pub(crate) fn names(&self) -> Vec<Name> {
        self.lock().keys().cloned().collect()
    }

    /// All there is, then every change; ends when the feed is dropped.
    pub(crate) fn watch(self: &Arc<Self>) -> BoxStream<'static, Event> {
        let (first, receiver) = self.subscribe();
        let rest = stream::unfold((Arc::downgrade(self), receiver), |(feed, receiver)| async {
            let (event, receiver) = next(&feed, receiver).await?;
            Some((event, (feed, receiver)))
        });
        stream::once(async { first }).chain(rest).boxed()
    }

    fn subscribe(&self) -> (Event, broadcast::Receiver<Event>) {
        let statuses = self.lock();
        (snapshot(&statuses), self.changes.subscribe())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Status>> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next event; a watcher that fell behind starts over with everything.
async fn next(
    feed: &Weak<Feed>,
    mut receiver: broadcast::Receiver<Event>,
) -> Option<(Event, broadcast::Receiver<Event>)> {
    match receiver.recv().await {
        Ok(event) => Some((event, receiver)),
        Err(RecvError::Lagged(_)) => Some(feed.upgrade()?.subscribe()),
        Err(RecvError::Closed) => None,
    }
}

fn snapshot(statuses: &BTreeMap<Name, Status>) -> Event {
    Event::Reset(statuses.values().cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Function;

    fn status(service: &str, desired: u32) -> Status {
        let body = format!(r#"{{"service":"{service}","image":"i"}}"#);
        Status {
            function: Function::from_json(body.as_bytes()).unwrap(),
            desired,
            replicas: Vec::new(),
            generation: 1,
            created_at: jiff::Timestamp::UNIX_EPOCH,
            reason: String::new(),
            warnings: Vec::new(),
        }
    }

    #[tokio::test]
    async fn watchers_get_all_then_changes_and_no_repeats() {
        let feed = Feed::new();
        let name = Name::parse("a").unwrap();
        feed.set(&name, status("a", 1));
        let mut watch = feed.watch();
        assert!(matches!(watch.next().await, Some(Event::Reset(all)) if all.len() == 1));
        feed.set(&name, status("a", 1));
        feed.set(&name, status("a", 2));
        assert!(matches!(watch.next().await, Some(Event::Changed(s)) if s.desired == 2));
        feed.remove(&name);
        assert!(matches!(watch.next().await, Some(Event::Gone(gone)) if gone == name));
        drop(feed);
        assert!(watch.next().await.is_none());
    }

    #[tokio::test]
    async fn a_watcher_that_falls_behind_starts_over() {
        let feed = Feed::new();
        let mut watch = feed.watch();
        watch.next().await;
        let name = Name::parse("a").unwrap();
        for desired in 0..BACKLOG as u32 + 10 {
            feed.set(&name, status("a", desired));
        }
        let last = BACKLOG as u32 + 9;
        assert!(
            matches!(watch.next().await, Some(Event::Reset(all)) if all[0].desired == last),
            "the newest state, not the oldest change"
        );
    }
}
