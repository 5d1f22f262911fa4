//! The programs that a template needs of this machine.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::hinted;
use crate::template::Program;

/// Looks programs up on a `PATH`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Programs<'a> {
    /// The value of `PATH`.
    pub(crate) path: &'a str,
}

impl Programs<'_> {
    /// The file of a program that can be executed; `None` when it is nowhere.
    pub(crate) fn find(&self, name: &str) -> Option<PathBuf> {
        let folders = std::env::split_paths(self.path).filter(|folder| folder.is_absolute());
        folders.map(|folder| folder.join(name)).find(|file| is_program(file))
    }

    /// An error that names all that are missing, the template, and how to install them.
    pub(crate) fn require<'p>(
        &self,
        template: &str,
        programs: impl Iterator<Item = &'p Program>,
    ) -> anyhow::Result<()> {
        let missing: Vec<&Program> =
            programs.filter(|program| self.find(&program.name).is_none()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = missing.iter().map(|program| program.name.as_str()).collect();
        let what = if names.len() == 1 { "the program" } else { "the programs" };
        let names = names.join(", ");
        let message = format!("template {template} needs {what} {names}, not found on the PATH");
        Err(hinted(message, format!("install {}; or use `--provider docker`", how(&missing))))
    }
}

/// How to install them; programs that come together are told once.
fn how(missing: &[&Program]) -> String {
    let mut all: Vec<&str> = Vec::new();
    for program in missing {
        let text = if program.install.is_empty() { &program.name } else { &program.install };
        if !all.contains(&text.as_str()) {
            all.push(text);
        }
    }
    all.join(", and ")
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str, install: &str) -> Program {
        Program { name: name.to_owned(), install: install.to_owned(), ..Default::default() }
    }

    #[test]
    fn all_that_are_missing_are_named_at_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("text"), "").unwrap();
        let path = format!("relative:{}:/bin:/usr/bin", folder.path().display());
        let programs = Programs { path: &path };
        assert!(programs.find("sh").is_some() && programs.find("text").is_none());
        let needed = [
            program("sh", "a shell"),
            program("no-node", "Node.js 20"),
            program("no-npm", "Node.js 20"),
            program("text", ""),
        ];
        let error = programs.require("t", needed.iter()).unwrap_err();
        let text = crate::error::render(&error);
        assert!(
            text.contains("template t needs the programs no-node, no-npm, text, not"),
            "{text}"
        );
        assert!(text.contains("hint: install Node.js 20, and text; or use"), "{text}");
        assert!(programs.require("t", needed[..1].iter()).is_ok());
    }
}
