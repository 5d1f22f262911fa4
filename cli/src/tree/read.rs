//! Folders to trees.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{Content, Ignore, Node, Tree, leaves};
use crate::error::hinted;
use crate::output::warn;

/// The file that says what a folder's tree leaves out.
const IGNORE_FILE: &str = ".dockerignore";

impl Tree {
    /// Everything in a folder but what `skip` takes and what its `.dockerignore` takes.
    ///
    /// Links stay links. One that points out of the folder is an error: it would point at
    /// something else, or at a secret, wherever the tree goes.
    pub fn read(folder: &Path, skip: &dyn Fn(&Path) -> bool) -> Result<Self> {
        let mut tree = Self::default();
        tree.walk(folder, Path::new(""), skip)?;
        tree.ignore_own(folder)?;
        tree.check_links(folder)?;
        Ok(tree)
    }

    /// Everything in a folder, whatever its `.dockerignore` says.
    pub fn read_all(folder: &Path) -> Result<Self> {
        let mut tree = Self::default();
        tree.walk(folder, Path::new(""), &|_| false)?;
        tree.check_links(folder)?;
        Ok(tree)
    }

    /// Everything in a folder, wherever its links point to.
    pub fn scan(folder: &Path) -> Result<Self> {
        let mut tree = Self::default();
        tree.walk(folder, Path::new(""), &|_| false)?;
        Ok(tree)
    }

    /// One file, as a node.
    pub fn read_file(path: &Path) -> Result<Node> {
        let about = fs::metadata(path).with_context(|| path.display().to_string())?;
        let executable = about.permissions().mode() & 0o111 != 0;
        Ok(Node::File { content: Content::Path(path.to_owned()), executable })
    }

    /// Removes what the tree's own `.dockerignore` takes; that file and the Dockerfile stay.
    pub fn ignore_own(&mut self, shown: &Path) -> Result<()> {
        let Some(bytes) = self.file(IGNORE_FILE)? else { return Ok(()) };
        let text = String::from_utf8_lossy(&bytes);
        let ignored =
            Ignore::parse(&text).with_context(|| shown.join(IGNORE_FILE).display().to_string())?;
        let always = [IGNORE_FILE, "Dockerfile"].map(PathBuf::from);
        let kept = always.map(|path| (self.get(&path).cloned(), path));
        self.ignore(&ignored);
        for (node, path) in kept {
            if let Some(node) = node {
                self.put(&path, node);
            }
        }
        Ok(())
    }

    fn walk(&mut self, root: &Path, at: &Path, skip: &dyn Fn(&Path) -> bool) -> Result<()> {
        let folder = root.join(at);
        let context = || folder.display().to_string();
        for entry in fs::read_dir(&folder).with_context(context)? {
            let entry = entry.with_context(context)?;
            let path = at.join(entry.file_name());
            if skip(&path) {
                continue;
            }
            let kind = entry.file_type().with_context(context)?;
            if kind.is_dir() {
                self.put(&path, Node::Folder);
                self.walk(root, &path, skip)?;
            } else if kind.is_symlink() {
                let target = fs::read_link(entry.path()).with_context(context)?;
                self.put(&path, Node::Link(target));
            } else if kind.is_file() {
                let node = Self::read_file(&entry.path())?;
                self.put(&path, node);
            } else {
                warn(&format!(
                    "{} is left out: it is no file, folder or link",
                    entry.path().display()
                ));
            }
        }
        Ok(())
    }

    /// Refuses links that point out of the tree; `root` is what errors call it.
    pub fn check_links(&self, root: &Path) -> Result<()> {
        for (path, node) in self.nodes() {
            let Node::Link(target) = node else { continue };
            if leaves(path, target) {
                let link = root.join(path);
                let message = format!(
                    "{} points to {}, outside of {}",
                    link.display(),
                    target.display(),
                    root.display()
                );
                return Err(hinted(
                    message,
                    "copy what it points to, or name the link in .dockerignore",
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(tree: &Tree) -> Vec<String> {
        tree.nodes().map(|(path, _)| path.display().to_string()).collect()
    }

    #[test]
    fn a_folder_without_what_is_ignored_or_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("build/x")).unwrap();
        fs::create_dir_all(root.join("sub/build")).unwrap();
        fs::create_dir_all(root.join("empty")).unwrap();
        for file in ["handler.js", "größe 1.txt", "Dockerfile", "a.log", "build/y"] {
            fs::write(root.join(file), file).unwrap();
        }
        fs::write(root.join(".dockerignore"), "*.log\nDockerfile\n.dockerignore\nsecret-link\n")
            .unwrap();
        symlink("/etc/shadow", root.join("secret-link")).unwrap();
        symlink("../handler.js", root.join("sub/link")).unwrap();
        let tree = Tree::read(root, &|path| path == Path::new("build")).unwrap();
        let want = [
            ".dockerignore",
            "Dockerfile",
            "empty",
            "größe 1.txt",
            "handler.js",
            "sub",
            "sub/build",
            "sub/link",
        ];
        assert_eq!(names(&tree), want);
    }

    #[test]
    fn links_that_leave_are_refused() {
        for target in ["/etc/passwd", "../x", "sub/../../x"] {
            let folder = tempfile::tempdir().unwrap();
            symlink(target, folder.path().join("link")).unwrap();
            let error = Tree::read(folder.path(), &|_| false).unwrap_err().to_string();
            assert!(error.contains("link points to") && error.contains(target), "{error}");
        }
    }
}
