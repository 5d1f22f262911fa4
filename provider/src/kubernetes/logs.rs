//! Log lines of pods, as the API server hands them on from the nodes.

use std::sync::Arc;

use futures_util::io::{AsyncBufRead, AsyncBufReadExt};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, future};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;

use super::core::{Core, asked};
use super::error::away;
use super::state::{Key, Member};
use crate::merge::merge;
use crate::{Error, LogLine, LogQuery, Name, Result};

/// A longer line is cut into several.
const MAX_LINE_BYTES: usize = 1 << 20;

/// Lines of one pod.
#[derive(Clone, Debug)]
pub(super) struct Source {
    name: Name,
    key: Key,
    /// Its name, the replica's id.
    pub(super) pod: String,
    container: String,
    /// Whether its container runs.
    pub(super) is_running: bool,
}

/// Which lines of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Range {
    /// At most so many, the last ones.
    pub(super) tail: Option<u64>,
    /// None from before then.
    pub(super) since: Option<Timestamp>,
    /// Those that are written from now on too.
    pub(super) follow: bool,
}

impl Core {
    /// Log lines; see [`crate::Provider::logs`].
    pub(super) fn logs(
        self: &Arc<Self>,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogLine>>> {
        let key = self.existing(&query.name)?;
        if query.follow {
            return Ok(self.follow_logs(key, query));
        }
        let range = Range { tail: query.tail, since: query.since, follow: false };
        let sources = self.sources(&key, &query);
        Ok(merge(sources.into_iter().map(|source| self.lines(source, range)).collect()))
    }

    /// The pods of a function, or the one that is asked for.
    pub(super) fn sources(&self, key: &Key, query: &LogQuery) -> Vec<Source> {
        let asked = |pod: &str| query.instance.as_ref().is_none_or(|instance| instance == pod);
        let source = |(pod, member): (&String, &Member)| Source {
            name: query.name.clone(),
            key: key.clone(),
            pod: pod.clone(),
            container: member.seen.container.clone(),
            is_running: member.seen.is_running,
        };
        self.read(key, |known| {
            known.pods.iter().filter(|(pod, _)| asked(pod)).map(source).collect()
        })
    }

    /// One pod's lines. What has not begun has none.
    pub(super) fn lines(
        self: &Arc<Self>,
        source: Source,
        range: Range,
    ) -> BoxStream<'static, Result<LogLine>> {
        let core = self.clone();
        let opened = async move {
            match core.open(&source, range).await {
                Ok(reader) => read(source, reader),
                Err(Error::NotFound(_) | Error::Invalid { .. }) => stream::empty().boxed(),
                Err(error) => stream::iter([Err(error)]).boxed(),
            }
        };
        let wanted = move |line: &Result<LogLine>| match (line, range.since) {
            (Ok(line), Some(since)) => line.timestamp >= since,
            _ => true,
        };
        stream::once(opened).flatten().filter(move |line| future::ready(wanted(line))).boxed()
    }

    async fn open(
        &self,
        source: &Source,
        range: Range,
    ) -> Result<impl AsyncBufRead + Send + Unpin + 'static> {
        let params = LogParams {
            container: Some(source.container.clone()).filter(|name| !name.is_empty()),
            follow: range.follow,
            // Whole seconds count there; the rest is sorted out on the way.
            since_time: range.since.and_then(|t| Timestamp::from_second(t.as_second()).ok()),
            tail_lines: range.tail.map(|tail| i64::try_from(tail).unwrap_or(i64::MAX)),
            timestamps: true,
            ..LogParams::default()
        };
        let api = Api::<Pod>::namespaced(self.client.clone(), &source.key.namespace);
        let what = format!("log of pod {}", source.pod);
        let stream = asked(&what, api.log_stream(&source.pod, &params)).await?;
        Ok(Box::pin(stream))
    }
}

/// What is known while a pod's lines are read.
struct Reading<R> {
    source: Source,
    reader: R,
    /// The time of the last line, for what is cut off from it.
    last: Timestamp,
    is_over: bool,
}

