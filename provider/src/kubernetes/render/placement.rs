//! On which nodes a function may run: its constraints.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
};

use super::labels::Map;
use crate::constraint::{Constraint, go_arch};
use crate::{Error, Function, Result};

/// Labels of nodes, under the names that Swarm has for them.
const SWARM_NAMES: [(&str, &str); 3] = [
    ("node.hostname", "kubernetes.io/hostname"),
    ("node.platform.os", "kubernetes.io/os"),
    ("node.platform.arch", ARCH),
];
/// Begin the labels that Swarm lets people give to nodes.
const SWARM_LABELS: [&str; 2] = ["node.labels.", "engine.labels."];
/// The label of a node's architecture.
const ARCH: &str = "kubernetes.io/arch";

/// Which labels a node must have, and which it must not.
pub(super) struct Nodes {
    /// Labels that it must have.
    pub(super) selector: Option<Map>,
    /// Labels that it must not have.
    without: Vec<NodeSelectorRequirement>,
}

impl Nodes {
    /// What the function's constraints say. An error names the field.
    pub(super) fn of(function: &Function) -> Result<Self> {
        let (mut selector, mut without) = (BTreeMap::new(), Vec::new());
        for text in &function.constraints {
            let constraint = Constraint::parse(text)?;
            let (key, value) = label(&constraint);
            if !constraint.equal {
                without.push(requirement(key, value));
            } else if let Some(other) = selector.insert(key.to_owned(), value.clone())
                && other != value
            {
                let reason = format!("no node has both {other:?} and {value:?} as its {key}");
                return Err(Error::invalid("constraints", reason));
            }
        }
        let selector = (!selector.is_empty()).then_some(selector);
        Ok(Self { selector, without })
    }

    /// The affinity of a profile, if any, and what a node must not have. Terms are alternatives,
    /// so each of them gets it.
    pub(super) fn affinity(&self, profile: Option<Affinity>) -> Option<Affinity> {
        if self.without.is_empty() {
            return profile;
        }
        let mut affinity = profile.unwrap_or_default();
        let node = affinity.node_affinity.get_or_insert_with(NodeAffinity::default);
        let required = node
            .required_during_scheduling_ignored_during_execution
            .get_or_insert_with(NodeSelector::default);
        if required.node_selector_terms.is_empty() {
            required.node_selector_terms.push(NodeSelectorTerm::default());
        }
        for term in &mut required.node_selector_terms {
            let expressions = term.match_expressions.get_or_insert_with(Vec::new);
            expressions.extend(self.without.iter().cloned());
        }
        Some(affinity)
    }
}

/// The node's label that a constraint means, and its value.
fn label<'a>(constraint: &Constraint<'a>) -> (&'a str, String) {
    let key = constraint.key;
    let swarm = SWARM_NAMES.iter().find(|(name, _)| *name == key).map(|(_, label)| *label);
    let given = SWARM_LABELS.iter().find_map(|prefix| key.strip_prefix(prefix));
    let key = swarm.or(given).unwrap_or(key);
    let value = if key == ARCH { go_arch(constraint.value) } else { constraint.value };
    (key, value.to_owned())
}

fn requirement(key: &str, value: String) -> NodeSelectorRequirement {
    NodeSelectorRequirement {
        key: key.to_owned(),
        operator: "NotIn".to_owned(),
        values: Some(vec![value]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(constraints: &[&str]) -> Result<Nodes> {
        let constraints = constraints.iter().map(|text| (*text).to_owned()).collect();
        Nodes::of(&Function { constraints, ..Function::default() })
    }

    #[test]
    fn constraints_become_labels_of_nodes() {
        let nodes = nodes(&[
            "disk=ssd",
            "node.platform.arch == x86_64",
            "node.hostname==n1",
            "node.labels.zone=a",
        ]);
        let selector = nodes.unwrap().selector.unwrap();
        let want = [
            ("disk", "ssd"),
            ("kubernetes.io/arch", "amd64"),
            ("kubernetes.io/hostname", "n1"),
            ("zone", "a"),
        ];
        assert!(selector.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(want));
    }

    #[test]
    fn what_a_node_must_not_have_is_added_to_each_term_of_a_profile() {
        let nodes = nodes(&["disk != hdd"]).unwrap();
        assert!(nodes.selector.is_none());
        let terms = |affinity: Affinity| {
            let node = affinity.node_affinity.unwrap();
            node.required_during_scheduling_ignored_during_execution.unwrap().node_selector_terms
        };
        assert_eq!(terms(nodes.affinity(None).unwrap()).len(), 1);
        let two = NodeSelector { node_selector_terms: vec![NodeSelectorTerm::default(); 2] };
        let node = NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(two),
            ..NodeAffinity::default()
        };
        let profile = Affinity { node_affinity: Some(node), ..Affinity::default() };
        for term in terms(nodes.affinity(Some(profile)).unwrap()) {
            assert_eq!(term.match_expressions.unwrap()[0].operator, "NotIn");
        }
    }

    #[test]
    fn what_no_node_can_meet_is_refused() {
        for bad in [&["linux"][..], &["a=1", "a=2"]] {
            let error = nodes(bad).err().unwrap().to_string();
            assert!(error.starts_with("constraints: "), "{error}");
        }
        assert!(nodes(&["a=1", "a == 1"]).is_ok());
    }
}
