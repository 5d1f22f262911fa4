//! Templates: what surrounds a handler (contract 6.2, 6.3).
//!
//! A template is looked for in `./template/<name>`, then among those that the program carries.
//! Those pulled from git are written to `./template`.

mod builtin;
mod git;
mod local;
mod manifest;
mod obtain;
mod source;
mod store;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::error::hinted;
use crate::tree::Tree;

pub(crate) use git::git;
pub use git::{Pulled, pull};
pub use local::{Check, Local, Program, Step};
pub use manifest::{BuildOption, Manifest};
pub use obtain::{Obtain, obtain};
pub use source::{GitSource, Pin};
pub use store::{Entry as StoreEntry, Store};

/// The folder of templates.
pub const FOLDER: &str = "template";
/// The file that describes a template.
const MANIFEST: &str = "template.yml";

/// A template, found.
#[derive(Clone, Debug)]
pub struct Template {
    /// Its name, with `@ref` when it is pinned.
    pub name: String,
    /// What it says of itself.
    pub manifest: Manifest,
    /// Its folder; `None` when the program carries it.
    pub folder: Option<PathBuf>,
}

impl Template {
    /// Finds a template in the project's folder, then among the built-in ones.
    pub fn find(project: &Path, name: &str) -> Result<Option<Self>> {
        check_name(name)?;
        let folder = project.join(FOLDER).join(name);
        if folder.is_dir() {
            let path = folder.join(MANIFEST);
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("{} is not a template", folder.display()))?;
            let manifest = Manifest::parse(&text, &path)?;
            return Ok(Some(Self { name: name.to_owned(), manifest, folder: Some(folder) }));
        }
        let Some(tree) = builtin::tree(name) else { return Ok(None) };
        let text = tree.file(MANIFEST)?.unwrap_or_default();
        let manifest = Manifest::parse(&String::from_utf8_lossy(&text), Path::new(MANIFEST))?;
        Ok(Some(Self { name: name.to_owned(), manifest, folder: None }))
    }

    /// Everything in it.
    pub fn tree(&self) -> Result<Tree> {
        match &self.folder {
            // Its .dockerignore is about the whole build context, which is yet to be made.
            Some(folder) => Tree::read_all(folder),
            None => Ok(builtin::tree(&self.name).unwrap_or_default()),
        }
    }

    /// The folder of the build context that gets the handler.
    pub fn handler_folder(&self) -> &Path {
        Path::new(self.manifest.handler_folder.as_deref().unwrap_or("function"))
    }
}

/// The names of all templates that are here.
pub fn names(project: &Path) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = builtin::names().map(str::to_owned).collect();
    let entries = std::fs::read_dir(project.join(FOLDER)).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.path().join(MANIFEST).is_file());
    all.extend(folders.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    all
}

/// The process that a template names, for functions that name none.
///
/// Nothing is pulled for it: a template that is not here has none to say.
pub fn process(project: &Path, lang: &str) -> Result<Option<String>> {
    if check_name(lang).is_err() {
        return Ok(None);
    }
    let lang = canonical(lang);
    let mut found = Template::find(project, &lang)?;
    if let (None, Some((name, _))) = (&found, lang.split_once('@')) {
        // Versions of a template seldom differ in their process.
        found = Template::find(project, name)?;
    }
    Ok(found.and_then(|template| template.manifest.fprocess).filter(|text| !text.is_empty()))
}

/// The template's name as it is looked for: `Dockerfile` and `dockerfile` are one.
pub fn canonical(lang: &str) -> String {
    if lang.eq_ignore_ascii_case("dockerfile") { "dockerfile".to_owned() } else { lang.to_owned() }
}

/// A template's name is one name of a folder.
fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.+@".contains(c);
    if !name.is_empty() && name.chars().all(good) && !name.starts_with(['.', '-', '@']) {
        return Ok(());
    }
    let hint = "`faas new --list` lists those that are here";
    Err(hinted(format!("{name:?} is not a template's name"), hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_templates_are_whole() {
        let project = tempfile::tempdir().unwrap();
        for name in names(project.path()) {
            let found = Template::find(project.path(), &name).unwrap().unwrap();
            assert!(found.folder.is_none() && found.manifest.language.is_some(), "{name}");
            let starter = found.tree().unwrap().below(found.handler_folder());
            assert!(!starter.is_empty(), "{name} has no starter");
        }
    }

    #[test]
    fn the_folder_comes_before_the_built_in_one() {
        let project = tempfile::tempdir().unwrap();
        let name = builtin::names().next().unwrap_or("node22");
        let own = project.path().join("template").join(name);
        std::fs::create_dir_all(&own).unwrap();
        assert!(Template::find(project.path(), name).is_err(), "a folder without template.yml");
        std::fs::write(own.join("template.yml"), "language: x\nhandler_folder: src\n").unwrap();
        let found = Template::find(project.path(), name).unwrap().unwrap();
        assert_eq!((found.folder.as_ref(), found.handler_folder()), (Some(&own), Path::new("src")));
        assert!(process(project.path(), name).unwrap().is_none());
        assert!(names(project.path()).contains(name));
        assert!(Template::find(project.path(), "nope").unwrap().is_none());
    }

    #[test]
    fn names_are_names() {
        for bad in ["", "..", "../x", "a/b", "-x", ".git", "a b"] {
            assert!(Template::find(Path::new("."), bad).is_err(), "{bad}");
        }
    }
}
