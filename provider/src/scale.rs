//! How many replicas a function may have: the labels `com.openfaas.scale.*` (contract 4.1).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::function::label;
use crate::{Error, Result, Schedule, parse_duration};

/// Upper bound of functions that name none (contract 4.1, second column).
const DEFAULT_MAX: u32 = 20;
/// Idle time before zero of functions that name none (contract 4.1).
const DEFAULT_ZERO_DURATION: Duration = Duration::from_secs(15 * 60);
/// Idle time before functions that go to zero are frozen, when they name none.
const DEFAULT_FREEZE_AFTER: Duration = Duration::from_secs(10);
/// The most replicas that are made beforehand: each costs space, and time at every deploy.
const MAX_PREPARED: u32 = 100;

/// Load that one replica is meant for, when the function does not say (contract 4.1).
const DEFAULT_TARGET: f64 = 50.0;
/// How much of the target is used, when the function does not say (contract 4.1).
const DEFAULT_PROPORTION: f64 = 0.9;
/// Percent of the maximum that an alert adds, when the function does not say (contract 4.1).
const DEFAULT_FACTOR: u32 = 10;
/// Longest `down.window` (contract 4.1).
const MAX_DOWN_WINDOW: Duration = Duration::from_secs(5 * 60);
/// Longest name of a query.
const MAX_QUERY_NAME: usize = 63;

/// What a function's replicas are wanted to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// So many replicas run; 0 keeps the function but runs nothing.
    Replicas(u32),
    /// The replicas stay in memory and get no processor time.
    Frozen,
}

/// What a function's load is measured by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Measure {
    /// Calls that begin in a second.
    #[default]
    Rps,
    /// Calls in flight, those that wait among them.
    Capacity,
    /// Processor time in thousandths of a core.
    Cpu,
    /// Memory in MiB.
    Memory,
    /// Calls that wait to be made in the background.
    Queue,
    /// Nothing: somebody else decides how many replicas there are.
    None,
    /// A query of this name in the gateway's configuration.
    Query(String),
}

impl Measure {
    /// Its name in labels.
    pub fn label(&self) -> &str {
        match self {
            Self::Rps => "rps",
            Self::Capacity => "capacity",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Queue => "queue",
            Self::None => "none",
            Self::Query(name) => name,
        }
    }
}

/// How a function's labels want it to be scaled.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    /// Replicas at deploy, and the least while any run.
    pub min: u32,
    /// The most replicas.
    pub max: u32,
    /// Whether idle functions go to zero.
    pub zero: bool,
    /// How long a function is idle before it goes to zero.
    pub zero_duration: Duration,
    /// How long a function is idle before its replicas are frozen; `None` is never.
    pub freeze_after: Option<Duration>,
    /// How many replicas are made beforehand and not started, so that a start finds them.
    pub prepared: u32,
    /// What the load is measured by.
    pub measure: Measure,
    /// The load that one replica is meant for, in the unit of the measure.
    pub target: f64,
    /// How much of the target is used, above 0 and at most 1.
    pub proportion: f64,
    /// Percent of `max` that an alert adds.
    pub factor: u32,
    /// How long the highest recommendation keeps replicas from going; `None` is not at all.
    pub down_window: Option<Duration>,
    /// When there are to be more replicas than `min`.
    pub schedule: Schedule,
}

impl Default for Scale {
    fn default() -> Self {
        Self {
            min: 1,
            max: DEFAULT_MAX,
            zero: false,
            zero_duration: DEFAULT_ZERO_DURATION,
            freeze_after: None,
            prepared: 0,
            measure: Measure::Rps,
            target: DEFAULT_TARGET,
            proportion: DEFAULT_PROPORTION,
            factor: DEFAULT_FACTOR,
            down_window: None,
            schedule: Schedule::default(),
        }
    }
}

