//! `template.yml` (contract 6.2).

use std::collections::BTreeSet;
use std::path::{Component, Path};

use anyhow::Result;
use serde::Deserialize;

use super::Local;
use crate::error::hinted;
use crate::stack::StackError;

/// What a template says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Manifest {
    /// The name of the language, for people.
    pub language: Option<String>,
    /// The process that the watchdog runs, for functions that name none.
    pub fprocess: Option<String>,
    /// Named sets of packages.
    pub build_options: Vec<BuildOption>,
    /// Said after a function was made from it.
    pub welcome_message: Option<String>,
    /// The folder of the build context that gets the handler.
    pub handler_folder: Option<String>,
    /// Whether the build needs the user's SSH agent.
    pub mount_ssh: bool,
    /// How it is built and run without Docker; `None`: only with it.
    pub local: Option<Local>,
}

/// A named set of packages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct BuildOption {
    /// Its name.
    pub name: String,
    /// The packages.
    pub packages: Vec<String>,
}

impl Manifest {
    /// Reads the file's text.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let wrong = |error: serde_path_to_error::Error<serde_yaml::Error>| {
            StackError::new(&shown, "", error.to_string())
        };
        let reader = serde_yaml::Deserializer::from_str(text);
        let manifest: Option<Self> = serde_path_to_error::deserialize(reader).map_err(wrong)?;
        let mut manifest = manifest.unwrap_or_default();
        if let Some(local) = &mut manifest.local {
            local.check(&shown, text)?;
        }
        let folder = Path::new(manifest.handler_folder.as_deref().unwrap_or("function"));
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if folder.components().all(inside) {
            return Ok(manifest);
        }
        let reason =
            format!("{:?} is not a folder of the build context", folder.display().to_string());
        Err(StackError::new(&shown, "handler_folder", reason).into())
    }

    /// The packages of these options, sorted, each once. An unknown option is an error.
    pub fn packages(&self, options: &[String], template: &str) -> Result<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        for wanted in options {
            let option = self.build_options.iter().find(|option| option.name == *wanted);
            let option = option.ok_or_else(|| self.unknown(wanted, template))?;
            all.extend(option.packages.iter().cloned());
        }
        Ok(all)
    }

    fn unknown(&self, option: &str, template: &str) -> anyhow::Error {
        let names: Vec<&str> =
            self.build_options.iter().map(|option| option.name.as_str()).collect();
        let hint = match names.as_slice() {
            [] => "it has no build options".to_owned(),
            names => format!("it has: {}", names.join(", ")),
        };
        hinted(format!("template {template} has no build option {option:?}"), hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Manifest> {
        Manifest::parse(text, Path::new("template.yml"))
    }

    #[test]
    fn options_are_merged_and_sorted() {
        let text = "build_options:\n- name: b\n  packages: [z, a]\n- name: c\n  packages: [a, m]\n";
        let manifest = parse(text).unwrap();
        let both = manifest.packages(&["b".into(), "c".into()], "t").unwrap();
        assert_eq!(both.into_iter().collect::<Vec<_>>(), ["a", "m", "z"]);
        let error = manifest.packages(&["x".into()], "t").unwrap_err().to_string();
        assert_eq!(error, "template t has no build option \"x\"");
    }

    #[test]
    fn odd_files() {
        assert_eq!(parse("").unwrap(), Manifest::default());
        assert!(parse("handler_folder: ../x").unwrap_err().to_string().contains("handler_folder"));
        assert!(parse("handler_folder: /x").is_err());
        assert!(parse("build_options: 1").unwrap_err().to_string().contains("build_options"));
    }
}
