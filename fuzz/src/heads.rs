//! Heads of requests, as the data path reads them.

use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use relay::untrusted::{Head, request_head};

/// A head that is taken can be read in one way only, and was read in that way.
pub fn run(data: &[u8]) {
    let Some(head) = request_head(data) else { return };
    let text = &data[..head.end];
    for (at, byte) in text.iter().enumerate() {
        let paired = match byte {
            b'\n' => at > 0 && text[at - 1] == b'\r',
            b'\r' => text.get(at + 1) == Some(&b'\n'),
            byte => *byte != 0,
        };
        assert!(paired, "byte {at} of {:?}", text.escape_ascii().to_string());
    }
    let mut lines = lines(text);
    first_line(lines.remove(0), &head);
    headers(&lines, &head);
    framing(&head);
}

/// The lines of a head without its empty ones.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    let lines = text.split(|byte| *byte == b'\n');
    lines
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
        .collect()
}

fn first_line(line: &[u8], head: &Head) {
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, b"HTTP/1.0" | b"HTTP/1.1"] = parts[..] else {
        panic!("{:?}", line.escape_ascii().to_string());
    };
    assert_eq!(method, head.method.as_bytes());
    // A URL's scheme and host are the same in any case, and its path may be missing.
    assert!(!target.starts_with(b"/") || target == head.target.as_bytes(), "{:?}", head.target);
}

fn headers(lines: &[&[u8]], head: &Head) {
    assert_eq!(lines.len(), head.headers.len());
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').expect("every header has one");
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let name = HeaderName::from_bytes(name).expect("a name is a token");
        let is_space = |byte: &u8| b" \t".contains(byte);
        let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
        let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |at| at + 1);
        let mut all = head.headers.get_all(&name).iter().map(HeaderValue::as_bytes);
        assert!(all.any(|found| found == &value[start..end]), "{name}");
    }
}

fn framing(head: &Head) {
    let values = |name: HeaderName| {
        let values = head.headers.get_all(name).iter();
        values.map(|value| value.as_bytes().to_ascii_lowercase()).collect::<Vec<_>>()
    };
    let (lengths, codings) = (values(CONTENT_LENGTH), values(TRANSFER_ENCODING));
    match (&lengths[..], &codings[..]) {
        ([], []) => assert_eq!((head.length, head.chunked), (Some(0), false)),
        ([], [coding]) if coding == b"chunked" => {
            assert_eq!((head.length, head.chunked), (None, true));
        }
        ([length], []) => {
            assert!(length.iter().all(u8::is_ascii_digit));
            let length = String::from_utf8_lossy(length).parse().ok();
            assert_eq!((head.length, head.chunked), (length, false));
        }
        other => panic!("{other:?}"),
    }
}
