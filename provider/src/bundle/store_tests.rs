//! The store: uploads, restarts, who uses what, and what is collected.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::sample::{Archive, digest, paths, put};
use super::{Digest, Limits, Put, Store};
use crate::Error;

fn open(state: &Path) -> Arc<Store> {
    Store::open(state, Limits::default()).unwrap()
}

fn version(number: usize) -> Vec<u8> {
    Archive::running("cat").file("version", number.to_string()).build()
}

fn archive_path(state: &Path, digest: Digest) -> std::path::PathBuf {
    state.join("bundles/archives").join(format!("{}.tar.zst", digest.hex()))
}

/// Makes a bundle two hours old.
fn age(state: &Path, digest: Digest) {
    let then = SystemTime::now() - Duration::from_secs(2 * 60 * 60);
    let file = File::options().write(true).open(archive_path(state, digest)).unwrap();
    file.set_modified(then).unwrap();
}

#[test]
fn what_is_put_is_there_also_for_the_next_gateway() {
    let state = tempfile::tempdir().unwrap();
    let archive = version(1);
    let digest = put(&open(state.path()), &archive).unwrap();
    let store = open(state.path());
    assert!(store.contains(digest).unwrap());
    assert_eq!(fs::read_to_string(store.folder(digest).unwrap().join("version")).unwrap(), "1");
    assert_eq!(store.config(digest).unwrap().environment["fprocess"], "cat");
    let (mut file, size) = store.archive(digest).unwrap().unwrap();
    let mut bytes = Vec::new();
    std::io::copy(&mut file, &mut bytes).unwrap();
    assert_eq!((bytes.len() as u64, &bytes), (size, &archive));
    let all = store.list().unwrap();
    assert_eq!((all.len(), all[0].digest, all[0].size), (1, digest, size));
    store.remove(digest).unwrap();
    assert!(matches!(store.remove(digest), Err(Error::NotFound(_))));
    assert!(store.archive(digest).unwrap().is_none());
    assert!(open(state.path()).list().unwrap().is_empty());
}

#[test]
fn a_wrong_digest_names_both_and_leaves_nothing() {
    let state = tempfile::tempdir().unwrap();
    let store = open(state.path());
    let before = paths(state.path());
    let (archive, wanted) = (version(1), digest(b"something else"));
    let mut upload = store.begin(wanted).unwrap();
    upload.write(&archive).unwrap();
    let error = upload.finish().unwrap_err().to_string();
    for named in [wanted, digest(&archive)] {
        assert!(error.contains(&named.to_string()), "{error}");
    }
    let mut broken_off = store.begin(digest(&archive)).unwrap();
    broken_off.write(&archive[..10]).unwrap();
    drop(broken_off);
    let bad = Archive::running("cat").file("../evil", "").build();
    assert!(put(&store, &bad).is_err());
    assert_eq!(paths(state.path()), before);
    assert!(matches!(store.folder(wanted), Err(Error::Invalid { field, reason })
        if field == "image" && reason.contains(&wanted.to_string()) && reason.contains("faas up")));
}

#[test]
fn an_archive_has_a_limit() {
    let state = tempfile::tempdir().unwrap();
    let limits = Limits { archive_bytes: 100, ..Limits::default() };
    let store = Store::open(state.path(), limits).unwrap();
    let mut upload = store.begin(digest(b"")).unwrap();
    upload.write(&[0; 100]).unwrap();
    let error = upload.write(&[0; 1]).unwrap_err().to_string();
    assert_eq!(error, "bundle: is larger than 100 bytes");
}

/// Puts an archive that is based on another bundle; gives its folder.
fn put_like(store: &Arc<Store>, base: Digest, archive: &Archive) -> std::path::PathBuf {
    let archive = archive.clone().build();
    let mut upload = store.begin(digest(&archive)).unwrap().based_on(base);
    upload.write(&archive).unwrap();
    upload.finish().unwrap();
    store.folder(digest(&archive)).unwrap()
}

fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

