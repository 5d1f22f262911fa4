//! Log lines of replicas, merged by time.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use jiff::Timestamp;

use super::core::{Core, not_found};
use super::group::Stage;
use super::seen::Seen;
use crate::merge::merge;
use crate::words::LAST_WORDS_CHARS;
use crate::{LogLine, LogQuery, Name, Result};

/// How many of a replica's last lines its status shows.
const LAST_WORDS: u64 = 3;

/// Lines of one replica.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Its function.
    pub(crate) name: Name,
    /// Our id of it.
    pub(crate) replica: String,
    /// The engine's id of it.
    pub(crate) id: String,
}

/// Which lines of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Range {
    /// At most so many, the last ones.
    pub(crate) tail: Option<u64>,
    /// None from before then.
    pub(crate) since: Option<Timestamp>,
    /// Those that are written from now on too.
    pub(crate) follow: bool,
}

impl Source {
    /// The lines of this replica.
    pub(super) fn of(name: &Name, seen: &Seen) -> Self {
        Self { name: name.clone(), replica: seen.replica.clone(), id: seen.id.clone() }
    }
}

impl Core {
    /// Log lines; see [`crate::Provider::logs`].
    pub(super) fn logs(
        self: &Arc<Self>,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogLine>>> {
        if self.read(&query.name, |group| group.wanted().is_none()) {
            return Err(not_found(&query.name));
        }
        if query.follow {
            return Ok(self.follow_logs(query));
        }
        let range = Range { tail: query.tail, since: query.since, follow: false };
        let sources = self.sources(&query.name, query.instance.as_deref());
        let streams = sources.into_iter().map(|source| self.engine.log_lines(source, range));
        Ok(merge(streams.collect()))
    }

    /// The replicas of a function, or the one that is asked for.
    pub(super) fn sources(&self, name: &Name, instance: Option<&str>) -> Vec<Source> {
        self.read(name, |group| {
            let asked =
                group.members.values().filter(|member| member.stage != Stage::Spare).filter(
                    |member| instance.is_none_or(|instance| instance == member.seen.replica),
                );
            asked.map(|member| Source::of(name, &member.seen)).collect()
        })
    }

    /// The last lines that a replica wrote, for people.
    pub(super) async fn last_words(&self, source: Source) -> String {
        let range = Range { tail: Some(LAST_WORDS), ..Range::default() };
        let lines: Vec<_> = self.engine.log_lines(source, range).collect().await;
        let texts: Vec<_> = lines.into_iter().flatten().map(|line| line.text).collect();
        texts.join("; ").chars().take(LAST_WORDS_CHARS).collect()
    }
}
