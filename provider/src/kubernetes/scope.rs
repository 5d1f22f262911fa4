//! Which namespaces of the cluster are ours, and what they are called in the API.
//!
//! The API's default namespace stands for the namespace that the gateway was given for functions,
//! whatever that is called in the cluster. Other namespaces have one name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock};

use crate::{DEFAULT_NAMESPACE, Error, Name, Result};

/// Marks a namespace as one for functions, with `1` or `true` (contract 8.5).
pub(super) const MARK: &str = "openfaas";
/// Names the namespace of the one gateway that a marked namespace is for.
pub(super) const GATEWAY: &str = "flint.dev/gateway";

/// Whose namespaces are ours.
pub(super) struct Scope {
    /// The namespace that the API's default one stands for.
    pub(super) function_namespace: String,
    /// The namespace that the gateway runs in.
    pub(super) gateway_namespace: String,
    /// Whether there are more than the one.
    pub(super) cluster_wide: bool,
    /// Those that were seen to be ours.
    marked: RwLock<BTreeSet<String>>,
}

impl Scope {
    /// None is known yet but the one.
    pub(super) fn new(
        function_namespace: &str,
        gateway_namespace: &str,
        cluster_wide: bool,
    ) -> Self {
        Self {
            function_namespace: function_namespace.to_owned(),
            gateway_namespace: gateway_namespace.to_owned(),
            cluster_wide,
            marked: RwLock::default(),
        }
    }

    /// The cluster's namespace of a function.
    ///
    /// # Errors
    /// When it is none of ours.
    pub(super) fn resolve(&self, name: &Name) -> Result<String> {
        self.cluster_namespace(name.namespace())
    }

    /// The cluster's name of one of the API's namespaces.
    ///
    /// # Errors
    /// When it is none of ours.
    pub(super) fn cluster_namespace(&self, namespace: &str) -> Result<String> {
        if namespace.is_empty() || namespace == DEFAULT_NAMESPACE {
            return Ok(self.function_namespace.clone());
        }
        if self.is_marked(namespace) {
            return Ok(namespace.to_owned());
        }
        Err(Error::invalid("namespace", self.not_ours(namespace)))
    }

    /// The API's name of a namespace of the cluster; `None` when it is none of ours.
    pub(super) fn api_namespace(&self, namespace: &str) -> Option<String> {
        if namespace == self.function_namespace {
            return Some(DEFAULT_NAMESPACE.to_owned());
        }
        self.is_marked(namespace).then(|| namespace.to_owned())
    }

    /// The function's name in the API, of an object of the cluster; `None` when it is none of ours.
    pub(super) fn name(&self, namespace: &str, function: &str) -> Option<Name> {
        Name::new(function, &self.api_namespace(namespace)?).ok()
    }

    /// Whether a namespace with these annotations is ours.
    pub(super) fn owns(&self, namespace: &str, annotations: &BTreeMap<String, String>) -> bool {
        // Its name in the API stands for another one.
        if namespace == DEFAULT_NAMESPACE && self.function_namespace != DEFAULT_NAMESPACE {
            return false;
        }
        let marked = annotations.get(MARK).is_some_and(|mark| mark == "1" || mark == "true");
        let for_us = annotations.get(GATEWAY).is_none_or(|of| *of == self.gateway_namespace);
        self.cluster_wide && marked && for_us
    }

    /// Takes in one namespace. Returns whether that changed what is ours.
    pub(super) fn observe(&self, namespace: &str, owned: bool) -> bool {
        let mut marked = self.marked.write().unwrap_or_else(PoisonError::into_inner);
        match owned {
            true => marked.insert(namespace.to_owned()),
            false => marked.remove(namespace),
        }
    }

    /// Puts these in the place of all that were known. Returns whether that changed anything.
    pub(super) fn replace(&self, namespaces: impl Iterator<Item = String>) -> bool {
        let all: BTreeSet<_> = namespaces.collect();
        let mut marked = self.marked.write().unwrap_or_else(PoisonError::into_inner);
        let changed = *marked != all;
        *marked = all;
        changed
    }

    fn is_marked(&self, namespace: &str) -> bool {
        self.marked.read().unwrap_or_else(PoisonError::into_inner).contains(namespace)
    }

    fn not_ours(&self, namespace: &str) -> String {
        if namespace == self.function_namespace {
            return format!(
                "{namespace:?} is called {DEFAULT_NAMESPACE} here, which is the default"
            );
        }
        if !self.cluster_wide {
            return format!(
                "{namespace:?} is not served: this gateway has functions in {DEFAULT_NAMESPACE} \
                 only; leave the namespace out, or let the gateway serve all (--cluster-wide)"
            );
        }
        format!(
            "{namespace:?} is not one of this gateway's; create it through the gateway, or annotate \
             it with {MARK}=1"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_default_namespace_stands_for_the_configured_one() {
        let scope = Scope::new("fns", "flint", false);
        let echo = Name::parse("echo").unwrap();
        assert_eq!(scope.resolve(&echo).unwrap(), "fns");
        assert_eq!(scope.name("fns", "echo"), Some(echo));
        assert_eq!(scope.name("openfaas-fn", "echo"), None, "that one is not ours");
        let error = scope.cluster_namespace("fns").unwrap_err().to_string();
        assert!(error.contains("openfaas-fn"), "{error}");
        let error = scope.cluster_namespace("dev").unwrap_err().to_string();
        assert!(error.starts_with("namespace: ") && error.contains("--cluster-wide"), "{error}");
    }

    #[test]
    fn marked_namespaces_are_ours_unless_they_are_anothers() {
        let scope = Scope::new("openfaas-fn", "flint", true);
        for (annotations, ours) in [
            (marks(&[(MARK, "1")]), true),
            (marks(&[(MARK, "true")]), true),
            (marks(&[(MARK, "0")]), false),
            (marks(&[]), false),
            (marks(&[(MARK, "1"), (GATEWAY, "flint")]), true),
            (marks(&[(MARK, "1"), (GATEWAY, "other")]), false),
        ] {
            assert_eq!(scope.owns("dev", &annotations), ours, "{annotations:?}");
        }
        assert!(scope.observe("dev", true) && !scope.observe("dev", true));
        assert_eq!(scope.cluster_namespace("dev").unwrap(), "dev");
        assert!(scope.replace(std::iter::empty()));
        assert!(scope.cluster_namespace("dev").is_err());
    }

    #[test]
    fn no_namespace_has_two_names_and_no_name_two_namespaces() {
        let scope = Scope::new("fns", "flint", true);
        assert!(!scope.owns(DEFAULT_NAMESPACE, &marks(&[(MARK, "1")])));
    }
}