#[test]
fn a_version_shares_the_files_that_are_the_same_and_no_others() {
    let state = tempfile::tempdir().unwrap();
    let store = open(state.path());
    let large = "x".repeat(300_000);
    let first = Archive::running("cat")
        .file("a/same", "same")
        .file("a/empty", "")
        .file("large", &large)
        .file("late", format!("{large}1"))
        .file("early", "1 and more")
        .file("mode", "m")
        .file("longer", "l")
        .file("kind", "k");
    let base = put(&store, &first.build()).unwrap();
    let before = store.folder(base).unwrap();
    let second = Archive::running("cat")
        .file("a/same", "same")
        .file("a/empty", "")
        .file("large", &large)
        .file("late", format!("{large}2"))
        .file("early", "2 and more")
        .program("mode", "m")
        .file("longer", "ll")
        .folder("kind")
        .file("kind/new", "n");
    let after = put_like(&store, base, &second);
    for path in [".flint/bundle.json", "a/same", "a/empty", "large"] {
        assert_eq!(inode(&after.join(path)), inode(&before.join(path)), "{path}");
    }
    let (late, early) = (format!("{large}2"), "2 and more".to_owned());
    for (path, text) in [("late", &late), ("early", &early), ("longer", &"ll".to_owned())] {
        assert_eq!(fs::read_to_string(after.join(path)).unwrap(), *text, "{path}");
    }
    for path in ["late", "early", "mode", "longer"] {
        assert_ne!(inode(&after.join(path)), inode(&before.join(path)), "{path}");
    }
    assert_eq!(fs::metadata(after.join("mode")).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read_to_string(before.join("late")).unwrap(), format!("{large}1"));

    store.remove(base).unwrap();
    assert_eq!(fs::read_to_string(after.join("a/same")).unwrap(), "same");
    let alone = put_like(&store, base, &Archive::running("cat").file("a/same", "same"));
    assert_ne!(inode(&alone.join("a/same")), inode(&after.join("a/same")), "that base is gone");
}

#[test]
fn what_was_tampered_with_is_not_shared() {
    let state = tempfile::tempdir().unwrap();
    let store = open(state.path());
    let archive = Archive::running("cat").file("a/b", "good").file("c/d", "good").file("e", "good");
    let base = put(&store, &archive.clone().build()).unwrap();
    let before = store.folder(base).unwrap();
    // Of the same size and time, so that only the content tells.
    fs::write(before.join("e"), "evil").unwrap();
    let file = File::options().write(true).open(before.join("e")).unwrap();
    file.set_modified(fs::metadata(before.join("a/b")).unwrap().modified().unwrap()).unwrap();
    let outside = state.path().join("outside");
    fs::rename(before.join("a"), &outside).unwrap();
    symlink(&outside, before.join("a")).unwrap();
    fs::rename(before.join("c/d"), outside.join("d")).unwrap();
    symlink(outside.join("d"), before.join("c/d")).unwrap();
    let after = put_like(&store, base, &archive.file("new", ""));
    for path in ["a/b", "c/d", "e"] {
        let about = fs::symlink_metadata(after.join(path)).unwrap();
        assert!(about.is_file() && about.nlink() == 1, "{path}");
        assert_eq!(fs::read_to_string(after.join(path)).unwrap(), "good", "{path}");
    }
}

#[test]
fn a_shared_file_that_is_in_the_archive_twice_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let store = open(state.path());
    let archive = Archive::running("cat").file("a", "a");
    let base = put(&store, &archive.clone().build()).unwrap();
    let twice = archive.file("a", "a").build();
    let mut upload = store.begin(digest(&twice)).unwrap().based_on(base);
    upload.write(&twice).unwrap();
    let error = upload.finish().unwrap_err().to_string();
    assert_eq!(error, "bundle: \"a\" is in it twice");
    assert_eq!(fs::read_to_string(store.folder(base).unwrap().join("a")).unwrap(), "a");
}

