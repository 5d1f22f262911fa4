//! Bundles: archives that a client sends, unpacked.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use provider::bundle::{Digest, Limits, Store};
use sha2::{Digest as _, Sha256};

/// Small enough that a bomb is no bomb, large enough for what a fuzzer makes.
const LIMITS: Limits = Limits { archive_bytes: 1 << 20, unpacked_bytes: 1 << 20, files: 100 };
/// A file system in memory, where there is one: flushing costs nothing there.
const MEMORY: &str = "/dev/shm";

/// Whatever an archive holds, nothing outside of its folder changes; what is refused leaves
/// nothing, and what is taken is plain.
///
/// The first byte tells whether the rest is an archive, or a tar stream that is packed here.
pub fn run(data: &[u8]) {
    let [form, rest @ ..] = data else { return };
    let archive = match form % 2 {
        0 => rest.to_vec(),
        _ => zstd::encode_all(rest, 1).expect("memory does not fail"),
    };
    let around = folder();
    let state = around.path().join("state");
    fs::create_dir(&state).expect("a folder");
    let store = Store::open(&state, LIMITS).expect("a store");
    let digest = Digest::new(Sha256::digest(&archive).into());
    let taken = store.begin(digest).and_then(|mut upload| {
        upload.write(&archive)?;
        upload.finish()
    });
    assert_eq!(names(around.path()), ["state"], "something was written outside");
    assert_eq!(names(&state), ["bundles"], "something was written outside");
    let bundles = state.join("bundles");
    assert!(names(&bundles.join("temp")).is_empty(), "something is left over");
    let unpacked = bundles.join("unpacked");
    match taken {
        Ok(_) => plain(&unpacked.join(digest.hex()).join("tree")),
        Err(_) => assert!(names(&unpacked).is_empty(), "what was refused is there"),
    }
}

fn folder() -> tempfile::TempDir {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("flint-fuzz-");
    match Path::new(MEMORY).is_dir() {
        true => builder.tempdir_in(MEMORY),
        false => builder.tempdir(),
    }
    .expect("a temporary folder")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let name = |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    entries(folder).into_iter().filter_map(name).collect()
}

/// Files and folders of plain modes, and links that stay inside.
fn plain(tree: &Path) {
    let top = tree.canonicalize().expect("what was taken is there");
    let mut folders = vec![top.clone()];
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            let metadata = fs::symlink_metadata(&path).expect("an entry");
            let mode = metadata.permissions().mode() & 0o7777;
            if metadata.is_symlink() {
                let inside = path.canonicalize().map_or(true, |target| target.starts_with(&top));
                assert!(inside, "{} leads out", path.display());
            } else if metadata.is_dir() {
                assert_eq!(mode, 0o755, "{}", path.display());
                folders.push(path);
            } else {
                assert!(metadata.is_file(), "{} is no file", path.display());
                assert!([0o644, 0o755].contains(&mode), "{}: {mode:o}", path.display());
            }
        }
    }
}
