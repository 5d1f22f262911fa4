//! What reads bytes that others wrote, and what must hold whatever they are.
//!
//! Each module is one target: `run` takes any bytes, and panics when something does not hold.
//! `fuzz_targets/` hands them to cargo-fuzz; `tests/corpus.rs` tries what is kept in `corpus/`.

pub mod alert;
pub mod bodies;
pub mod bundle;
pub mod cgi;
pub mod chunks;
pub mod duration;
pub mod heads;
pub mod lines;
pub mod names;
pub mod stack;

/// A target's name and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 10] = [
    ("alert", alert::run),
    ("bodies", bodies::run),
    ("bundle", bundle::run),
    ("cgi", cgi::run),
    ("chunks", chunks::run),
    ("duration", duration::run),
    ("heads", heads::run),
    ("lines", lines::run),
    ("names", names::run),
    ("stack", stack::run),
];
