//! The build arguments of a function (contract 6.3).

use std::collections::{BTreeMap, BTreeSet};

/// The argument that holds the packages of build options.
const PACKAGES: &str = "ADDITIONAL_PACKAGE";

/// The arguments, those that come later winning; but the packages that several name are all taken.
pub(crate) fn merge(
    layers: &[&BTreeMap<String, String>],
    packages: BTreeSet<String>,
) -> BTreeMap<String, String> {
    let mut packages = packages;
    let mut all = BTreeMap::new();
    for (key, value) in layers.iter().flat_map(|layer| layer.iter()) {
        if key == PACKAGES {
            packages.extend(value.split_whitespace().map(str::to_owned));
        } else {
            all.insert(key.clone(), value.clone());
        }
    }
    if !packages.is_empty() {
        let packages: Vec<String> = packages.into_iter().collect();
        all.insert(PACKAGES.to_owned(), packages.join(" "));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_layers_win_and_packages_add_up() {
        let layer = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let stack = layer(&[("A", "1"), ("B", "1"), (PACKAGES, "git  curl")]);
        let flags = layer(&[("B", "2"), (PACKAGES, "jq")]);
        let all = merge(&[&stack, &flags], ["curl".to_owned(), "bash".to_owned()].into());
        assert_eq!(all, layer(&[("A", "1"), ("B", "2"), (PACKAGES, "bash curl git jq")]));
        assert!(merge(&[], BTreeSet::new()).is_empty());
    }
}
