//! Where a function may run: `key=value`, `key==value` or `key!=value`. No IO.

use crate::{Error, Result};

/// One constraint of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Constraint<'a> {
    /// A fact of a machine.
    pub(crate) key: &'a str,
    /// What it is compared to.
    pub(crate) value: &'a str,
    /// Whether it must be so, or must not.
    pub(crate) equal: bool,
}

impl<'a> Constraint<'a> {
    /// Reads a constraint, with spaces or without.
    pub(crate) fn parse(text: &'a str) -> Result<Self> {
        let parts = text.split_once('=').map(|(key, value)| {
            let (key, equal) = key.strip_suffix('!').map_or((key, true), |key| (key, false));
            (key.trim(), value.trim_start_matches('=').trim(), equal)
        });
        match parts {
            Some((key, value, equal)) if !key.is_empty() => Ok(Self { key, value, equal }),
            _ => Err(Error::invalid("constraints", format!("{text:?} is not key=value"))),
        }
    }
}

/// The name that Go and Kubernetes have for an architecture of `uname`.
pub(crate) fn go_arch(uname: &str) -> &str {
    match uname {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_are_read_with_spaces_or_without() {
        for (text, key, value, equal) in [
            ("a=b", "a", "b", true),
            ("a == b", "a", "b", true),
            ("node.labels.a!=b", "node.labels.a", "b", false),
            ("a=", "a", "", true),
        ] {
            assert_eq!(Constraint::parse(text).unwrap(), Constraint { key, value, equal });
        }
        for bad in ["", "a", "=b", "!=b"] {
            let error = Constraint::parse(bad).unwrap_err().to_string();
            assert!(error.starts_with("constraints: "), "{error}");
        }
    }
}
