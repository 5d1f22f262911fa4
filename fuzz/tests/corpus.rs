//! Tries what the fuzzer is given to start with, and what it once found, on any compiler.

use std::fs;
use std::path::{Path, PathBuf};

use targets::TARGETS;

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Tries the target's files, and each of them cut short, as transfers are.
fn try_all(target: &str) {
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let files = files(&here().join("corpus").join(target));
    assert!(!files.is_empty(), "{target} has no corpus");
    for file in files {
        println!("{}", file.display());
        let data = fs::read(&file).unwrap();
        run(&data);
        run(&data[..data.len() / 2]);
    }
}

macro_rules! targets {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            try_all(stringify!($name));
        })*

        #[test]
        fn every_target_is_tried_and_has_its_program() {
            let tried = [$(stringify!($name)),*];
            assert_eq!(TARGETS.map(|(name, _)| name), tried);
            let programs = files(&here().join("fuzz_targets"));
            let programs: Vec<_> = programs.iter().filter_map(|p| p.file_stem()?.to_str()).collect();
            assert_eq!(programs, tried);
            let folders = files(&here().join("corpus"));
            let folders: Vec<_> = folders.iter().filter_map(|p| p.file_name()?.to_str()).collect();
            assert_eq!(folders, tried);
        }
    };
}

targets!(alert, bodies, bundle, cgi, chunks, duration, heads, lines, names, stack);
