//! Which headers go on to the next hop (contract 3.2).

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};

use crate::forwarded::{FORWARDED, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Headers that a client cannot have removed by naming them in `Connection`: the next hop relies
/// on them to know the length, the host and the client.
const KEPT: [HeaderName; 6] =
    [CONTENT_LENGTH, HOST, FORWARDED, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO];

/// Headers that concern one connection only. The first may name others.
static OF_ONE_CONNECTION: [HeaderName; 8] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Whether one of them may have a name of that length: most other names are of another.
fn may_be_one(name: &HeaderName) -> bool {
    matches!(name.as_str().len(), 2 | 7 | 10 | 16..=19)
}

/// Removes the headers that concern one connection only, among them those that `Connection`
/// names. `TE: trailers` stays, because trailers are passed on; `Trailer` stays as it announces
/// them.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Most messages have none or one of them, and to look at the names there are costs less than
    // to look for each.
    let mut found = [false; OF_ONE_CONNECTION.len()];
    for key in headers.keys().filter(|key| may_be_one(key)) {
        for (name, found) in OF_ONE_CONNECTION.iter().zip(&mut found) {
            *found |= key == name;
        }
    }
    if found[0] {
        for name in named_by_connection(headers) {
            headers.remove(name);
        }
    }
    for (name, _) in OF_ONE_CONNECTION.iter().zip(found).filter(|(_, found)| *found) {
        let trailers = *name == TE && headers.get(TE).is_some_and(accepts_trailers);
        headers.remove(name);
        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
    }
}

/// Names in `Connection` that stand for headers to be removed.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for token in value.as_bytes().split(|b| *b == b',') {
            // What is removed anyway needs no look-up, and keeps the usual case free of allocations.
            let usual = [&b"close"[..], b"keep-alive", b"upgrade", b"te"];
            let token = token.trim_ascii();
            if usual.iter().any(|name| token.eq_ignore_ascii_case(name)) {
                continue;
            }
            names.extend(HeaderName::from_bytes(token).ok().filter(|n| !KEPT.contains(n)));
        }
    }
    names
}

pub(crate) fn accepts_trailers(te: &HeaderValue) -> bool {
    te.as_bytes().split(|b| *b == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// What the client wants to switch to, when it really asks: `Upgrade`, named in `Connection`.
pub(crate) fn upgrade_wanted(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    let asked = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|v| v.as_bytes().split(|b| *b == b','))
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
    asked.then(|| protocol.clone())
}

/// Asks the next hop to switch to `protocol`, or tells the client that it was done.
pub(crate) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, protocol);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    #[test]
    fn headers_of_one_connection_stay_there() {
        assert!(OF_ONE_CONNECTION.iter().all(may_be_one));
        let mut headers = map(&[
            ("Connection", "close, X-Secret"),
            ("Connection", "x-other"),
            ("X-Secret", "1"),
            ("X-Other", "2"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("Proxy-Authorization", "Basic x"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "websocket"),
            ("TE", "gzip"),
            ("Trailer", "X-Sum"),
            ("Accept", "*/*"),
        ]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("Trailer", "X-Sum"), ("Accept", "*/*")]));
    }

    #[test]
    fn what_the_next_hop_relies_on_cannot_be_named_away() {
        let kept = [("Content-Length", "5"), ("Host", "a"), ("X-Forwarded-For", "1.2.3.4")];
        let mut headers = map(&kept);
        headers
            .append(CONNECTION, HeaderValue::from_static("content-length, host, x-forwarded-for"));
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&kept));
    }

    #[test]
    fn trailers_are_accepted_and_nothing_else() {
        let mut headers = map(&[("TE", "gzip;q=0.5, Trailers"), ("Connection", "TE")]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("TE", "trailers")]));
    }

    #[test]
    fn an_upgrade_must_be_named_by_connection() {
        let asked = map(&[("Upgrade", "foo"), ("Connection", "keep-alive, Upgrade")]);
        assert_eq!(upgrade_wanted(&asked), Some(HeaderValue::from_static("foo")));
        assert_eq!(upgrade_wanted(&map(&[("Upgrade", "foo")])), None);
    }
}
