//! Lists the project's templates, so that the program carries them.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Folders that tools leave behind.
const LITTER: [&str; 5] = ["node_modules", "target", "__pycache__", ".venv", ".tox"];

fn main() {
    // As it is told now: a compiled build script may be used for another checkout.
    let crate_folder = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let root = crate_folder.join("../templates");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    walk(&root, &mut files);
    files.sort();
    assert!(!files.is_empty(), "there are no templates in {}", root.display());
    let mut code = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&root).expect("below the root").display().to_string();
        let mode = fs::metadata(file).expect("readable").permissions().mode();
        let executable = mode & 0o111 != 0;
        let _ = writeln!(code, "({name:?}, {executable}, include_bytes!({file:?})),");
    }
    code.push_str("]\n");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("set by cargo"));
    fs::write(out.join("templates.rs"), code).expect("writable");
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder").flatten() {
        let path = entry.path();
        if LITTER.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if path.is_dir() { walk(&path, files) } else { files.push(path) }
    }
}
