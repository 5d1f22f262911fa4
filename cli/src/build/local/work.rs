//! The build folder: made to hold exactly a tree, and read back.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::cache::{Slot, made, remove};
use super::kept;
use crate::tree::{Content, Node, Tree};

/// Makes the build folder hold a tree and nothing else.
///
/// What is as it should be is left alone, so that compilers which go by the times of files see
/// only what has changed.
pub(crate) fn sync(slot: &Slot, tree: &Tree) -> Result<()> {
    let placed = slot.placed();
    slot.note_placed(None)?;
    let work = made(slot.work())?;
    let have = Tree::scan(&work)?;
    for (path, node) in have.nodes() {
        if !tree.get(path).is_some_and(|wanted| same_kind(wanted, node)) {
            remove(&work.join(path))?;
        }
    }
    let mut keys: Vec<String> = Vec::new();
    for (path, node) in tree.nodes() {
        let at = work.join(path);
        let key = match node {
            Node::File { content, .. } => kept::key_of(slot, content),
            _ => None,
        };
        let trusted = key.is_some_and(|key| placed.iter().any(|placed| placed == key));
        put(&at, node, trusted).with_context(|| at.display().to_string())?;
        if let Some(key) = key.filter(|key| !keys.iter().any(|have| have == key)) {
            keys.push(key.to_owned());
        }
    }
    slot.note_placed(Some(&keys))
}

fn same_kind(one: &Node, other: &Node) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

/// Makes a path what it should be; `trusted`: a file of the right size is the right one.
fn put(at: &Path, node: &Node, trusted: bool) -> io::Result<()> {
    match node {
        Node::Folder if at.is_dir() => Ok(()),
        Node::Link(target) if fs::read_link(at).is_ok_and(|there| there == *target) => Ok(()),
        Node::File { content, executable } if is_same(at, content, trusted)? => {
            set_mode(at, *executable)
        }
        _ => {
            match fs::remove_file(at) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            Tree::write_one(at, node)
        }
    }
}

fn is_same(at: &Path, content: &Content, trusted: bool) -> io::Result<bool> {
    let Ok(about) = at.metadata() else { return Ok(false) };
    match content {
        Content::Path(from) if from == at => Ok(true),
        Content::Stored { size, .. } => Ok(trusted && about.len() == *size),
        Content::Path(from) => {
            Ok(from.metadata()?.len() == about.len() && fs::read(at)? == fs::read(from)?)
        }
        Content::Static(bytes) => Ok(fs::read(at)? == *bytes),
        Content::Made(bytes) => Ok(fs::read(at)? == **bytes),
    }
}

fn set_mode(at: &Path, executable: bool) -> io::Result<()> {
    let mode = at.metadata()?.permissions().mode();
    if (mode & 0o111 != 0) == executable {
        return Ok(());
    }
    fs::set_permissions(at, PermissionsExt::from_mode(if executable { 0o755 } else { 0o644 }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::Arc;

    use super::*;
    use crate::config::Environment;

    fn made_file(text: &str) -> Node {
        Node::File { content: Content::Made(Arc::from(text.as_bytes())), executable: false }
    }

    #[tokio::test]
    async fn the_folder_holds_the_tree_and_nothing_else() {
        let state = tempfile::tempdir().unwrap();
        let mut env = Environment::default();
        env.building.state_dir = Some(state.path().to_owned());
        let slot = Slot::open(&env, ("f", Path::new("f")), || ()).await.unwrap();
        let mut tree = Tree::default();
        for (path, text) in [("a/ö 1.txt", "1"), ("a/b", "2"), ("c", "3"), ("d/e", "4")] {
            tree.put(Path::new(path), made_file(text));
        }
        tree.put(Path::new("link"), Node::Link("a/b".into()));
        sync(&slot, &tree).unwrap();
        let work = slot.work();
        let modified = |path: &str| work.join(path).metadata().unwrap().modified().unwrap();
        let before = modified("c");

        // What a command leaves behind, and what its author changes.
        fs::write(work.join("rubbish"), "").unwrap();
        fs::write(work.join("a/b"), "x").unwrap();
        fs::remove_dir_all(work.join("d")).unwrap();
        symlink("/etc", work.join("d")).unwrap();
        tree.put(Path::new("link"), Node::Link("c".into()));
        tree.remove(Path::new("a/ö 1.txt"));
        sync(&slot, &tree).unwrap();
        let names: Vec<String> = Tree::scan(&work)
            .unwrap()
            .nodes()
            .map(|(path, _)| path.display().to_string())
            .collect();
        assert_eq!(names, ["a", "a/b", "c", "d", "d/e", "link"]);
        assert_eq!(fs::read_to_string(work.join("a/b")).unwrap(), "2");
        assert_eq!(fs::read_link(work.join("link")).unwrap(), Path::new("c"));
        assert_eq!(modified("c"), before, "what is right is left alone");
    }
}
