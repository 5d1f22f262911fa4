//! The walls: one module each.

pub(super) mod filter;
pub(super) mod loopback;
pub(super) mod mounts;
pub(super) mod privileges;
pub(super) mod root;
pub(super) mod rules;
mod system;

use provider::confine::Gap;

/// A gap in the sandbox.
pub(super) fn gap(measure: &str, reason: impl std::fmt::Display) -> Gap {
    Gap { measure: measure.to_owned(), reason: reason.to_string() }
}
