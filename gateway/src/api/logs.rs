//! Logs as lines of JSON (contract 1.11).

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::response::Response;
use futures_util::StreamExt;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use jiff::Timestamp;
use provider::{Error as ProviderError, LogLine, LogQuery, Name};

use super::{Shared, name_in};
use crate::error::{Error, Result};

/// What is shown when neither `tail` nor `since` says (contract 1.11).
const DEFAULT_SINCE: Duration = Duration::from_secs(5 * 60);

/// `GET /system/logs`.
pub(super) async fn logs(State(api): Shared, RawQuery(query): RawQuery) -> Result<Response> {
    let query = parse(&query.unwrap_or_default(), Timestamp::now())?;
    let not_found = || ProviderError::NotFound(format!("function {}", query.name));
    api.directory.find(&query.name).ok_or_else(not_found)?;
    let lines = api.provider.logs(query).await?.map(|line| line.map(|line| json_line(&line)));
    let mut stopping = api.stopping.clone();
    let lines = lines.take_until(Box::pin(async move { stopping.wait().await }));
    let mut response = Response::new(Body::from_stream(lines));
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

fn json_line(line: &LogLine) -> Bytes {
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

/// Reads the query; of a repeated parameter the last value counts.
fn parse(query: &str, now: Timestamp) -> Result<LogQuery> {
    let (mut name, mut namespace) = (String::new(), String::new());
    let (mut instance, mut tail, mut follow, mut since) = (None, None, false, None);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "name" => name = value.into_owned(),
            "namespace" => namespace = value.into_owned(),
            "instance" => instance = Some(value.into_owned()).filter(|v| !v.is_empty()),
            "tail" => tail = parse_tail(&value)?,
            "follow" => follow = matches!(&*value, "1" | "t" | "T" | "true" | "TRUE" | "True"),
            "since" => since = parse_since(&value)?,
            _ => {}
        }
    }
    let name = parse_name(&name, &namespace)?;
    if tail.is_none() && since.is_none() {
        since = Some(now - jiff::SignedDuration::try_from(DEFAULT_SINCE).unwrap_or_default());
    }
    Ok(LogQuery { name, instance, tail, follow, since })
}

fn parse_name(name: &str, namespace: &str) -> Result<Name> {
    if name.is_empty() {
        return Err(ProviderError::invalid("name", "is required").into());
    }
    name_in(name, Some(namespace))
}

/// `-1` and nothing both mean no limit.
fn parse_tail(value: &str) -> Result<Option<u64>> {
    if value.is_empty() {
        return Ok(None);
    }
    let lines: i64 = value.parse().map_err(|_| {
        Error::from(ProviderError::invalid("tail", format!("{value:?} is not a number of lines")))
    })?;
    Ok(u64::try_from(lines).ok())
}

fn parse_since(value: &str) -> Result<Option<Timestamp>> {
    if value.is_empty() {
        return Ok(None);
    }
    let bad = |_| ProviderError::invalid("since", format!("{value:?} is not an RFC 3339 time"));
    Ok(Some(value.parse().map_err(bad)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-02T03:10:00Z".parse().unwrap()
    }

    #[test]
    fn five_minutes_are_the_default() {
        let query = parse("name=echo&follow=bad", now()).unwrap();
        assert_eq!(query.since.unwrap().to_string(), "2026-01-02T03:05:00Z");
        assert!(!query.follow);
        assert!(parse("name=echo&tail=-1", now()).unwrap().tail.is_none());
        assert!(parse("name=echo&tail=9", now()).unwrap().since.is_none());
    }

    #[test]
    fn the_last_value_counts() {
        let query = parse("name=a&name=b.dev&tail=1&tail=2&follow=1", now()).unwrap();
        assert_eq!((query.name.to_string().as_str(), query.tail), ("b.dev", Some(2)));
        assert!(query.follow);
    }

    #[test]
    fn bad_values_are_named() {
        for (text, field) in [("name=a&tail=x", "tail"), ("name=a&since=x", "since"), ("", "name")]
        {
            assert!(parse(text, now()).unwrap_err().to_string().starts_with(field), "{text}");
        }
    }
}
