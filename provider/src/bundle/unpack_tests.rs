//! Every way in which an archive can be wrong.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use tar::EntryType;

use super::sample::{Archive, SmallDisk, config, pack, paths};
use super::unpack::unpack;
use super::{Config, Limits};
use crate::{Error, Result};

/// Unpacks into a new folder.
fn into_new(archive: &[u8], limits: &Limits) -> (tempfile::TempDir, Result<Config>) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("tree");
    fs::create_dir(&folder).unwrap();
    let unpacked = unpack(archive, (&folder, None), limits);
    (dir, unpacked)
}

/// The reason why an archive is refused; checks that nothing lies outside its folder.
fn refused_with(archive: &[u8], limits: &Limits) -> String {
    let (dir, unpacked) = into_new(archive, limits);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something lies outside");
    match unpacked {
        Err(Error::Invalid { field, reason }) if field == "bundle" => reason,
        other => panic!("{other:?}"),
    }
}

fn refused(archive: Archive) -> String {
    refused_with(&archive.build(), &Limits::default())
}

/// A right bundle, to which something is added.
fn right() -> Archive {
    Archive::running("node index.js")
}

/// An entry without content.
fn odd(kind: EntryType) -> Archive {
    right().entry("odd", (kind, 0o644), ("", b""))
}

