//! The entries of a tar stream, read without trusting it.
//!
//! The `tar` crate's headers are used, but not its iterator: that one keeps long names in memory
//! however long they claim to be, and takes a stream that breaks off between entries for whole.

use std::borrow::Cow;
use std::io::{self, Read, Write};

use tar::{EntryType, Header, PaxExtensions};

use crate::{Error, Result};

/// Tar counts in blocks of so many bytes.
const BLOCK: usize = 512;
/// Longest long name or extended header, in bytes.
const MAX_EXTENSION: u64 = 16 << 10;
/// Bytes that are copied at a time.
const CHUNK: usize = 64 << 10;

/// What is wrong with an archive.
pub(super) fn bad(reason: impl Into<String>) -> Error {
    Error::invalid("bundle", reason)
}

/// A name as it can stand in a message.
pub(super) fn shown(name: &[u8]) -> String {
    format!("\"{}\"", name.escape_ascii())
}

/// What an entry is.
#[derive(Debug)]
pub(super) enum Kind {
    /// A file; its bytes come next.
    File {
        /// Whether anybody may execute it.
        executable: bool,
    },
    /// A folder.
    Folder,
    /// A symbolic link to this path.
    Symlink(Vec<u8>),
    /// Another name of the file with this path.
    Hardlink(Vec<u8>),
}

/// One entry.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its path, as it stands in the archive.
    pub(super) path: Vec<u8>,
    /// What it is.
    pub(super) kind: Kind,
    /// When it was changed, in seconds since 1970.
    pub(super) mtime: u32,
}

/// What an extended header says of the entry after it.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

/// A tar stream.
pub(super) struct Entries<R> {
    input: R,
    /// Bytes of the current entry that were not read yet.
    content: u64,
    /// Bytes that fill its last block.
    padding: u64,
    /// Headers that may still come, extended ones too.
    headers_left: u64,
    max_headers: u64,
}

impl<R: Read> Entries<R> {
    /// Of a stream that has so many entries at the most.
    pub(super) fn new(input: R, max_entries: u64) -> Self {
        // Each entry may have a long name and a long link beside its own header.
        let max_headers = max_entries.saturating_mul(3);
        Self { input, content: 0, padding: 0, headers_left: max_headers, max_headers }
    }

