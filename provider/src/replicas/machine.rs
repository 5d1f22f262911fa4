//! What is known of the one machine, and whether it meets a function's constraints. No IO.

use crate::constraint::{Constraint, go_arch};
use crate::{Error, Function, Result};

/// Facts of the machine that functions are placed on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts(Vec<(String, String)>);

impl Facts {
    /// The usual facts, under the names that Kubernetes and Swarm have for them; the architecture
    /// is `uname`'s.
    pub(crate) fn new(os: &str, arch: &str, host: &str) -> Self {
        let mut facts = Self::default();
        facts.add(&["kubernetes.io/os", "beta.kubernetes.io/os", "node.platform.os"], os);
        let arch_keys = ["kubernetes.io/arch", "beta.kubernetes.io/arch", "node.platform.arch"];
        facts.add(&arch_keys, arch);
        facts.add(&arch_keys, go_arch(arch));
        facts.add(&["kubernetes.io/hostname", "node.hostname"], host);
        facts
    }

    /// One more fact, under each of these names.
    pub(crate) fn add(&mut self, keys: &[&str], value: &str) {
        self.0.extend(keys.iter().map(|key| ((*key).to_owned(), value.to_owned())));
    }

    /// Whether the machine meets a function's constraints.
    pub(crate) fn check(&self, function: &Function) -> Result<()> {
        function.constraints.iter().try_for_each(|constraint| self.meets(constraint))
    }

    fn meets(&self, constraint: &str) -> Result<()> {
        let Constraint { key, value, equal } = Constraint::parse(constraint)?;
        let found = self.0.iter().any(|(k, v)| k == key && v == value);
        if found == equal {
            return Ok(());
        }
        let reason = format!("this machine, the only one, does not meet {constraint:?}");
        Err(Error::invalid("constraints", reason))
    }
}
