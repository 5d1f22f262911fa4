//! Which protocol a client speaks, by its first bytes.

use super::PREFACE;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Too few to tell.
    Unclear,
    /// A client that speaks HTTP/2.
    Http2,
    /// Anything else; HTTP/1, if it is HTTP at all.
    Other,
}

impl Opening {
    /// Looks at what has come so far.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        if bytes.starts_with(PREFACE) {
            Self::Http2
        } else if PREFACE.starts_with(bytes) {
            Self::Unclear
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preface_is_known_when_it_is_whole() {
        for (bytes, opening) in [
            (&b""[..], Opening::Unclear),
            (b"P", Opening::Unclear),
            (&PREFACE[..23], Opening::Unclear),
            (PREFACE, Opening::Http2),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore", Opening::Http2),
            (b"POST", Opening::Other),
            (b"PRI * HTTP/2.0\r\nA: b", Opening::Other),
            (b"GET", Opening::Other),
            (b"\x16\x03", Opening::Other),
        ] {
            assert_eq!(Opening::of(bytes), opening, "{bytes:?}");
        }
    }
}