fn read<R>(source: Source, reader: R) -> BoxStream<'static, Result<LogLine>>
where
    R: AsyncBufRead + Send + Unpin + 'static,
{
    let begin = Reading { source, reader, last: Timestamp::UNIX_EPOCH, is_over: false };
    let next = |mut reading: Reading<R>| async {
        if reading.is_over {
            return None;
        }
        match line(&mut reading.reader).await {
            Ok(Some(bytes)) => Some((Ok(reading.parse(&bytes)), reading)),
            Ok(None) => None,
            Err(error) => {
                reading.is_over = true;
                Some((Err(away(error.to_string())), reading))
            }
        }
    };
    stream::unfold(begin, next).boxed()
}

impl<R> Reading<R> {
    /// A line begins with its time.
    fn parse(&mut self, bytes: &[u8]) -> LogLine {
        let text = String::from_utf8_lossy(bytes);
        let stamped =
            text.split_once(' ').and_then(|(time, text)| Some((time.parse().ok()?, text)));
        let (time, text) = stamped.unwrap_or((self.last, &text));
        self.last = time;
        LogLine {
            name: self.source.name.function().to_owned(),
            namespace: self.source.name.namespace().to_owned(),
            instance: self.source.pod.clone(),
            timestamp: time,
            text: text.trim_end_matches('\r').to_owned(),
        }
    }
}

/// The next line without its end, or as much of it as is taken at once.
async fn line(reader: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    loop {
        let read = reader.fill_buf().await?;
        if read.is_empty() {
            return Ok((!bytes.is_empty()).then_some(bytes));
        }
        let room = MAX_LINE_BYTES - bytes.len();
        let end = read.iter().take(room).position(|byte| *byte == b'\n');
        let part = end.unwrap_or(read.len().min(room));
        bytes.extend_from_slice(&read[..part]);
        let taken = part + usize::from(end.is_some());
        reader.consume_unpin(taken);
        if end.is_some() || bytes.len() == MAX_LINE_BYTES {
            return Ok(Some(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::io::Cursor;

    use super::*;

    async fn texts(log: &[u8]) -> Vec<(i64, String)> {
        let source = Source {
            name: Name::parse("echo").unwrap(),
            key: Key { namespace: "fns".to_owned(), function: "echo".to_owned() },
            pod: "echo-1".to_owned(),
            container: "echo".to_owned(),
            is_running: true,
        };
        let lines: Vec<_> = read(source, Cursor::new(log.to_vec())).collect().await;
        let line = |line: Result<LogLine>| {
            let line = line.unwrap();
            (line.timestamp.as_second(), line.text)
        };
        lines.into_iter().map(line).collect()
    }

    #[tokio::test]
    async fn lines_have_their_time_and_may_be_empty_or_unfinished() {
        let log = b"1970-01-01T00:00:01.000000001Z one\r\n1970-01-01T00:00:02Z \n\
                    1970-01-01T00:00:03Z with a space\n1970-01-01T00:00:04Z half";
        let want = [(1, "one"), (2, ""), (3, "with a space"), (4, "half")];
        assert_eq!(texts(log).await, want.map(|(second, text)| (second, text.to_owned())));
    }

    #[tokio::test]
    async fn a_long_line_is_cut_and_keeps_its_time() {
        let mut log = b"1970-01-01T00:00:05Z ".to_vec();
        log.resize(MAX_LINE_BYTES + 10, b'x');
        let lines = texts(&log).await;
        assert_eq!((lines.len(), lines[1].clone()), (2, (5, "x".repeat(10))));
    }

    #[tokio::test]
    async fn what_is_not_utf8_is_shown_as_well_as_it_can_be() {
        let lines = texts(b"1970-01-01T00:00:01Z \xff!\n").await;
        assert_eq!(lines, [(1, "\u{fffd}!".to_owned())]);
    }
}
