//! How many replicas a function may have: the labels `com.openfaas.scale.*` (contract 4.1).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::function::label;
use crate::{Error, Result, parse_duration};

/// Upper bound of functions that name none (contract 4.1, second column).
const DEFAULT_MAX: u32 = 20;
/// Idle time before zero of functions that name none (contract 4.1).
const DEFAULT_ZERO_DURATION: Duration = Duration::from_secs(15 * 60);
/// Idle time before functions that go to zero are frozen, when they name none.
const DEFAULT_FREEZE_AFTER: Duration = Duration::from_secs(10);
/// The most replicas that are made beforehand: each costs space, and time at every deploy.
const MAX_PREPARED: u32 = 100;

/// What a function's replicas are wanted to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// So many replicas run; 0 keeps the function but runs nothing.
    Replicas(u32),
    /// The replicas stay in memory and get no processor time.
    Frozen,
}

/// The bounds that a function's labels set.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        let zero = labels.get(label::SCALE_ZERO).is_some_and(|v| v == "true");
        let zero_duration = duration(labels, label::SCALE_ZERO_DURATION)?;
        Ok(Self {
            min,
            max,
            zero,
            zero_duration: zero_duration.unwrap_or(defaults.zero_duration),
            freeze_after: freeze_after(labels, zero)?,
            prepared: prepared(labels)?,
        })
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
}