    /// The next entry; `None` when the archive ended as it should.
    pub(super) fn next(&mut self) -> Result<Option<Entry>> {
        let mut extension = Extension::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            match header.entry_type() {
                EntryType::GNULongName => extension.path = Some(self.long_name()?),
                EntryType::GNULongLink => extension.link = Some(self.long_name()?),
                EntryType::XHeader => self.pax(&mut extension)?,
                _ => return self.entry(&header, extension).map(Some),
            }
        }
    }

    /// Bytes of the current file's content that were not read yet.
    pub(super) fn left(&self) -> u64 {
        self.content
    }

    /// The next bytes of the current file's content; none at its end.
    pub(super) fn piece<'b>(&mut self, buffer: &'b mut Vec<u8>) -> Result<&'b [u8]> {
        let len = self.content.min(CHUNK as u64);
        buffer.resize(len as usize, 0);
        self.fill(buffer)?;
        self.content -= len;
        Ok(buffer)
    }

    /// Copies what is left of the current file's content. The outer error is the archive's, the
    /// inner one that of writing.
    pub(super) fn copy_to(&mut self, out: &mut impl Write) -> Result<io::Result<()>> {
        let mut buffer = Vec::new();
        while self.content > 0 {
            if let Err(error) = out.write_all(self.piece(&mut buffer)?) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    /// The stream behind it.
    pub(super) fn into_inner(self) -> R {
        self.input
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.input.read_exact(buffer).map_err(|error| unreadable(&error))
    }

    fn skip(&mut self) -> Result<()> {
        let left = self.content + self.padding;
        (self.content, self.padding) = (0, 0);
        let skipped = io::copy(&mut self.input.by_ref().take(left), &mut io::sink())
            .map_err(|error| unreadable(&error))?;
        if skipped == left { Ok(()) } else { Err(unreadable(&io::ErrorKind::UnexpectedEof.into())) }
    }

    /// The next header; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        if block == [0; BLOCK] {
            return self.end().map(|()| None);
        }
        let header = Header::from_byte_slice(&block).clone();
        let mut right = header.clone();
        right.set_cksum();
        if header.cksum().ok() != right.cksum().ok() {
            return Err(bad("holds a tar header whose checksum is wrong"));
        }
        self.headers_left = self.headers_left.checked_sub(1).ok_or_else(|| {
            bad(format!("has more than {} tar headers; leave files out", self.max_headers))
        })?;
        self.content = header.entry_size().map_err(|error| bad(format!("tar header: {error}")))?;
        self.padding = self.content.next_multiple_of(BLOCK as u64) - self.content;
        Ok(Some(header))
    }

    /// What follows the first block of zeros must be zeros, one block of them at least.
    fn end(&mut self) -> Result<()> {
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        let mut rest = block.to_vec();
        loop {
            if rest.iter().any(|byte| *byte != 0) {
                return Err(bad("has something after the end of its tar archive"));
            }
            rest.resize(CHUNK, 0);
            let read = self.input.read(&mut rest).map_err(|error| unreadable(&error))?;
            if read == 0 {
                return Ok(());
            }
            rest.truncate(read);
        }
    }

    /// The content of an extended header.
    fn extension(&mut self) -> Result<Vec<u8>> {
        if self.content > MAX_EXTENSION {
            return Err(bad(format!("has an extended tar header over {MAX_EXTENSION} bytes")));
        }
        let mut bytes = vec![0; self.content as usize];
        self.fill(&mut bytes)?;
        self.content = 0;
        Ok(bytes)
    }

    fn long_name(&mut self) -> Result<Vec<u8>> {
        let mut name = self.extension()?;
        if name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    /// Only names are taken from pax headers. A size there would be a second opinion on where the
    /// next header is; it is for files over 8 GiB only, and so is refused.
    fn pax(&mut self, extension: &mut Extension) -> Result<()> {
        let bytes = self.extension()?;
        let malformed = || bad("has a malformed pax header");
        let lines = [b"\n".as_slice(), &bytes].concat();
        if bytes.last() != Some(&b'\n') || lines.windows(2).any(|pair| pair == b"\n\n") {
            return Err(malformed());
        }
        for record in PaxExtensions::new(&bytes) {
            let record = record.map_err(|_| malformed())?;
            match record.key_bytes() {
                b"path" => extension.path = Some(record.value_bytes().to_vec()),
                b"linkpath" => extension.link = Some(record.value_bytes().to_vec()),
                b"size" => return Err(bad("has a pax header that gives a file another size")),
                key if key.starts_with(b"GNU.sparse.") => return Err(bad("has a sparse file")),
                _ => {}
            }
        }
        Ok(())
    }

    fn entry(&self, header: &Header, extension: Extension) -> Result<Entry> {
        let path = extension.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = || {
            let short = || header.link_name_bytes().map(Cow::into_owned);
            extension.link.or_else(short).unwrap_or_default()
        };
        let kind = match header.entry_type() {
            EntryType::Regular => {
                Kind::File { executable: header.mode().is_ok_and(|mode| mode & 0o111 != 0) }
            }
            EntryType::Directory => Kind::Folder,
            EntryType::Symlink => Kind::Symlink(link()),
            EntryType::Link => Kind::Hardlink(link()),
            other => return Err(bad(format!("{} is {}", shown(&path), name_of(other)))),
        };
        if self.content > 0 && !matches!(kind, Kind::File { .. }) {
            return Err(bad(format!("{} has content but is no file", shown(&path))));
        }
        let mtime = header.mtime().unwrap_or_default().try_into().unwrap_or_default();
        Ok(Entry { path, kind, mtime })
    }
}

fn name_of(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Char | EntryType::Block => "a device; a bundle has none",
        EntryType::Fifo => "a fifo; a bundle has none",
        EntryType::GNUSparse => "a sparse file; a bundle has none",
        _ => "of a kind that a bundle has not: only files, folders and links",
    }
}

/// An error of reading: the disk's has a number, all others come from what was read.
pub(super) fn unreadable(error: &io::Error) -> Error {
    if error.raw_os_error().is_some() {
        return super::disk::refused(format!("cannot read a bundle: {error}"));
    }
    match (error.kind(), error.get_ref().and_then(|inner| inner.downcast_ref::<Error>())) {
        (_, Some(ours)) => ours.clone(),
        (io::ErrorKind::UnexpectedEof, _) => bad("breaks off: it is not whole"),
        _ => bad(format!("is no tar archive packed with zstd: {error}")),
    }
}
