//! When an image is pulled.

use std::str::FromStr;

use crate::{Error, Function, Result, annotation};

/// When an image is pulled: Kubernetes' three words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// When it is not on the machine that is to run it.
    #[default]
    IfNotPresent,
    /// At each start.
    Always,
    /// Never: it must be there.
    Never,
}

impl PullPolicy {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::IfNotPresent => "IfNotPresent",
            Self::Always => "Always",
            Self::Never => "Never",
        }
    }
}

impl FromStr for PullPolicy {
    type Err = String;

    /// The error says which words there are.
    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::IfNotPresent, Self::Always, Self::Never];
        let found = known.into_iter().find(|policy| policy.word() == text);
        found.ok_or_else(|| format!("{text:?} is not IfNotPresent, Always or Never"))
    }
}

impl Function {
    /// When its image is pulled, if it says so. An error names the annotation.
    pub fn pull_policy(&self) -> Result<Option<PullPolicy>> {
        let key = annotation::IMAGE_PULL_POLICY;
        let text = self.annotations.get(key).filter(|text| !text.is_empty());
        text.map(|text| text.parse().map_err(|reason: String| Error::invalid(key, reason)))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_one_of_three_words() {
        let policy = |word: &str| {
            let pair = (annotation::IMAGE_PULL_POLICY.to_owned(), word.to_owned());
            Function { annotations: [pair].into(), ..Function::default() }.pull_policy()
        };
        assert_eq!(policy("Always").unwrap(), Some(PullPolicy::Always));
        assert_eq!(policy("").unwrap(), None);
        assert_eq!(Function::default().pull_policy().unwrap(), None);
        assert!(policy("always").unwrap_err().to_string().contains("image-pull-policy"));
    }
}
