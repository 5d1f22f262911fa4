//! The templates that the program carries.

use std::collections::BTreeSet;
use std::path::Path;

use crate::tree::{Content, Node, Tree};

/// Path, whether it can be executed, bytes.
type File = (&'static str, bool, &'static [u8]);

/// Every file of the project's `templates/`, listed by the build script.
const FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/templates.rs"));

/// Their names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let is_template = |(path, ..): &File| {
        Some(path.strip_suffix("/template.yml")?).filter(|name| !name.contains('/'))
    };
    FILES.iter().filter_map(is_template).collect::<BTreeSet<_>>().into_iter()
}

/// Everything in one of them.
pub(super) fn tree(name: &str) -> Option<Tree> {
    let mut tree = Tree::default();
    for (path, executable, bytes) in FILES {
        if let Ok(inside) = Path::new(path).strip_prefix(name) {
            let node = Node::File { content: Content::Static(bytes), executable: *executable };
            tree.put(inside, node);
        }
    }
    (!tree.is_empty()).then_some(tree)
}
