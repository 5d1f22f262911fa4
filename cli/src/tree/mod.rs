//! A folder as a value: what is in it, before it is written or sent.
//!
//! Build contexts and templates are trees. Modes and times are made alike (files 0644 or 0755, one
//! fixed time), so that the same sources make the same tree whatever the umask and the clock were.

mod globs;
mod ignore;
mod read;
mod write;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

pub use globs::Globs;
pub use ignore::Ignore;

/// Files, folders and links by their paths, which are relative and have no `.` or `..`.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    nodes: BTreeMap<PathBuf, Node>,
}

/// What is at a path.
#[derive(Clone, Debug)]
pub enum Node {
    /// A folder.
    Folder,
    /// A file.
    File {
        /// What is in it.
        content: Content,
        /// Whether it can be executed.
        executable: bool,
    },
    /// A symbolic link and its target.
    Link(PathBuf),
}

/// What is in a file.
#[derive(Clone, Debug)]
pub enum Content {
    /// What the file at this path holds when the tree is written.
    Path(PathBuf),
    /// What the file at this path holds, which is known to be so many bytes.
    Stored {
        /// The file.
        path: PathBuf,
        /// Its size when it was stored; another one means damage.
        size: u64,
    },
    /// Bytes of this program.
    Static(&'static [u8]),
    /// Bytes that were made for this tree.
    Made(Arc<[u8]>),
}

impl Content {
    /// The bytes.
    pub fn read(&self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Path(path) | Self::Stored { path, .. } => std::fs::read(path),
            Self::Static(bytes) => Ok(bytes.to_vec()),
            Self::Made(bytes) => Ok(bytes.to_vec()),
        }
    }
}

impl Tree {
    /// Puts a node at a path, in place of what was there. What stands in the way of its folders
    /// goes: a later tree wins over an earlier one, and nothing is ever written through a link.
    pub fn put(&mut self, path: &Path, node: Node) {
        for folder in path.ancestors().skip(1).filter(|folder| *folder != Path::new("")) {
            let there = self.nodes.get(folder);
            if !matches!(there, Some(Node::Folder)) {
                self.nodes.insert(folder.to_owned(), Node::Folder);
            }
        }
        if !matches!(node, Node::Folder) {
            self.remove(path);
        }
        self.nodes.insert(path.to_owned(), node);
    }

    /// Puts everything of another tree below a folder of this one.
    pub fn graft(&mut self, at: &Path, other: Self) {
        for (path, node) in other.nodes {
            self.put(&at.join(path), node);
        }
    }

    /// Removes a path and everything below it.
    pub fn remove(&mut self, path: &Path) {
        let taken: Vec<PathBuf> = self.from(path).map(|(path, _)| path.to_owned()).collect();
        for path in taken {
            self.nodes.remove(&path);
        }
    }

    /// What is below a folder, as a tree of its own.
    pub fn below(&self, folder: &Path) -> Self {
        let inside = |(path, node): (&Path, &Node)| {
            let path = path.strip_prefix(folder).ok().filter(|rest| *rest != Path::new(""))?;
            Some((path.to_owned(), node.clone()))
        };
        Self { nodes: self.from(folder).filter_map(inside).collect() }
    }

    /// What is at a path and below it: paths are ordered by their parts, so this is one range.
    fn from(&self, path: &Path) -> impl Iterator<Item = (&Path, &Node)> {
        let range = self.nodes.range::<Path, _>((Bound::Included(path), Bound::Unbounded));
        let start = path.to_owned();
        range.map(|(p, node)| (p.as_path(), node)).take_while(move |(p, _)| p.starts_with(&start))
    }

    /// What is at a path.
    pub fn get(&self, path: &Path) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The bytes of a file; `None` when no file is there.
    pub fn file(&self, path: &str) -> std::io::Result<Option<Vec<u8>>> {
        match self.get(Path::new(path)) {
            Some(Node::File { content, .. }) => content.read().map(Some),
            _ => Ok(None),
        }
    }

    /// Every path and what is there; a folder comes before what is in it.
    pub fn nodes(&self) -> impl Iterator<Item = (&Path, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_path(), node))
    }

    /// What is at the paths that `wanted` takes, as a tree of its own.
    pub fn only(&self, wanted: impl Fn(&Path) -> bool) -> Self {
        let mut tree = Self::default();
        for (path, node) in self.nodes().filter(|(path, _)| wanted(path)) {
            tree.put(path, node.clone());
        }
        tree
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Removes what a list of ignored paths takes, and the folders that this leaves empty.
    pub fn ignore(&mut self, ignored: &Ignore) {
        let taken: Vec<PathBuf> =
            self.nodes.keys().filter(|path| ignored.takes(path)).cloned().collect();
        for path in taken.into_iter().rev() {
            let holds_more = self.from(&path).nth(1).is_some();
            if !holds_more {
                self.nodes.remove(&path);
            }
        }
    }
}

/// Whether a link's target is outside of the folder that the link's path is relative to.
fn leaves(link: &Path, target: &Path) -> bool {
    let mut depth = link.components().count() - 1;
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Node {
        Node::File { content: Content::Static(b"x"), executable: false }
    }

    fn paths(tree: &Tree) -> Vec<&str> {
        tree.nodes().map(|(path, _)| path.to_str().unwrap()).collect()
    }

    #[test]
    fn later_nodes_win_and_nothing_is_below_a_link() {
        let mut tree = Tree::default();
        tree.put(Path::new("function"), Node::Link("/etc".into()));
        tree.put(Path::new("function/a/b"), file());
        assert!(matches!(tree.get(Path::new("function")), Some(Node::Folder)));
        tree.put(Path::new("function/a"), file());
        assert_eq!(paths(&tree), ["function", "function/a"]);
        let mut other = Tree::default();
        other.put(Path::new("a/c"), file());
        tree.graft(Path::new("function"), other);
        assert_eq!(paths(&tree), ["function", "function/a", "function/a/c"]);
        assert_eq!(paths(&tree.below(Path::new("function/a"))), ["c"]);
    }

    #[test]
    fn links_out() {
        let cases = [
            ("a", "b", false),
            ("a/b", "../c", false),
            ("a/b", "../../c", true),
            ("a", "..", true),
            ("a", "/etc/passwd", true),
            ("a/b/c", "x/../../../y", false),
            ("a/b", "x/../../../y", true),
        ];
        for (link, target, want) in cases {
            assert_eq!(leaves(Path::new(link), Path::new(target)), want, "{link} -> {target}");
        }
    }

    #[test]
    fn ignored_folders_stay_for_what_is_kept_in_them() {
        let mut tree = Tree::default();
        for path in ["a/b/keep", "a/b/drop", "c/d", "e"] {
            tree.put(Path::new(path), file());
        }
        tree.ignore(&Ignore::parse("a\nc\n!a/b/keep\n").unwrap());
        assert_eq!(paths(&tree), ["a", "a/b", "a/b/keep", "e"]);
    }
}