impl Scale {
    /// Reads the labels. An error names the label.
    pub fn from_labels(labels: &BTreeMap<String, String>) -> Result<Self> {
        let defaults = Self::default();
        let min = number(labels, label::SCALE_MIN)?.unwrap_or(defaults.min);
        let max = number(labels, label::SCALE_MAX)?.unwrap_or(defaults.max.max(min));
        if max == 0 || min > max {
            let reason =
                format!("{max} must be at least 1 and not below {}={min}", label::SCALE_MIN);
            return Err(Error::invalid(label::SCALE_MAX, reason));
        }
        let zero = switch(labels, label::SCALE_ZERO)?;
        let zero_duration = duration(labels, label::SCALE_ZERO_DURATION)?;
        Ok(Self {
            min,
            max,
            zero,
            zero_duration: zero_duration.unwrap_or(defaults.zero_duration),
            freeze_after: freeze_after(labels, zero)?,
            prepared: prepared(labels)?,
            measure: measure(labels)?,
            target: amount(labels, label::SCALE_TARGET, f64::MAX)?.unwrap_or(defaults.target),
            proportion: amount(labels, label::SCALE_TARGET_PROPORTION, 1.0)?
                .unwrap_or(defaults.proportion),
            factor: factor(labels)?.unwrap_or(defaults.factor),
            down_window: down_window(labels)?,
            schedule: schedule(labels, max)?,
        })
    }

    /// The load that one replica is meant for, less what is kept free.
    pub fn per_replica(&self) -> f64 {
        self.target * self.proportion
    }

    /// The nearest count that is allowed; 0 stays 0.
    pub fn clamp(&self, replicas: u32) -> u32 {
        if replicas == 0 { 0 } else { replicas.clamp(self.min.max(1), self.max) }
    }

    /// Replicas of a fresh deploy, and of a wake from zero.
    pub fn initial(&self) -> u32 {
        self.min.max(1)
    }
}

fn number(labels: &BTreeMap<String, String>, key: &str) -> Result<Option<u32>> {
    let read = |text: &String| {
        text.trim()
            .parse()
            .map_err(|_| Error::invalid(key, format!("{text:?} is not a whole number of replicas")))
    };
    labels.get(key).map(read).transpose()
}

