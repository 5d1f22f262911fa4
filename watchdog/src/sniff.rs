//! A content type for output that nobody gave one; the classic watchdog does so.

/// What each kind of content begins with, as in <https://mimesniff.spec.whatwg.org>.
const MAGIC: [(&[u8], &str); 10] = [
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"%PDF-", "application/pdf"),
    (b"\x1f\x8b\x08", "application/x-gzip"),
    (b"PK\x03\x04", "application/zip"),
    (b"OggS\x00", "application/ogg"),
    (b"\x00asm", "application/wasm"),
    (b"<?xml", "text/xml; charset=utf-8"),
];

/// Bytes that are looked at.
const LOOKED_AT: usize = 512;

/// The content type that `bytes` seem to have.
pub fn content_type(bytes: &[u8]) -> &'static str {
    let start = &bytes[..bytes.len().min(LOOKED_AT)];
    if let Some((_, kind)) = MAGIC.iter().find(|(magic, _)| start.starts_with(magic)) {
        return kind;
    }
    let text = start.trim_ascii_start();
    let begins = |tag: &str| {
        text.get(..tag.len()).is_some_and(|head| head.eq_ignore_ascii_case(tag.as_bytes()))
    };
    if begins("<!doctype html") || begins("<html") || begins("<body") || begins("<head") {
        return "text/html; charset=utf-8";
    }
    if start.iter().copied().any(is_binary) {
        return "application/octet-stream";
    }
    "text/plain; charset=utf-8"
}

/// Control characters that text does not contain.
fn is_binary(byte: u8) -> bool {
    matches!(byte, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        let cases: [(&[u8], &str); 6] = [
            (b"", "text/plain; charset=utf-8"),
            (b"hello {}", "text/plain; charset=utf-8"),
            (b"  <!DOCTYPE HTML><p>", "text/html; charset=utf-8"),
            (b"a\x00b", "application/octet-stream"),
            (b"GIF89a...", "image/gif"),
            (b"<?xml version", "text/xml; charset=utf-8"),
        ];
        for (bytes, kind) in cases {
            assert_eq!(content_type(bytes), kind);
        }
    }
}
