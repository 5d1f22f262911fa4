//! How a function is scaled, and why it has as many replicas as it has.

use axum::Json;
use axum::extract::{Path, Query, State};
use jiff::Timestamp;
use provider::{Measure, Scale, format_duration};
use serde::Serialize;

use super::functions::{InNamespace, not_found, synced};
use super::{Shared, name_in};
use crate::directory::Entry;
use crate::error::Result;
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
    /// Calls that have begun and not ended, those that wait for a replica among them.
    in_flight: i64,
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

/// `GET /system/function/{name}/scaling`.
pub(super) async fn show(
    State(api): Shared,
    Path(name): Path<String>,
    Query(query): Query<InNamespace>,
) -> Result<Json<Scaling>> {
    let name = name_in(&name, query.namespace.as_deref())?;
    synced(&api)?;
    let entry = api.directory.find(&name).ok_or_else(|| not_found(&name))?;
    Ok(Json(Scaling::of(&entry)))
}

impl Scaling {
    fn of(entry: &Entry) -> Self {
        let metrics = &entry.live.metrics;
        Self {
            name: entry.name.function().to_owned(),
            namespace: entry.name.namespace().to_owned(),
            policy: Policy::of(&entry.scale),
            replicas: entry.status.desired,
            available_replicas: entry.ready(),
            frozen: entry.is_frozen(),
            in_flight: metrics.in_flight.get(),
            waiting: i64::try_from(entry.live.queue.len()).unwrap_or(i64::MAX),
            scheduled_replicas: entry.scale.schedule.floor(Timestamp::now()),
            decisions: entry.live.journal.read(),
        }
    }
}

impl Policy {
    fn of(scale: &Scale) -> Self {
        let measure = match &scale.measure {
            Measure::Rps => "rps",
            Measure::Capacity => "capacity",
            Measure::Cpu => "cpu",
            Measure::Memory => "memory",
            Measure::Queue => "queue",
            Measure::Query(name) => name,
        };
        Self {
            min: scale.min,
            max: scale.max,
            measure: measure.to_owned(),
            target: scale.target,
            target_proportion: scale.proportion,
            factor: scale.factor,
            down_window: scale.down_window.map(format_duration),
            zero: scale.zero,
            zero_duration: format_duration(scale.zero_duration),
            freeze_after: scale.freeze_after.map(format_duration),
            schedule: scale.schedule.to_string(),
            prepared: scale.prepared,
        }
    }
}