/// A pax header with these records before a file.
fn pax(records: &[(&str, &str)]) -> Archive {
    let record = |(key, value): &(&str, &str)| {
        let rest = format!(" {key}={value}\n");
        let digits = (rest.len() + 2).to_string().len();
        format!("{}{rest}", rest.len() + digits)
    };
    let records: String = records.iter().map(record).collect();
    right().entry("pax", (EntryType::XHeader, 0o644), ("", records.as_bytes()))
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_right_archive_is_unpacked_readable_for_all_and_writable_for_one() {
    let archive = right()
        .folder("./")
        .file("index.js", "serve()")
        .entry("run", (EntryType::Regular, 0o6777), ("", b"#!/bin/sh"))
        .entry("open", (EntryType::Directory, 0o1777), ("", b""))
        .file("./a/b/c", "c")
        .folder("a/b/")
        .program("node_modules/tool/cli.js", "x")
        .link("node_modules/.bin/tool", "../tool/cli.js")
        .link("node_modules/up", "..")
        .entry("a/same", (EntryType::Link, 0o644), ("./a/b/c", b""))
        .entry(b"caf\xe9", (EntryType::Regular, 0o444), ("", b"latin"));
    let (dir, unpacked) = into_new(&archive.build(), &Limits::default());
    assert_eq!(unpacked.unwrap(), config(&[("fprocess", "node index.js")]));
    let tree = dir.path().join("tree");
    for (path, wanted) in [
        ("index.js", 0o644),
        ("run", 0o755),
        ("open", 0o755),
        ("a", 0o755),
        ("a/b/c", 0o644),
        (".flint", 0o755),
    ] {
        assert_eq!(mode(&tree.join(path)), wanted, "{path}");
    }
    assert_eq!(fs::read_to_string(tree.join("node_modules/.bin/tool")).unwrap(), "x");
    assert_eq!(fs::read_to_string(tree.join("a/same")).unwrap(), "c");
    assert!(tree.join(std::ffi::OsStr::from_bytes(b"caf\xe9")).is_file());
    assert_eq!(fs::metadata(tree.join("index.js")).unwrap().mtime(), 1, "the time is kept");
}

#[test]
fn long_names_are_read() {
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    let archive = right()
        .entry("long", (EntryType::GNULongName, 0), ("", format!("{long}\0").as_bytes()))
        .file("short", "gnu");
    let records = [("path", long.as_str()), ("mtime", "1.5"), ("comment", "none")];
    for archive in [archive, pax(&records).file("short", "pax")] {
        let (dir, unpacked) = into_new(&archive.build(), &Limits::default());
        unpacked.unwrap();
        assert!(dir.path().join("tree").join(&long).is_file());
        assert!(!paths(dir.path()).contains(&"tree/short".to_owned()));
    }
}

#[test]
fn paths_stay_inside() {
    for (path, why) in [
        ("/etc/evil", "absolute"),
        ("../evil", ".. in it"),
        ("a/../../evil", ".. in it"),
        ("a/..", ".. in it"),
        ("a/./../b", ".. in it"),
        ("", "no path"),
        ("./", "its top folder"),
        ("file/", "ends with /"),
    ] {
        let reason = refused(right().file(path, "evil"));
        assert!(reason.contains(why), "{path}: {reason}");
    }
    assert!(refused(right().folder("../up")).contains(".. in it"));
    assert!(refused(pax(&[("path", "../evil")]).file("good", "evil")).contains(".. in it"));
    let nul = right()
        .entry("long", (EntryType::GNULongName, 0), ("", b"good\0/../evil\0"))
        .file("good", "evil");
    assert!(refused(nul).contains("no path"));
}

#[test]
fn paths_have_a_limit() {
    let deep = "d/".repeat(65);
    let long = ["n".repeat(200).as_str(); 11].join("/");
    let name = "n".repeat(256);
    for (path, why) in [
        (&deep, "more than 64 folders deep"),
        (&long, "longer than 2048 bytes"),
        (&name, "more than 255 bytes"),
    ] {
        let reason = refused(pax(&[("path", path)]).folder("short"));
        assert!(reason.contains(why), "{reason}");
        assert!(reason.len() < 600, "{reason}");
    }
    let huge = vec![b'a'; 20_000];
    let reason = refused(right().entry("long", (EntryType::GNULongName, 0), ("", &huge)));
    assert!(reason.contains("over 16384 bytes"), "{reason}");
}

#[test]
fn links_stay_inside() {
    for (path, target, why) in [
        ("link", "/etc/passwd", "absolute"),
        ("link", "../outside", "out of the bundle"),
        ("a/link", "../../outside", "out of the bundle"),
        ("a/link", "b/../../../outside", ".. after a name"),
        ("link", "", "no path"),
    ] {
        let reason = refused(right().link(path, target));
        assert!(reason.contains(why), "{path} to {target}: {reason}");
    }
    // By the names alone this is `d/d`, but `d/d/up` is the top, and so it is two above it.
    let chain = right().link("d/d/up", "../..").link("escape", "d/d/up/../..");
    assert!(refused(chain).contains(".. after a name"));
}

#[test]
fn nothing_is_written_through_a_link() {
    for target in ["..", "a", "a/deep"] {
        let archive = right().folder("x/a/deep").link("x/link", target).file("x/link/evil", "evil");
        let reason = refused(archive);
        assert!(reason.contains("no folder but a file or link"), "{reason}");
    }
    assert!(refused(right().link("l", "t").file("l", "evil")).contains("twice"));
    assert!(refused(right().link("l", "t").folder("l")).contains("file or link"));
    let reason = refused(right().file("file", "").file("file/evil", ""));
    assert!(reason.contains("file or link"), "{reason}");
}

#[test]
fn hard_links_are_to_files_that_came_before() {
    let hard = |archive: Archive, target: &str| {
        refused(archive.entry("hard", (EntryType::Link, 0o644), (target, b"")))
    };
    for target in ["/etc/passwd", "../outside", "a/../../outside", ""] {
        assert!(hard(right(), target).contains("out of the bundle"), "{target}");
    }
    for target in ["missing", "folder", "link", "folder/missing", "way/file", "."] {
        let archive = right().folder("folder").link("link", "folder").link("way", "folder");
        let reason = hard(archive.file("folder/file", ""), target);
        assert!(reason.contains("no file that comes before it"), "{target}: {reason}");
    }
    let onto = right().file("a", "").file("b", "");
    assert!(refused(onto.entry("b", (EntryType::Link, 0), ("a", b""))).contains("twice"));
}

#[test]
fn what_is_no_file_folder_or_link_is_refused() {
    for (kind, why) in [
        (EntryType::Char, "device"),
        (EntryType::Block, "device"),
        (EntryType::Fifo, "fifo"),
        (EntryType::Continuous, "only files, folders and links"),
        (EntryType::GNUSparse, "sparse"),
        (EntryType::XGlobalHeader, "only files, folders and links"),
        (EntryType::new(b'V'), "only files, folders and links"),
    ] {
        let reason = refused(odd(kind));
        assert!(reason.contains(why), "{kind:?}: {reason}");
    }
    let full = right().entry("d", (EntryType::Directory, 0o755), ("", b"hidden"));
    assert!(refused(full).contains("has content"));
    let full = right().entry("l", (EntryType::Symlink, 0o777), ("t", b"hidden"));
    assert!(refused(full).contains("has content"));
}

#[test]
fn an_entry_comes_once() {
    assert!(refused(right().file("a", "1").file("./a", "2")).contains("twice"));
    assert!(refused(right().folder("a").folder("a//")).contains("twice"));
    assert!(refused(right().folder("a").file("a", "")).contains("twice"));
    assert!(refused(right().file("a", "").folder("a")).contains("no folder"));
}

#[test]
fn lies_about_sizes_are_refused() {
    assert!(refused(pax(&[("size", "0")]).file("a", "1")).contains("another size"));
    for key in ["GNU.sparse.realsize", "GNU.sparse.map"] {
        assert!(refused(pax(&[(key, "1073741824")]).file("a", "1")).contains("sparse"));
    }
    for records in [
        b"9 path=x".as_slice(),
        b"99 path=x\n",
        b"9 path=xy\n9 size=1\n",
        b"9 path=x\n\n9 size=1\n",
    ] {
        let archive = right().entry("pax", (EntryType::XHeader, 0), ("", records)).file("a", "1");
        assert!(refused(archive).contains("malformed"), "{records:?}");
    }
    let mut claims = Archive::default().file("a", "x").unfinished();
    claims[124..135].copy_from_slice(b"77777777777");
    assert!(refused(right().raw(&claims)).contains("checksum"));
    let mut header = tar::Header::new_ustar();
    header.set_size(1 << 40);
    header.set_cksum();
    header.set_path("a").unwrap();
    header.set_cksum();
    assert!(refused(right().raw(header.as_bytes())).contains("not whole"));
}

#[test]
fn an_archive_is_whole_and_nothing_follows_it() {
    let limits = Limits::default();
    let tar = right().file("index.js", vec![7; 3000]).unfinished();
    let zeros = |count: usize| pack(&[tar.as_slice(), &vec![0; count]].concat());
    into_new(&zeros(10240), &limits).1.unwrap();
    for cut in [pack(&tar), zeros(512), pack(&tar[..tar.len() - 512]), pack(b"")] {
        assert!(refused_with(&cut, &limits).contains("not whole"));
    }
    let good = zeros(1024);
    for len in [good.len() - 1, good.len() / 2, 5, 0] {
        let reason = refused_with(&good[..len], &limits);
        assert!(reason.contains("not whole"), "{len}: {reason}");
    }
    for garbage in [b"x".to_vec(), good.clone(), b"\x50\x2a\x4d\x18\x00\x00\x00\x00".to_vec()] {
        let reason = refused_with(&[good.clone(), garbage].concat(), &limits);
        assert!(reason.contains("after the end of its zstd frame"), "{reason}");
    }
    let more = [tar.as_slice(), &[0; 1024], b"more"].concat();
    assert!(refused_with(&pack(&more), &limits).contains("after the end of its tar archive"));
}

#[test]
fn what_is_no_archive_is_refused() {
    let limits = Limits::default();
    let tar = right().unfinished();
    for bytes in [tar.as_slice(), b"PK\x03\x04", &[0x1f; 600], b"not an archive at all"] {
        let reason = refused_with(bytes, &limits);
        assert!(reason.contains("no tar archive packed with zstd"), "{reason}");
    }
    assert!(refused_with(&pack(&[7; 2000]), &limits).contains("checksum"));
}

#[test]
fn bombs_do_not_go_off() {
    let limits = Limits { unpacked_bytes: 1 << 20, files: 10, ..Limits::default() };
    let (dir, unpacked) = into_new(&right().file("zeros", vec![0; 2 << 20]).build(), &limits);
    assert!(unpacked.unwrap_err().to_string().contains("more than 1048576 bytes"));
    assert!(fs::metadata(dir.path().join("tree/zeros")).unwrap().len() <= 1 << 20);
    let padded = pack(&[right().unfinished(), vec![0; 2 << 20]].concat());
    assert!(refused_with(&padded, &limits).contains("more than 1048576 bytes"));

    let files = |count: usize| {
        (0..count).fold(right(), |archive, number| archive.file(&format!("f{number}"), ""))
    };
    into_new(&files(8).build(), &limits).1.unwrap();
    assert!(refused_with(&files(9).build(), &limits).contains("more than 10 files"));
    let folders = right().folder(&"d/".repeat(9));
    assert!(refused_with(&folders.build(), &limits).contains("more than 10 files"));
    let headers = (0..40).fold(right(), |archive, _| {
        archive.entry("pax", (EntryType::XHeader, 0), ("", b"9 path=x\n"))
    });
    assert!(refused_with(&headers.build(), &limits).contains("more than 30 tar headers"));
}

#[test]
fn a_window_that_wants_much_memory_is_refused() {
    use std::io::Write;
    let mut packer = zstd::Encoder::new(Vec::new(), 1).unwrap();
    packer.window_log(28).unwrap();
    packer.write_all(&[right().unfinished(), vec![0; 1024]].concat()).unwrap();
    let reason = refused_with(&packer.finish().unwrap(), &Limits::default());
    assert!(reason.contains("no tar archive packed with zstd"), "{reason}");
    assert!(reason.to_lowercase().contains("memory"), "{reason}");
}

#[test]
fn it_says_how_it_is_run() {
    let with = |text: &str| refused(Archive::default().file(super::CONFIG_FILE, text));
    assert!(refused(Archive::default().file("index.js", "")).contains("has no .flint/bundle.json"));
    assert!(refused(Archive::default().file(".flint", "")).contains("has no .flint/bundle.json"));
    let linked = Archive::default().file("other", "{}").link(super::CONFIG_FILE, "../other");
    assert!(refused(linked).contains("no file of up to"));
    assert!(with("{").contains("cannot be read"));
    assert!(with(r#"{"schema": "one"}"#).contains("cannot be read"));
    assert!(with(r#"{"environment": {"fprocess": "x"}}"#).contains("no schema"));
    assert!(with(r#"{"schema": 2}"#).contains("made by a newer faas"));
    assert!(with(r#"{"schema": 1}"#).contains("neither fprocess nor mode=static"));
    assert!(with(&format!(r#"{{"schema": 1{}}}"#, " ".repeat(1 << 20))).contains("no file of up"));
    let site = Archive::default().config(&config(&[("mode", "static")]));
    into_new(&site.build(), &Limits::default()).1.unwrap();
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    let Some(_small) = SmallDisk::mount(state) else { return };
    let store = super::Store::open(state, Limits::default()).unwrap();
    let before = paths(state);
    let zeros = right().file("zeros", vec![0; 2 << 20]).build();
    let error = super::sample::put(&store, &zeros).unwrap_err().to_string();
    assert!(error.contains("no space left on the disk of"), "{error}");
    assert_eq!(paths(state), before);

    let mut upload = store.begin(super::sample::digest(b"")).unwrap();
    let error = upload.write(&vec![1; 2 << 20]).unwrap_err().to_string();
    assert!(error.contains("no space left on the disk of"), "{error}");
    drop(upload);
    assert_eq!(paths(state), before);
    super::sample::put(&store, &right().build()).unwrap();
}
