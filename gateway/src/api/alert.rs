//! Scaling by alert: Alertmanager's webhook (contract 4.3).

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use jiff::Timestamp;
use provider::{Name, Scale};
use serde::Deserialize;
use serde::de::Deserializer;
use tokio::time::{Instant, timeout_at};

use super::{Api, Shared, whole};
use crate::directory::Entry;
use crate::error::Result;
use crate::scaling::{Cause, Decision};

/// The answer to a body that is no alert, word for word (contract 4.3).
const BAD_FORMAT: &str = "Unable to parse alert, bad format.";
/// Most alerts of one message.
const MAX_ALERTS: usize = 10_000;
/// How long the answer waits for what the alerts ask for. Alertmanager sends again what takes too
/// long to be answered, and each time would add replicas.
const PATIENCE: Duration = Duration::from_secs(5);

/// What Alertmanager sends, as far as it is used.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Message {
    /// What fires, and what has been resolved.
    #[serde(deserialize_with = "null_is_empty")]
    pub alerts: Vec<Alert>,
}

/// One alert.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Alert {
    /// `firing` or `resolved`.
    #[serde(deserialize_with = "null_is_empty")]
    pub status: String,
    /// What it is about.
    #[serde(deserialize_with = "null_is_empty")]
    pub labels: Labels,
}

/// The labels of an alert, as far as they are used.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Labels {
    /// The function, `fn` or `fn.ns`; empty when it is about something else.
    #[serde(deserialize_with = "null_is_empty")]
    pub function_name: String,
}

fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Message {
    /// Reads one. `None` when it is none.
    pub fn from_json(body: &[u8]) -> Option<Self> {
        let message: Self = serde_json::from_slice(body).ok()?;
        (message.alerts.len() <= MAX_ALERTS).then_some(message)
    }
}

impl Alert {
    /// The function that it is about, if it is about one; the last dot splits.
    pub fn function(&self) -> Option<Name> {
        Name::parse(&self.labels.function_name).ok()
    }

    /// Whether there is too much to do.
    pub fn is_firing(&self) -> bool {
        self.status == "firing"
    }

    /// How many replicas there are to be. An alert that fires adds a part of the most, one that
    /// does not leaves the least; a function that sleeps is not woken for that.
    pub fn wanted(&self, current: u32, scale: &Scale) -> u32 {
        if !self.is_firing() {
            return if current == 0 { 0 } else { scale.min };
        }
        let most = u64::from(scale.max);
        let step = (most * u64::from(scale.factor)).div_ceil(100);
        u32::try_from((u64::from(current) + step).min(most)).unwrap_or(scale.max)
    }
}

/// `POST /system/alert`.
pub(super) async fn alert(State(api): Shared, body: Body) -> Result<Response> {
    let Some(message) = Message::from_json(&whole(body).await?) else {
        return Ok((StatusCode::BAD_REQUEST, BAD_FORMAT).into_response());
    };
    let begun: Vec<_> = message.alerts.iter().filter_map(|alert| begin(&api, alert)).collect();
    let (limit, mut failed) = (Instant::now() + PATIENCE, Vec::new());
    for scaling in begun {
        // What takes longer goes on, and is told in the function's journal.
        if let Ok(Ok(Err(error))) = timeout_at(limit, scaling).await {
            failed.push(error);
        }
    }
    if failed.is_empty() {
        return Ok(StatusCode::OK.into_response());
    }
    let mut text = String::new();
    for (number, error) in failed.iter().enumerate() {
        tracing::warn!(%error, "an alert did not scale its function");
        // Writing to memory does not fail.
        let _ = writeln!(text, "[{number}] {error}");
    }
    Ok((StatusCode::INTERNAL_SERVER_ERROR, text).into_response())
}

type Scaling = tokio::task::JoinHandle<provider::Result<()>>;

/// Begins what an alert asks for. `None` when that is nothing, or its function is not there.
fn begin(api: &Arc<Api>, alert: &Alert) -> Option<Scaling> {
    let entry = api.directory.find(&alert.function()?)?;
    let to = alert.wanted(entry.status.desired, &entry.scale);
    if to == entry.status.desired {
        if alert.is_firing() {
            hold(&entry);
        }
        return None;
    }
    let scaler = api.scaler.clone();
    Some(tokio::spawn(async move { scaler.scale(&entry.name, to, Cause::Alert).await }))
}

/// Writes down that an alert goes on to fire, so that whoever decides by load takes nothing away.
fn hold(entry: &Entry) {
    let now = entry.status.desired;
    let decision = Decision::new(Cause::Alert, now, now, "an alert goes on to fire");
    entry.live.journal.write(Timestamp::now(), decision);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(status: &str) -> Alert {
        Alert { status: status.to_owned(), ..Alert::default() }
    }

    #[test]
    fn an_alert_that_fires_adds_a_part_of_the_most_and_others_leave_the_least() {
        for (max, factor, current, wanted) in [
            (5, 10, 1, 2),
            (5, 20, 1, 2),
            (20, 10, 1, 3),
            (20, 20, 4, 8),
            (7, 100, 1, 7),
            (20, 20, 19, 20),
            (20, 20, 20, 20),
            (3, 1, 0, 1),
        ] {
            let scale = Scale { max, factor, ..Scale::default() };
            assert_eq!(alert("firing").wanted(current, &scale), wanted, "{max} {factor} {current}");
        }
        let scale = Scale { min: 2, max: 9, ..Scale::default() };
        for status in ["resolved", "", "FIRING", "other"] {
            assert_eq!(alert(status).wanted(7, &scale), 2);
        }
        assert_eq!(alert("resolved").wanted(0, &scale), 0, "it sleeps");
        let fixed = Scale { min: 3, max: 3, ..Scale::default() };
        assert_eq!(
            (alert("firing").wanted(3, &fixed), alert("resolved").wanted(3, &fixed)),
            (3, 3)
        );
    }

    #[test]
    fn messages_are_read_as_far_as_they_are_used() {
        let body = br#"{"receiver":"r","status":"firing","alerts":[
            {"status":"firing","labels":{"alertname":"A","function_name":"f.dev"},"x":1},
            {"status":"resolved","labels":{"function_name":"g"}},
            {"status":"firing","labels":{"function_name":"../x"}},
            {"status":null,"labels":null}, {}]}"#;
        let message = Message::from_json(body).unwrap();
        let names: Vec<_> =
            message.alerts.iter().map(|a| a.function().map(|name| name.to_string())).collect();
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(names, [named("f.dev"), named("g.openfaas-fn"), None, None, None]);
        assert!(message.alerts[0].is_firing() && !message.alerts[1].is_firing());
        for good in [&b"{}"[..], br#"{"alerts":null}"#, br#"{"alerts":[]}"#] {
            assert!(Message::from_json(good).unwrap().alerts.is_empty());
        }
        for bad in [&b""[..], b"[1]", b"no", br#"{"alerts":{}}"#, br#"{"alerts":[1]}"#] {
            assert!(Message::from_json(bad).is_none(), "{bad:?}");
        }
        let many = format!("{{\"alerts\":[{}{{}}]}}", "{},".repeat(MAX_ALERTS));
        assert!(Message::from_json(many.as_bytes()).is_none());
    }
}
