//! The name of a function, and the only parser of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The namespace of names that carry none (contract 1.4).
pub const DEFAULT_NAMESPACE: &str = "openfaas-fn";

/// Longest DNS label, RFC 1123.
const MAX_LABEL: usize = 63;

/// A function's name and its namespace. Both are DNS labels.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Name {
    function: Box<str>,
    namespace: Box<str>,
}

impl Name {
    /// Checks both parts. An empty namespace means [`DEFAULT_NAMESPACE`].
    pub fn new(function: &str, namespace: &str) -> Result<Self> {
        check_label("service", function)?;
        let namespace = if namespace.is_empty() { DEFAULT_NAMESPACE } else { namespace };
        check_label("namespace", namespace)?;
        Ok(Self { function: function.into(), namespace: namespace.into() })
    }

    /// Reads `fn` or `fn.ns`; the last dot splits.
    pub fn parse(text: &str) -> Result<Self> {
        match text.rsplit_once('.') {
            Some((function, namespace)) if !namespace.is_empty() => Self::new(function, namespace),
            Some(_) => Err(Error::invalid("namespace", "is empty after the dot")),
            None => Self::new(text, ""),
        }
    }

    /// The function without its namespace.
    pub fn function(&self) -> &str {
        &self.function
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for Name {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.function, self.namespace)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether the text is a DNS label: 1 to 63 of `a-z`, `0-9`, `-`, no `-` at either end (RFC 1123).
pub fn is_dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty()
        && text.len() <= MAX_LABEL
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn check_label(field: &str, text: &str) -> Result<()> {
    if is_dns_label(text) {
        return Ok(());
    }
    let reason = match text.len() {
        0 => "is required".to_owned(),
        n if n > MAX_LABEL => format!("is {n} characters long, at most {MAX_LABEL} are allowed"),
        _ => format!(
            "{text:?} must be of a-z, 0-9 and '-', and start and end with a letter or digit"
        ),
    };
    Err(Error::invalid(field, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_dot_splits() {
        let name = Name::parse("echo.dev").unwrap();
        assert_eq!((name.function(), name.namespace()), ("echo", "dev"));
        assert_eq!(Name::parse("echo").unwrap().to_string(), "echo.openfaas-fn");
        assert!(Name::parse("a.b.c").is_err(), "a dot cannot be part of a function's name");
    }

    #[test]
    fn labels_are_checked() {
        assert!(is_dns_label(&"a".repeat(63)));
        for bad in ["", "-a", "a-", "A", "a_b", "ä", "a/b", "..", &"a".repeat(64)] {
            assert!(!is_dns_label(bad), "{bad}");
        }
        assert!(Name::parse("echo.").is_err());
        assert!(Name::parse(".ns").is_err());
    }

    #[test]
    fn the_error_names_the_length() {
        let error = Name::parse(&"a".repeat(64)).unwrap_err().to_string();
        assert!(error.contains("64 characters"), "{error}");
    }
}
