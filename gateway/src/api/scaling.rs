//! How a function is scaled, and why it has as many replicas as it has.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::uri::PathAndQuery;
use jiff::Timestamp;
use provider::{Scale, format_duration};
use serde::Serialize;
use tokio::time::Instant;

use super::functions::{InNamespace, not_found, synced};
use super::{Api, Shared, name_in};
use crate::directory::Entry;
use crate::error::{Error, Result};
use crate::peers::PEER_HEADER;
use crate::scaling::Record;

/// Everything that explains a function's replicas.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Scaling {
    name: String,
    namespace: String,
    policy: Policy,
    /// Replicas that are wanted.
    replicas: u32,
    /// Replicas that take calls.
    available_replicas: usize,
    frozen: bool,
    /// Calls that have begun and not ended, at all gateways, those that wait for a replica among
    /// them.
    in_flight: i64,
    /// Calls that wait at this gateway.
    waiting: i64,
    /// Replicas that a scheduled window keeps now; 0 when none is open.
    scheduled_replicas: u32,
    /// The last decisions, the newest first.
    decisions: Vec<Record>,
}

/// What the labels say, with the defaults of those that are not there.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    min: u32,
    max: u32,
    #[serde(rename = "type")]
    measure: String,
    target: f64,
    target_proportion: f64,
    factor: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    down_window: Option<String>,
    zero: bool,
    zero_duration: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    freeze_after: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    schedule: String,
    prepared: u32,
}

/// `GET /system/function/{name}/scaling`. The gateway that leads answers: it has the decisions.
pub(super) async fn show(
    State(api): Shared,
    Path(name): Path<String>,
    Query(query): Query<InNamespace>,
    request: Parts,
) -> Result<Response> {
    let name = name_in(&name, query.namespace.as_deref())?;
    synced(&api)?;
    let entry = api.directory.find(&name).ok_or_else(|| not_found(&name))?;
    let is_passed_on = request.headers.contains_key(PEER_HEADER);
    match api.circle.lead.elsewhere().filter(|_| !is_passed_on) {
        Some(leader) => pass_on(&api, leader, &request).await,
        None => Ok(Json(Scaling::of(&entry, &api)).into_response()),
    }
}

/// Has the gateway that leads answer.
async fn pass_on(
    api: &Api,
    (leader, url): (String, Option<String>),
    request: &Parts,
) -> Result<Response> {
    let away = |reason: String| Error::LeaderAway { leader: leader.clone(), reason };
    let url = url.ok_or_else(|| away("it does not say where it is reached".to_owned()))?;
    let path = request.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let authorization = request.headers.get(AUTHORIZATION);
    let answer = api.circle.client.ask(&url, path, authorization).await;
    let answer = answer.map_err(|failure| away(failure.to_string()))?;
    let mut response = (answer.status, answer.body).into_response();
    if let Some(kind) = answer.content_type {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    Ok(response)
}

impl Scaling {
    fn of(entry: &Entry, api: &Api) -> Self {
        let elsewhere = api.circle.tally.seen(&entry.label, Instant::now());
        let elsewhere = i64::try_from(elsewhere.in_flight).unwrap_or(i64::MAX);
        let here = entry.live.metrics.in_flight.get();
        Self {
            name: entry.name.function().to_owned(),
            namespace: entry.name.namespace().to_owned(),
            policy: Policy::of(&entry.scale, api.provider.info().freezes),
            replicas: entry.status.desired,
            available_replicas: entry.ready(),
            frozen: entry.is_frozen(),
            in_flight: here.saturating_add(elsewhere),
            waiting: i64::try_from(entry.live.queue.len()).unwrap_or(i64::MAX),
            scheduled_replicas: entry.scale.schedule.floor(Timestamp::now()),
            decisions: entry.live.journal.read(),
        }
    }
}

impl Policy {
    fn of(scale: &Scale, freezes: bool) -> Self {
        Self {
            min: scale.min,
            max: scale.max,
            measure: scale.measure.label().to_owned(),
            target: scale.target,
            target_proportion: scale.proportion,
            factor: scale.factor,
            down_window: scale.down_window.map(format_duration),
            zero: scale.zero,
            zero_duration: format_duration(scale.zero_duration),
            freeze_after: scale.freeze_after.filter(|_| freezes).map(format_duration),
            schedule: scale.schedule.to_string(),
            prepared: scale.prepared,
        }
    }
}
