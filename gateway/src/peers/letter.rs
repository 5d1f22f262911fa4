//! What a gateway tells the one that leads.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::scaling::Decision;

/// What has changed since the letter before, and what goes on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Letter {
    /// Whether it is written to one that knows nothing yet: calls of functions that it tells of for
    /// the first time have begun at any time before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_first: bool,
    /// Functions by `name.namespace`. What is left out has begun no call since, and has none.
    pub functions: BTreeMap<String, Counts>,
}

/// One function's calls at one gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Calls that have begun, ever.
    pub started: u64,
    /// Calls that have begun and not ended, those that wait for a replica among them.
    pub in_flight: u64,
    /// What was decided there: by hand, by an alert, for a call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
}

/// A decision, and when it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// When.
    pub at: Timestamp,
    /// What.
    pub decision: Decision,
}
