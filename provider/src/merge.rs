//! Log lines of several replicas, merged by time.

use std::pin::Pin;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, Peekable};
use jiff::Timestamp;

use crate::{LogLine, Result};

/// Merges streams that are each in order.
pub(crate) fn merge(
    streams: Vec<BoxStream<'static, Result<LogLine>>>,
) -> BoxStream<'static, Result<LogLine>> {
    let heads: Vec<_> = streams.into_iter().map(|stream| Box::pin(stream.peekable())).collect();
    let next = |mut heads: Vec<Pin<Box<Peekable<_>>>>| async {
        let mut first: Option<(usize, Option<Timestamp>)> = None;
        for (index, head) in heads.iter_mut().enumerate() {
            let Some(line) = head.as_mut().peek().await else { continue };
            let line: &Result<LogLine> = line;
            // An error has no time: it comes at once.
            let time = line.as_ref().ok().map(|line| line.timestamp);
            if first.is_none_or(|(_, earliest)| time < earliest) {
                first = Some((index, time));
            }
        }
        let line = heads[first?.0].next().await?;
        Some((line, heads))
    };
    stream::unfold(heads, next).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn streams_are_merged_by_time() {
        let line = |second: i64| LogLine {
            name: String::new(),
            namespace: String::new(),
            instance: String::new(),
            timestamp: Timestamp::from_second(second).unwrap(),
            text: second.to_string(),
        };
        let streams = vec![
            stream::iter(vec![Ok(line(1)), Ok(line(4))]).boxed(),
            stream::iter(vec![Ok(line(2)), Ok(line(3))]).boxed(),
            stream::empty().boxed(),
        ];
        let merged: Vec<_> = merge(streams).map(|line| line.unwrap().text).collect().await;
        assert_eq!(merged, ["1", "2", "3", "4"]);
    }
}
