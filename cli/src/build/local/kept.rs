//! The outputs of a step, kept under a key that stands for everything they depend on.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::cache::{Slot, made};
use crate::tree::{Content, Globs, Node, Tree};

/// The folder of the outputs' files, below that of the key.
const FILES: &str = "files";
/// The list of what is in it.
const LIST: &str = "list.json";

/// One output.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Folder,
    File { size: u64, executable: bool },
    Link { target: PathBuf },
}

/// The outputs that are kept under a key; `None` when none are.
pub(crate) fn load(slot: &Slot, key: &str) -> Result<Option<Tree>> {
    let folder = slot.steps().join(key);
    let Ok(text) = fs::read(folder.join(LIST)) else { return Ok(None) };
    // A list that cannot be read is one that was damaged: the step runs again.
    let Ok(entries) = serde_json::from_slice::<Vec<Entry>>(&text) else { return Ok(None) };
    let mut tree = Tree::default();
    for Entry { path, kind } in entries {
        let node = match kind {
            Kind::Folder => Node::Folder,
            Kind::Link { target } => Node::Link(target),
            Kind::File { size, executable } => {
                let content = Content::Stored { path: folder.join(FILES).join(&path), size };
                Node::File { content, executable }
            }
        };
        tree.put(&path, node);
    }
    Ok(Some(tree))
}

/// The key under which a file is kept, when it is.
pub(crate) fn key_of<'a>(slot: &Slot, content: &'a Content) -> Option<&'a str> {
    let Content::Stored { path, .. } = content else { return None };
    let inside = path.strip_prefix(slot.steps()).ok()?;
    inside.components().next()?.as_os_str().to_str()
}

/// Moves outputs out of the build folder and keeps them under a key.
pub(crate) fn save(slot: &Slot, key: &str, (outputs, globs): (&Tree, &Globs)) -> Result<()> {
    let temporary = slot.temporary()?;
    let files = made(temporary.join(FILES))?;
    let mut moved: Option<PathBuf> = None;
    for (path, node) in outputs.nodes() {
        if moved.as_ref().is_some_and(|folder| path.starts_with(folder)) {
            continue;
        }
        let target = files.join(path);
        if globs.take(path) {
            let from = slot.work().join(path);
            fs::rename(&from, &target).with_context(|| from.display().to_string())?;
            moved = matches!(node, Node::Folder).then(|| path.to_owned());
        } else {
            made(target)?;
        }
    }
    fs::write(temporary.join(LIST), serde_json::to_vec(&entries(outputs, &files)?)?)?;
    let place = made(slot.steps())?.join(key);
    super::cache::remove(&place)?;
    fs::rename(&temporary, &place).with_context(|| place.display().to_string())
}

fn entries(outputs: &Tree, files: &Path) -> Result<Vec<Entry>> {
    let entry = |(path, node): (&Path, &Node)| {
        let kind = match node {
            Node::Folder => Kind::Folder,
            Node::Link(target) => Kind::Link { target: target.clone() },
            Node::File { executable, .. } => {
                let file = files.join(path);
                let about = file.metadata().with_context(|| file.display().to_string())?;
                Kind::File { size: about.len(), executable: *executable }
            }
        };
        Ok(Entry { path: path.to_owned(), kind })
    };
    outputs.nodes().map(entry).collect()
}
