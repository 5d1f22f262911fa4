//! What in a function's folder is nobody's change: others' files, editors' files, ignored files.

use std::path::{Path, PathBuf};

use ignore::gitignore::Gitignore;

use crate::output::warn;
use crate::tree::Ignore;

/// Folders that tools make.
const FOLDERS: [&str; 10] = [
    "node_modules",
    ".git",
    ".hg",
    "__pycache__",
    "target",
    ".venv",
    ".tox",
    ".pytest_cache",
    ".mypy_cache",
    ".idea",
];
/// How the names of editors' files begin.
const PREFIXES: [&str; 3] = [".#", "#", ".goutputstream-"];
/// How they end.
const SUFFIXES: [&str; 9] =
    ["~", ".swp", ".swo", ".swx", ".tmp", ".crswap", ".kate-swp", "___jb_tmp___", "___jb_old___"];
/// Names that Vim and file managers leave.
const NAMES: [&str; 2] = ["4913", ".DS_Store"];
/// The files that say what else is ignored.
const LISTS: [&str; 2] = [".gitignore", ".dockerignore"];

/// What is ignored below one folder.
#[derive(Debug)]
pub(super) struct Ignored {
    root: PathBuf,
    git: Vec<Gitignore>,
    docker: Ignore,
}

impl Ignored {
    /// Reads the lists of a folder, and those above it up to the project's.
    pub(super) fn read(root: &Path, project: &Path) -> Self {
        let above = root.ancestors().take_while(|folder| folder.starts_with(project));
        let git = above.filter_map(|folder| gitignore(&folder.join(LISTS[0]))).collect();
        let docker = std::fs::read_to_string(root.join(LISTS[1])).unwrap_or_default();
        // What is wrong with it is an error of the build.
        let docker = Ignore::parse(&docker).unwrap_or_default();
        Self { root: root.to_owned(), git, docker }
    }

    /// Whether a change of this path, which is below the folder, is of no interest.
    pub(super) fn takes(&self, path: &Path, is_folder: bool) -> bool {
        let Ok(inside) = path.strip_prefix(&self.root) else { return false };
        if is_list(path) {
            return false;
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        inside.components().any(|part| FOLDERS.iter().any(|name| part.as_os_str() == *name))
            || is_editors(name)
            || self.docker.takes(inside)
            || self.git.iter().any(|list| is_listed(list, path, is_folder))
    }
}

/// Whether it says what is ignored.
pub(super) fn is_list(path: &Path) -> bool {
    path.file_name().is_some_and(|name| LISTS.iter().any(|list| name == *list))
}

fn is_editors(name: &str) -> bool {
    NAMES.contains(&name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

fn gitignore(file: &Path) -> Option<Gitignore> {
    if !file.is_file() {
        return None;
    }
    let (list, error) = Gitignore::new(file);
    if let Some(error) = error {
        warn(&error.to_string());
    }
    Some(list)
}

fn is_listed(list: &Gitignore, path: &Path, is_folder: bool) -> bool {
    path.starts_with(list.path()) && list.matched_path_or_any_parents(path, is_folder).is_ignore()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_editors_and_lists() {
        let project = tempfile::tempdir().unwrap();
        let at = |path: &str| project.path().join(path);
        std::fs::create_dir_all(at("a/f")).unwrap();
        std::fs::write(at(".gitignore"), "*.log\n/a/f/out\n").unwrap();
        std::fs::write(at("a/f/.gitignore"), "local\n").unwrap();
        std::fs::write(at("a/f/.dockerignore"), "**/*.md\n").unwrap();
        let ignored = Ignored::read(&at("a/f"), project.path());
        for path in [
            "a/f/node_modules/x/index.js",
            "a/f/x/__pycache__/y.pyc",
            "a/f/.handler.js.swp",
            "a/f/handler.js~",
            "a/f/4913",
            "a/f/#handler.js#",
            "a/f/x.log",
            "a/f/out/y",
            "a/f/local",
            "a/f/docs/x.md",
        ] {
            assert!(ignored.takes(&at(path), false), "{path}");
        }
        for path in ["a/f/handler.js", "a/f/.gitignore", "a/f/ö/x.js", "other/x.log"] {
            assert!(!ignored.takes(&at(path), false), "{path}");
        }
    }
}
