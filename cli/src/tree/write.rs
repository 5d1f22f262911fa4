//! Trees to folders and archives.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;

use anyhow::{Context as _, Result};

use super::{Content, Node, Tree};

/// The time of every entry of an archive: 2024-01-01, in seconds since 1970. Not 0, since zip
/// archives, such as Python's wheels, know no time before 1980.
const TIME: u64 = 1_704_067_200;

impl Tree {
    /// Writes it into a folder, which is made if it is not there. Nothing is overwritten.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let context = |path: &Path| path.display().to_string();
        fs::create_dir_all(folder).with_context(|| context(folder))?;
        for (path, node) in self.nodes() {
            let path = folder.join(path);
            write_node(&path, node).with_context(|| context(&path))?;
        }
        Ok(())
    }

    /// Writes what is at one of its paths to a file, folder or link that is not there yet.
    pub fn write_one(path: &Path, node: &Node) -> io::Result<()> {
        write_node(path, node)
    }

    /// Writes it as a tar archive: sorted, owned by root, the same bytes for the same tree.
    pub fn tar(&self, out: impl Write) -> Result<()> {
        let mut archive = tar::Builder::new(out);
        for (path, node) in self.nodes() {
            append(&mut archive, path, node).with_context(|| path.display().to_string())?;
        }
        Ok(archive.into_inner()?.flush()?)
    }
}

fn write_node(path: &Path, node: &Node) -> io::Result<()> {
    match node {
        Node::Folder => match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other,
        },
        Node::Link(target) => symlink(target, path),
        Node::File { content, executable } => {
            let mode = if *executable { 0o755 } else { 0o644 };
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
            match content {
                Content::Path(from) => io::copy(&mut fs::File::open(from)?, &mut file).map(drop),
                Content::Stored { path, size } => {
                    io::copy(&mut open_stored(path, *size)?, &mut file).map(drop)
                }
                Content::Static(bytes) => file.write_all(bytes),
                Content::Made(bytes) => file.write_all(bytes),
            }
        }
    }
}

fn append(archive: &mut tar::Builder<impl Write>, path: &Path, node: &Node) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mtime(TIME);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    match node {
        Node::Folder => {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
            archive.append_data(&mut header, path, io::empty())
        }
        Node::Link(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            archive.append_link(&mut header, path, target)
        }
        Node::File { content, executable } => {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(if *executable { 0o755 } else { 0o644 });
            append_file(archive, &mut header, path, content)
        }
    }
}

fn append_file(
    archive: &mut tar::Builder<impl Write>,
    header: &mut tar::Header,
    path: &Path,
    content: &Content,
) -> io::Result<()> {
    match content {
        Content::Static(bytes) => append_bytes(archive, header, (path, bytes)),
        Content::Made(bytes) => append_bytes(archive, header, (path, bytes)),
        Content::Stored { path: from, size } => {
            let file = open_stored(from, *size)?;
            header.set_size(*size);
            archive.append_data(header, path, file)
        }
        Content::Path(from) => {
            let file = fs::File::open(from)?;
            let size = file.metadata()?.len();
            header.set_size(size);
            // A file that grows or shrinks meanwhile must not shift what comes after it.
            let padded = io::Read::chain(file, io::repeat(0));
            archive.append_data(header, path, io::Read::take(padded, size))
        }
    }
}

fn append_bytes(
    archive: &mut tar::Builder<impl Write>,
    header: &mut tar::Header,
    (path, bytes): (&Path, &[u8]),
) -> io::Result<()> {
    header.set_size(bytes.len() as u64);
    archive.append_data(header, path, bytes)
}

/// A stored file; one that is not as it was stored is no data.
fn open_stored(path: &Path, size: u64) -> io::Result<fs::File> {
    match fs::File::open(path) {
        Ok(file) if file.metadata()?.len() == size => return Ok(file),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let message = format!("{} is not as it was stored", path.display());
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn sample(folder: &Path) -> Tree {
        let deep = folder.join("d".repeat(120)).join("e".repeat(120));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("größe.txt"), "long path").unwrap();
        fs::write(folder.join("run.sh"), "#!/bin/sh").unwrap();
        fs::write(folder.join("private"), "p").unwrap();
        symlink("run.sh", folder.join("link")).unwrap();
        fs::set_permissions(folder.join("run.sh"), PermissionsExt::from_mode(0o4711)).unwrap();
        fs::set_permissions(folder.join("private"), PermissionsExt::from_mode(0o600)).unwrap();
        Tree::read(folder, &|_| false).unwrap()
    }

    #[test]
    fn the_same_tree_makes_the_same_archive() {
        let archive = || {
            let folder = tempfile::tempdir().unwrap();
            let mut bytes = Vec::new();
            sample(folder.path()).tar(&mut bytes).unwrap();
            bytes
        };
        let first = archive();
        assert_eq!(first, archive());
        let mut read = tar::Archive::new(first.as_slice());
        let seen: Vec<(String, u32, u64)> = read
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let name =
                    entry.path().unwrap().file_name().unwrap().to_string_lossy().into_owned();
                (name, header.mode().unwrap(), header.size().unwrap())
            })
            .skip(2)
            .collect();
        let want = [
            ("größe.txt", 0o644, 9),
            ("link", 0o777, 0),
            ("private", 0o644, 1),
            ("run.sh", 0o755, 9),
        ];
        assert_eq!(seen, want.map(|(name, mode, size)| (name.to_owned(), mode, size)));
    }

    #[test]
    fn what_is_written_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let tree = sample(folder.path());
        let out = tempfile::tempdir().unwrap();
        tree.write(&out.path().join("x")).unwrap();
        let back = Tree::read(&out.path().join("x"), &|_| false).unwrap();
        let bytes = |tree: &Tree| {
            let mut bytes = Vec::new();
            tree.tar(&mut bytes).unwrap();
            bytes
        };
        assert_eq!(bytes(&tree), bytes(&back));
        assert!(tree.write(&out.path().join("x")).is_err(), "nothing is overwritten");
    }
}