#[test]
fn the_same_bundle_may_come_many_times_at_once() {
    let state = tempfile::tempdir().unwrap();
    let store = open(state.path());
    let archive = version(1);
    let digest = digest(&archive);
    let uploads = (0..8).map(|_| store.begin(digest).unwrap()).collect::<Vec<_>>();
    let puts: Vec<Put> = std::thread::scope(|scope| {
        let finish = |mut upload: super::Upload| {
            upload.write(&archive).unwrap();
            upload.finish().unwrap()
        };
        let threads = uploads.into_iter().map(|upload| scope.spawn(move || finish(upload)));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(puts.iter().filter(|put| **put == Put::Created).count(), 1);
    assert_eq!(fs::read_dir(state.path().join("bundles/temp")).unwrap().count(), 0);
    assert!(store.folder(digest).unwrap().join("version").is_file());
}

#[test]
fn what_a_killed_gateway_left_is_cleared_and_made_again() {
    let state = tempfile::tempdir().unwrap();
    let bundles = state.path().join("bundles");
    let store = open(state.path());
    let (whole, bare, old, empty, orphan) =
        (version(1), version(2), version(3), version(4), version(5));
    let all = [&whole, &bare, &old, &empty, &orphan].map(|archive| put(&store, archive).unwrap());
    let [whole, bare, old, empty, orphan] = all;
    let folder = |digest: Digest| bundles.join("unpacked").join(digest.hex());
    let kept = fs::metadata(folder(whole).join("tree")).unwrap().created().ok();
    drop(store.begin(whole).map(std::mem::forget));
    fs::remove_dir_all(folder(bare)).unwrap();
    fs::write(folder(old).join("boot"), "of another start of the machine").unwrap();
    fs::write(folder(old).join("tree/version"), "").unwrap();
    fs::remove_dir_all(folder(empty).join("tree")).unwrap();
    fs::remove_file(archive_path(state.path(), orphan)).unwrap();
    fs::create_dir(bundles.join("unpacked/stray")).unwrap();

    let store = open(state.path());
    assert_eq!(fs::read_dir(bundles.join("temp")).unwrap().count(), 0);
    assert_eq!(fs::metadata(folder(whole).join("tree")).unwrap().created().ok(), kept);
    assert!(!folder(orphan).exists() && !bundles.join("unpacked/stray").exists());
    for (digest, version) in [(whole, "1"), (bare, "2"), (old, "3"), (empty, "4")] {
        let file = store.folder(digest).unwrap().join("version");
        assert_eq!(fs::read_to_string(file).unwrap(), version);
    }
    assert!(store.folder(orphan).is_err());
}

#[test]
fn a_damaged_archive_is_told_and_comes_again() {
    let state = tempfile::tempdir().unwrap();
    let archive = version(1);
    let store = open(state.path());
    let digest = put(&store, &archive).unwrap();
    fs::write(archive_path(state.path(), digest), b"damaged").unwrap();
    fs::remove_dir_all(state.path().join("bundles/unpacked").join(digest.hex())).unwrap();
    let error = store.folder(digest).unwrap_err().to_string();
    assert!(error.contains("damaged") && error.contains("faas up"), "{error}");
    assert!(!store.contains(digest).unwrap());
    put(&store, &archive).unwrap();
    store.folder(digest).unwrap();
    fs::write(archive_path(state.path(), digest), b"damaged").unwrap();
    put(&store, &archive).unwrap();
    assert_eq!(store.archive(digest).unwrap().unwrap().1, archive.len() as u64);
}

#[test]
fn what_is_used_is_not_removed() {
    let state = tempfile::tempdir().unwrap();
    let store = open(state.path());
    let digest = put(&store, &version(1)).unwrap();
    store.hold("r1", digest, "echo.openfaas-fn").unwrap();
    let error = store.remove(digest).unwrap_err();
    assert!(matches!(error, Error::Conflict(_)));
    assert!(error.to_string().contains("r1 of echo.openfaas-fn"), "{error}");
    assert_eq!(store.list().unwrap()[0].names, ["echo.openfaas-fn"]);
    store.release("r1");
    store.remove(digest).unwrap();
    assert!(store.hold("r1", digest, "echo").is_err());
}

#[test]
fn a_collection_keeps_what_is_used_recent_or_new() {
    let state = tempfile::tempdir().unwrap();
    let store = open(state.path());
    let all: Vec<Digest> = (0..7).map(|n| put(&store, &version(n)).unwrap()).collect();
    for (number, digest) in all.iter().enumerate().take(5) {
        store.hold("r1", *digest, "echo").unwrap();
        age(state.path(), *digest);
        if number == 0 {
            store.hold("r0", *digest, "echo").unwrap();
        }
    }
    store.hold("gone", all[5], "gone").unwrap();
    store.release("gone");
    age(state.path(), all[5]);
    drop(store);

    let store = open(state.path());
    store.hold("r0", all[0], "echo").unwrap();
    store.hold("r1", all[4], "echo").unwrap();
    assert_eq!(sorted(store.collect().unwrap()), sorted(vec![all[1], all[2], all[5]]));
    let names: Vec<_> = store.list().unwrap().into_iter().map(|entry| entry.digest).collect();
    assert_eq!(names, sorted(vec![all[0], all[3], all[4], all[6]]));
    store.release("r0");
    store.release("r1");
    assert_eq!(store.collect().unwrap().len(), 3, "nobody uses the name any more");
    assert!(store.contains(all[6]).unwrap(), "it is new");
}

#[test]
fn a_bundle_that_was_asked_for_waits_for_its_deploy() {
    let state = tempfile::tempdir().unwrap();
    let digest = put(&open(state.path()), &version(1)).unwrap();
    age(state.path(), digest);
    let store = open(state.path());
    assert!(store.contains(digest).unwrap());
    assert!(store.collect().unwrap().is_empty());
    assert_eq!(open(state.path()).collect().unwrap(), [digest]);
}

#[test]
fn versions_that_cannot_be_read_are_begun_anew() {
    let state = tempfile::tempdir().unwrap();
    let digest = put(&open(state.path()), &version(1)).unwrap();
    for text in ["", "[]", r#"{"echo": ["sha256:12"]}"#] {
        fs::write(state.path().join("bundles/versions.json"), text).unwrap();
        let store = open(state.path());
        store.hold("r1", digest, "echo").unwrap();
        assert_eq!(open(state.path()).list().unwrap()[0].names, ["echo"]);
    }
}

fn sorted(mut all: Vec<Digest>) -> Vec<Digest> {
    all.sort();
    all
}