/// Words for yes and no; an empty one is no.
fn switch(labels: &BTreeMap<String, String>, key: &str) -> Result<bool> {
    match labels.get(key).map(|text| text.trim().to_ascii_lowercase()).as_deref() {
        None | Some("" | "false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(text) => Err(Error::invalid(key, format!("{text:?} is neither true nor false"))),
    }
}

fn measure(labels: &BTreeMap<String, String>) -> Result<Measure> {
    let key = label::SCALE_TYPE;
    let text = labels.get(key).map_or("", |text| text.trim());
    let good = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    Ok(match text {
        "" | "rps" => Measure::Rps,
        "capacity" => Measure::Capacity,
        "cpu" => Measure::Cpu,
        "memory" => Measure::Memory,
        "queue" => Measure::Queue,
        "none" => Measure::None,
        name if name.len() <= MAX_QUERY_NAME && name.chars().all(good) => {
            Measure::Query(name.to_owned())
        }
        other => {
            let reason = format!(
                "{other:?} is neither rps, capacity, cpu, memory, queue, none, nor a query's name, \
                 which has at most {MAX_QUERY_NAME} letters, digits, - and _"
            );
            return Err(Error::invalid(key, reason));
        }
    })
}

/// A number above 0, and not above `most`.
fn amount(labels: &BTreeMap<String, String>, key: &str, most: f64) -> Result<Option<f64>> {
    let Some(text) = labels.get(key) else { return Ok(None) };
    match text.trim().parse::<f64>() {
        Ok(amount) if amount.is_normal() && amount > 0.0 && amount <= most => Ok(Some(amount)),
        _ => {
            let limit =
                if most == f64::MAX { String::new() } else { format!(" and at most {most}") };
            Err(Error::invalid(key, format!("{text:?} is not a number above 0{limit}")))
        }
    }
}

fn factor(labels: &BTreeMap<String, String>) -> Result<Option<u32>> {
    let key = label::SCALE_FACTOR;
    let Some(text) = labels.get(key) else { return Ok(None) };
    match text.trim().trim_end_matches('%').trim_end().parse() {
        Ok(factor @ 1..=100) => Ok(Some(factor)),
        _ => Err(Error::invalid(key, format!("{text:?} is not a percentage from 1 to 100"))),
    }
}

fn down_window(labels: &BTreeMap<String, String>) -> Result<Option<Duration>> {
    let key = label::SCALE_DOWN_WINDOW;
    if labels.get(key).is_some_and(|text| text.trim() == "off") {
        return Ok(None);
    }
    match duration(labels, key)? {
        Some(window) if window > MAX_DOWN_WINDOW => {
            Err(Error::invalid(key, format!("{window:?} is longer than 5m")))
        }
        window => Ok(window.filter(|window| !window.is_zero())),
    }
}

fn schedule(labels: &BTreeMap<String, String>, max: u32) -> Result<Schedule> {
    let key = label::SCALE_SCHEDULE;
    let text = labels.get(key).map_or("", String::as_str);
    let schedule = Schedule::parse(text).map_err(|reason| Error::invalid(key, reason))?;
    match schedule.highest() {
        most if most > max => {
            let reason = format!("{most} replicas are more than {}={max}", label::SCALE_MAX);
            Err(Error::invalid(key, reason))
        }
        _ => Ok(schedule),
    }
}

/// Functions that never go to zero are frozen only when they ask for it.
fn freeze_after(labels: &BTreeMap<String, String>, zero: bool) -> Result<Option<Duration>> {
    let key = label::SCALE_FREEZE_AFTER;
    match labels.get(key).map(|text| text.trim()) {
        None => Ok(zero.then_some(DEFAULT_FREEZE_AFTER)),
        Some("off") => Ok(None),
        Some(_) => Ok(duration(labels, key)?.filter(|after| !after.is_zero())),
    }
}

fn prepared(labels: &BTreeMap<String, String>) -> Result<u32> {
    let key = label::SCALE_PREPARED;
    match number(labels, key)?.unwrap_or(0) {
        many if many > MAX_PREPARED => {
            Err(Error::invalid(key, format!("{many} must be at most {MAX_PREPARED}")))
        }
        count => Ok(count),
    }
}

fn duration(labels: &BTreeMap<String, String>, key: &str) -> Result<Option<Duration>> {
    let read = |text: &String| {
        parse_duration(text)
            .ok_or_else(|| Error::invalid(key, format!("{text:?} is not a duration such as 15m")))
    };
    labels.get(key).map(read).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn bounds_come_from_labels() {
        let scale =
            Scale::from_labels(&labels(&[(label::SCALE_MIN, "2"), (label::SCALE_MAX, "4")]))
                .unwrap();
        assert_eq!((scale.clamp(1), scale.clamp(9), scale.clamp(0)), (2, 4, 0));
        assert_eq!(Scale::from_labels(&labels(&[])).unwrap(), Scale::default());
    }

    #[test]
    fn a_high_min_lifts_the_default_max() {
        let scale = Scale::from_labels(&labels(&[(label::SCALE_MIN, "30")])).unwrap();
        assert_eq!(scale.max, 30);
    }

    #[test]
    fn bad_labels_are_named() {
        for pair in [
            (label::SCALE_MIN, "many"),
            (label::SCALE_MAX, "0"),
            (label::SCALE_MAX, "-1"),
            (label::SCALE_ZERO_DURATION, "soon"),
            (label::SCALE_FREEZE_AFTER, "later"),
            (label::SCALE_PREPARED, "some"),
            (label::SCALE_PREPARED, "101"),
            (label::SCALE_ZERO, "perhaps"),
            (label::SCALE_TYPE, "rate of calls"),
            (label::SCALE_TARGET, "0"),
            (label::SCALE_TARGET, "-3"),
            (label::SCALE_TARGET, "NaN"),
            (label::SCALE_TARGET, "inf"),
            (label::SCALE_TARGET, "lots"),
            (label::SCALE_TARGET_PROPORTION, "0"),
            (label::SCALE_TARGET_PROPORTION, "1.1"),
            (label::SCALE_FACTOR, "0"),
            (label::SCALE_FACTOR, "101"),
            (label::SCALE_FACTOR, "a lot"),
            (label::SCALE_DOWN_WINDOW, "5m1s"),
            (label::SCALE_DOWN_WINDOW, "later"),
            (label::SCALE_SCHEDULE, "always = 5"),
            (label::SCALE_SCHEDULE, "* 8-19 * * * = 21"),
        ] {
            let error = Scale::from_labels(&labels(&[pair])).unwrap_err().to_string();
            assert!(error.starts_with(pair.0), "{error}");
        }
    }

    #[test]
    fn who_goes_to_zero_is_frozen_before_and_others_when_they_ask() {
        let after = |pairs: &[(&str, &str)]| {
            Scale::from_labels(&labels(pairs)).unwrap().freeze_after.map(|after| after.as_secs())
        };
        let (zero, freeze) = ((label::SCALE_ZERO, "true"), label::SCALE_FREEZE_AFTER);
        assert_eq!((after(&[]), after(&[zero])), (None, Some(10)));
        assert_eq!(after(&[(freeze, "1m")]), Some(60));
        for never in ["0", "0s", "off"] {
            assert_eq!(after(&[zero, (freeze, never)]), None, "{never}");
        }
    }

    #[test]
    fn load_comes_from_labels() {
        let scale = Scale::from_labels(&labels(&[
            (label::SCALE_TYPE, "capacity"),
            (label::SCALE_TARGET, "2.5"),
            (label::SCALE_TARGET_PROPORTION, "0.70"),
            (label::SCALE_FACTOR, "50%"),
            (label::SCALE_DOWN_WINDOW, "5m"),
            (label::SCALE_SCHEDULE, "* 8-19 * * Mon-Fri Europe/Berlin = 5"),
            (label::SCALE_ZERO, "True"),
        ]))
        .unwrap();
        assert_eq!((scale.measure.clone(), scale.factor), (Measure::Capacity, 50));
        assert_eq!((scale.per_replica(), scale.schedule.highest()), (1.75, 5));
        assert_eq!((scale.down_window, scale.zero), (Some(MAX_DOWN_WINDOW), true));
    }

    #[test]
    fn other_types_are_names_of_queries() {
        let of = |name: &str| Scale::from_labels(&labels(&[(label::SCALE_TYPE, name)]));
        assert_eq!(of("latency").unwrap().measure, Measure::Query("latency".to_owned()));
        assert!(of(&"x".repeat(63)).is_ok() && of(&"x".repeat(64)).is_err());
    }

    /// Rows of the documentation's tables: label and cells.
    fn documented(columns: usize) -> Vec<Vec<&'static str>> {
        let text = include_str!("../../docs/scaling.md");
        let rows = text.lines().filter(|line| line.starts_with("| `"));
        let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect();
        let rows = rows.map(cells).filter(|cells: &Vec<_>| cells.len() == columns);
        rows.filter(|cells| cells[0].contains("/scale.") || cells[0].contains(".scale.")).collect()
    }

    fn quoted(cell: &str) -> &str {
        cell.split('`').nth(1).expect("something in backquotes")
    }

    #[test]
    fn the_examples_of_the_docs_are_taken_and_what_they_refuse_is_refused_so() {
        let examples = documented(5);
        assert_eq!(examples.len(), 12);
        for row in examples {
            let (key, value) = (quoted(row[0]), quoted(row[3]));
            let changed = Scale::from_labels(&labels(&[(key, value)])).unwrap();
            assert_ne!(changed, Scale::default(), "{key} {value} changes nothing");
        }
        let refused = documented(3);
        assert_eq!(refused.len(), 12);
        for row in refused {
            let (key, value) = (quoted(row[0]), quoted(row[1]));
            let error = Scale::from_labels(&labels(&[(key, value)])).unwrap_err().to_string();
            assert_eq!(error, format!("{key}: {}", row[2]));
        }
    }
}
