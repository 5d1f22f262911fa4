//! Log lines of functions (contract 1.11).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Name;

/// Which lines are wanted.
#[derive(Clone, Debug)]
pub struct LogQuery {
    /// Whose lines.
    pub name: Name,
    /// Only this replica.
    pub instance: Option<String>,
    /// Only so many of the newest lines of each replica.
    pub tail: Option<u64>,
    /// Go on with new lines, of new replicas too, until the stream is dropped.
    pub follow: bool,
    /// Only lines from this time on.
    pub since: Option<Timestamp>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The function.
    pub name: String,
    /// Its namespace.
    #[serde(default)]
    pub namespace: String,
    /// The replica.
    #[serde(default)]
    pub instance: String,
    /// When it was written.
    pub timestamp: Timestamp,
    /// The line, without its end.
    pub text: String,
}
