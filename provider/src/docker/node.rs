//! What the one machine can do, and which wishes it therefore cannot meet. No IO.

use bollard::models::SystemInfo;

use crate::replicas::machine::Facts;
use crate::{Error, Function, Result};

/// The log driver whose files grow without bound unless told otherwise.
const UNBOUNDED_DRIVER: &str = "json-file";

/// Facts of the machine that functions are placed on.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    facts: Facts,
    /// Whether log files must be bounded by us.
    pub(super) bound_logs: bool,
}

impl Node {
    /// What the engine tells.
    pub(super) fn new(info: SystemInfo) -> Self {
        let os = info.os_type.unwrap_or_default();
        let arch = info.architecture.unwrap_or_default();
        let mut facts = Facts::new(&os, &arch, &info.name.unwrap_or_default());
        for (key, value) in info.labels.iter().flatten().filter_map(|l| l.split_once('=')) {
            facts
                .add(&[key, &format!("node.labels.{key}"), &format!("engine.labels.{key}")], value);
        }
        let bound_logs = info.logging_driver.as_deref() == Some(UNBOUNDED_DRIVER);
        Self { facts, bound_logs }
    }

    /// Whether the function can run here as it asks to. An error names the field.
    pub(super) fn check(&self, function: &Function) -> Result<()> {
        self.facts.check(function)?;
        for (field, resources) in [("limits", &function.limits), ("requests", &function.requests)] {
            let Some(resources) = resources else { continue };
            let devices =
                [("amd.com/gpu", &resources.amd_gpu), ("intel.com/gpu", &resources.intel_gpu)];
            if let Some((key, _)) = devices.iter().find(|(_, wish)| wish.is_some()) {
                let reason = "Docker hands out NVIDIA devices only";
                return Err(Error::invalid(format!("{field}.{key}"), reason));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Resources;

    fn node() -> Node {
        Node::new(SystemInfo {
            os_type: Some("linux".to_owned()),
            architecture: Some("x86_64".to_owned()),
            labels: Some(vec!["disk=ssd".to_owned()]),
            logging_driver: Some("json-file".to_owned()),
            ..SystemInfo::default()
        })
    }

    #[test]
    fn constraints_hold_against_the_machine() {
        let check = |constraint: &str| {
            let constraints = vec![constraint.to_owned()];
            node().check(&Function { constraints, ..Function::default() })
        };
        for good in [
            "kubernetes.io/arch=amd64",
            "node.platform.os == linux",
            "node.platform.arch==x86_64",
            "disk=ssd",
            "node.labels.disk != hdd",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["disk=hdd", "disk!=ssd", "gpu=yes", "linux"] {
            assert!(check(bad).unwrap_err().to_string().starts_with("constraints"), "{bad}");
        }
    }

    #[test]
    fn devices_that_docker_has_no_word_for_are_refused() {
        let limits = Some(Resources { amd_gpu: Some("1".to_owned()), ..Resources::default() });
        let error = node().check(&Function { limits, ..Function::default() }).unwrap_err();
        assert!(error.to_string().starts_with("limits.amd.com/gpu"), "{error}");
    }

    #[test]
    fn only_unbounded_logs_are_bounded() {
        assert!(node().bound_logs);
        assert!(!Node::new(SystemInfo::default()).bound_logs);
    }
}
