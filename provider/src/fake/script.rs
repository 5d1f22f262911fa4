//! What a test can make the fake do, and see of it.

use std::collections::BTreeMap;

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, future};
use jiff::Timestamp;
use tokio_stream::wrappers::BroadcastStream;

use super::{
    Address, Error, Fake, LogLine, LogQuery, Name, Replica, Result, State, Status, Target, Usage,
};

impl Fake {
    /// Where replicas that become ready from now on answer.
    pub fn set_address(&self, address: Address) {
        self.world().address = address;
    }

    /// Keeps new replicas in [`State::Starting`] until [`Fake::make_ready`].
    pub fn hold(&self, held: bool) {
        self.world().held = held;
    }

    /// Makes every starting replica of the wanted generation ready; older ones drain.
    pub fn make_ready(&self, name: &Name) {
        let mut world = self.world();
        let address = world.address.clone();
        let Some(status) = world.functions.get_mut(name) else { return };
        let wanted = status.generation;
        for replica in status.replicas.iter_mut().filter(|r| r.generation == wanted) {
            if replica.state == State::Starting {
                replica.state = State::Ready;
                replica.address = Some(address.clone());
            }
        }
        for replica in status.replicas.iter_mut().filter(|r| r.generation < wanted) {
            if replica.state != State::Draining {
                replica.state = State::Draining;
                self.let_go(name, &replica.id);
            }
        }
        status.reason.clear();
        drop(world);
        self.publish(name);
    }

    /// Every ready replica ends by itself and is starting again.
    pub fn crash(&self, name: &Name, last_exit: &str) {
        self.edit(name, |status| {
            for replica in status.replicas.iter_mut().filter(|r| r.state == State::Ready) {
                replica.state = State::Starting;
                replica.address = None;
                replica.restarts += 1;
                last_exit.clone_into(&mut replica.last_exit);
            }
        });
    }

    /// Changes a status by hand and tells of it.
    pub fn edit(&self, name: &Name, change: impl FnOnce(&mut Status)) {
        if let Some(status) = self.world().functions.get_mut(name) {
            change(status);
        }
        self.publish(name);
    }

    /// The next `apply`, `remove`, `scale` or `logs` fails with this.
    pub fn fail_next(&self, error: Error) {
        self.world().failure = Some(error);
    }

    /// Whether the backend answers; when not, every operation says so.
    pub fn set_healthy(&self, healthy: bool) {
        self.world().healthy = healthy;
    }

    /// Whether replicas can be frozen; when not, asking for it is refused.
    pub fn set_freezes(&self, freezes: bool) {
        self.world().freezes = freezes;
    }

    /// Tells watchers everything again, as after a lost connection.
    pub fn reset(&self) {
        let all: BTreeMap<_, _> = self.world().functions.clone();
        self.0.feed.reset(all);
    }

    /// What replicas use from now on.
    pub fn set_usage(&self, usage: Vec<Usage>) {
        self.world().usage = usage;
    }

    /// Every call of `scale` so far, the failed ones too.
    pub fn scales(&self) -> Vec<(Name, Target)> {
        self.world().scales.clone()
    }

    /// What the fake holds of a function now.
    pub fn status(&self, name: &Name) -> Option<Status> {
        self.world().functions.get(name).cloned()
    }

    /// A replica writes a line.
    pub fn log(&self, name: &Name, instance: &str, text: &str) {
        let line = LogLine {
            name: name.function().to_owned(),
            namespace: name.namespace().to_owned(),
            instance: instance.to_owned(),
            timestamp: Timestamp::now(),
            text: text.to_owned(),
        };
        self.world().lines.push(line.clone());
        let _nobody_follows = self.0.logs.send(line);
    }

    pub(super) fn publish(&self, name: &Name) {
        let world = self.world();
        match world.functions.get(name) {
            Some(status) => self.0.feed.set(name, status.clone()),
            None => self.0.feed.remove(name),
        }
    }

    pub(super) fn read_logs(&self, query: LogQuery) -> Result<BoxStream<'static, Result<LogLine>>> {
        let world = self.world();
        if !world.functions.contains_key(&query.name) {
            return Err(Error::NotFound(query.name.to_string()));
        }
        let mut lines: Vec<_> = world.lines.iter().filter(|l| wanted(&query, l)).cloned().collect();
        if let Some(tail) = query.tail {
            lines.drain(..lines.len().saturating_sub(tail as usize));
        }
        let old = stream::iter(lines);
        if !query.follow {
            return Ok(old.map(Ok).boxed());
        }
        let live = BroadcastStream::new(self.0.logs.subscribe());
        let live = live.filter_map(|line| future::ready(line.ok()));
        let live = live.filter(move |line| future::ready(wanted(&query, line)));
        Ok(old.chain(live).map(Ok).boxed())
    }
}

fn wanted(query: &LogQuery, line: &LogLine) -> bool {
    line.name == query.name.function()
        && line.namespace == query.name.namespace()
        && query.instance.as_ref().is_none_or(|instance| *instance == line.instance)
        && query.since.is_none_or(|since| line.timestamp >= since)
}

/// Moves the replicas in one state to another.
pub(super) fn turn(status: &mut Status, from: State, to: State) {
    let moved = |r: &&mut Replica| r.state == from;
    status.replicas.iter_mut().filter(moved).for_each(|replica| replica.state = to);
}
