//! What replicas use of the machine.

use crate::Name;

/// What one replica has used since it was started, and holds now.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// Its function.
    pub name: Name,
    /// Its id, as [`crate::Replica::id`].
    pub replica: String,
    /// Tells one run of it from the next: a replica that was started again begins at zero.
    pub run: String,
    /// Processor time since its start, of all cores together, in seconds.
    pub cpu_seconds: f64,
    /// Memory that it could not do without, in bytes: what it has, less files that were not read
    /// lately.
    pub memory_bytes: u64,
    /// The most memory that it ever had, in bytes, files it read among it; `None` where nobody
    /// keeps count.
    pub memory_peak_bytes: Option<u64>,
}
