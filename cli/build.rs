//! Lists the project's templates, so that the program carries them.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Folders that tools leave behind.
const LITTER: [&str; 5] = ["node_modules", "target", "__pycache__", ".venv", ".tox"];

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../templates");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    walk(&root, &mut files);
    files.sort();
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
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if LITTER.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if path.is_dir() { walk(&path, files) } else { files.push(path) }
    }
}
