//! `faas describe --scaling`: why a function has as many replicas as it has.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;

/// Heads of the table of decisions.
const HEADS: [&str; 7] = ["LAST", "TIMES", "CAUSE", "REPLICAS", "LOAD", "NEED", "WHY"];

/// What the gateway tells.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Scaling {
    name: String,
    policy: Policy,
    replicas: u32,
    available_replicas: u32,
    frozen: bool,
    in_flight: i64,
    waiting: i64,
    scheduled_replicas: u32,
    decisions: Vec<Record>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Policy {
    min: u32,
    max: u32,
    #[serde(rename = "type")]
    measure: String,
    target: f64,
    target_proportion: f64,
    down_window: String,
    zero: bool,
    zero_duration: String,
    freeze_after: String,
    schedule: String,
    prepared: u32,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Record {
    last: String,
    count: u64,
    decision: Decision,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Decision {
    cause: String,
    from: u32,
    to: u32,
    frozen: bool,
    reason: String,
    numbers: Option<Numbers>,
    refused: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Numbers {
    now: Option<f64>,
    recent: Option<f64>,
    stable: Option<f64>,
    needed: u32,
}

/// The page for people.
pub(super) fn page(raw: &Value) -> Result<String> {
    let scaling = Scaling::deserialize(raw).context("the gateway's answer cannot be read")?;
    let mut text = String::new();
    for (key, value) in scaling.lines() {
        let key = format!("{key}:");
        let _ = writeln!(text, "{key:<20}{value}");
    }
    if !scaling.decisions.is_empty() {
        text.push('\n');
        text.push_str(&table(&scaling.decisions));
    }
    Ok(text)
}

impl Scaling {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let policy = &self.policy;
        let frozen = if self.frozen { ", frozen" } else { "" };
        let (wanted, ready) = (self.replicas, self.available_replicas);
        let per = short(policy.target * policy.target_proportion);
        let (target, proportion) = (policy.target, policy.target_proportion);
        let mut lines = vec![
            ("Name", self.name.clone()),
            ("Replicas", format!("{wanted} wanted, {ready} available{frozen}")),
            ("Bounds", format!("{} to {}", policy.min, policy.max)),
            ("Calls", format!("{} in flight, {} of them waiting", self.in_flight, self.waiting)),
            ("Load", format!("{}, {per} a replica ({target} x {proportion})", policy.measure)),
            ("Idle", policy.idle()),
        ];
        if !policy.down_window.is_empty() {
            lines.push(("Down window", policy.down_window.clone()));
        }
        if !policy.schedule.is_empty() {
            let now = match self.scheduled_replicas {
                0 => "none open now".to_owned(),
                replicas => format!("{replicas} now"),
            };
            lines.push(("Schedule", format!("{} ({now})", policy.schedule)));
        }
        if policy.prepared > 0 {
            lines.push(("Prepared", policy.prepared.to_string()));
        }
        lines
    }
}

impl Policy {
    fn idle(&self) -> String {
        let frozen = Some(&self.freeze_after).filter(|after| !after.is_empty());
        let frozen = frozen.map(|after| format!("frozen after {after}"));
        let stopped = self.zero.then(|| format!("stopped after {}", self.zero_duration));
        let tiers: Vec<_> = frozen.into_iter().chain(stopped).collect();
        if tiers.is_empty() { "stays".to_owned() } else { tiers.join(", ") }
    }
}

fn table(records: &[Record]) -> String {
    let rows: Vec<[String; 7]> =
        std::iter::once(HEADS.map(str::to_owned)).chain(records.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..HEADS.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn row(Record { last, count, decision }: &Record) -> [String; 7] {
    let Decision { cause, from, to, frozen, reason, numbers, refused } = decision;
    let replicas = match (frozen, from == to) {
        (true, _) => format!("{from} frozen"),
        (false, true) => to.to_string(),
        (false, false) => format!("{from} -> {to}"),
    };
    let load =
        |n: &Numbers| [n.now, n.recent, n.stable].map(|load| load.map_or("-".to_owned(), short));
    let why =
        if refused.is_empty() { reason.clone() } else { format!("{reason}; not done: {refused}") };
    [
        // To the second.
        last.split('.').next().unwrap_or(last).trim_end_matches('Z').replace('T', " "),
        count.to_string(),
        cause.clone(),
        replicas,
        numbers.as_ref().map(load).map_or_else(String::new, |load| load.join(" / ")),
        numbers.as_ref().map_or_else(String::new, |n| n.needed.to_string()),
        why,
    ]
}

/// Two digits after the point at most.
fn short(number: f64) -> String {
    ((number * 100.0).round() / 100.0).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_and_reasons_are_shown() {
        let text = page(&json!({
            "name": "echo", "replicas": 6, "availableReplicas": 4, "inFlight": 9, "waiting": 2,
            "policy": {"min": 1, "max": 20, "type": "rps", "target": 50.0, "targetProportion": 0.7,
                "zero": true, "zeroDuration": "15m", "freezeAfter": "10s",
                "schedule": "* 8-19 * * Mon-Fri = 5"},
            "scheduledReplicas": 5, "unknown": 1,
            "decisions": [
                {"first": "2026-01-02T03:04:05.5Z", "last": "2026-01-02T03:04:06.123Z", "count": 2,
                 "decision": {"cause": "load", "from": 4, "to": 6, "reason": "more load",
                    "numbers": {"now": 206.0, "recent": 180.333, "stable": null, "perReplica": 35.0,
                        "needed": 6}, "refused": "no room"}},
                {"first": "2026-01-02T03:00:00Z", "last": "2026-01-02T03:00:00Z", "count": 1,
                 "decision": {"cause": "idle", "from": 4, "to": 4, "frozen": true,
                    "reason": "idle"}}]}))
        .unwrap();
        for line in [
            "Replicas:           6 wanted, 4 available",
            "Bounds:             1 to 20",
            "Calls:              9 in flight, 2 of them waiting",
            "Load:               rps, 35 a replica (50 x 0.7)",
            "Idle:               frozen after 10s, stopped after 15m",
            "Schedule:           * 8-19 * * Mon-Fri = 5 (5 now)",
            "LAST                 TIMES  CAUSE  REPLICAS  LOAD              NEED  WHY",
            "2026-01-02 03:04:06  2      load   4 -> 6    206 / 180.33 / -  6     more load; not done: no room",
            "2026-01-02 03:00:00  1      idle   4 frozen                          idle",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn what_is_missing_is_left_out() {
        let text = page(&json!({"name": "echo"})).unwrap();
        assert!(text.contains("Idle:               stays") && !text.contains("WHY"), "{text}");
        assert!(page(&json!([])).is_err() || page(&json!("x")).is_err());
    }
}
