//! Chunked bodies, as the data path reads them.

use relay::untrusted::{Chunked, chunked};

/// A body is the same however it comes, and what another strict reader takes it for.
///
/// The first byte tells how long the pieces are.
pub fn run(data: &[u8]) {
    let [piece, body @ ..] = data else { return };
    if body.is_empty() {
        return;
    }
    let whole = chunked(body, body.len());
    assert_eq!(whole, chunked(body, usize::from(*piece) + 1), "it depends on the pieces");
    if let Chunked::Whole(data, used) = whole {
        assert_eq!(read(body), Some((data, used)));
    }
}

/// Reads a body by the letter of RFC 9112 7.1.
fn read(body: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let line = line(&body[at..])?;
        at += line.len() + 2;
        let digits = line.split(|byte| *byte == b';').next()?;
        let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        match (plain, size) {
            (false, _) => return None,
            (true, 0) => break,
            (true, size) => data.extend_from_slice(body.get(at..at.checked_add(size)?)?),
        }
        at += size;
        if body.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    loop {
        let trailer = line(&body[at..])?;
        at += trailer.len() + 2;
        if trailer.is_empty() {
            return Some((data, at));
        }
        if !trailer.contains(&b':') || trailer.starts_with(b" ") || trailer.starts_with(b"\t") {
            return None;
        }
    }
}

/// Up to the next CR LF, with neither of them alone before it.
fn line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = bytes[..end].strip_suffix(b"\r")?;
    (!line.iter().any(|byte| b"\r\0".contains(byte))).then_some(line)
}
