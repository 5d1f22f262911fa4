//! Who called, under which host and scheme: `X-Forwarded-*` and `Forwarded` (RFC 7239).

use std::io::Write as _;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};

use crate::stream::Peer;

pub(crate) const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What `X-Forwarded-*` and `Forwarded` say.
#[derive(Clone, Copy, Debug)]
pub struct Forwarded {
    /// Who called.
    pub peer: Peer,
    /// `http` or `https`; usually [`Peer::scheme`].
    pub scheme: &'static str,
}

impl Forwarded {
    /// Writes the headers. This hop is appended to the two that are lists, `X-Forwarded-For` and
    /// `Forwarded`. The other two tell what the first hop saw, and programs read them as one
    /// value, so they are left as an earlier hop wrote them.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        let ip = self.peer.ip();
        let host = headers.get(HOST).cloned();
        let element = self.element(ip, host.as_ref());
        append(headers, FORWARDED, &element, closes_its_quotes);
        if let Some(ip) = ip {
            append(headers, X_FORWARDED_FOR, ip.to_string().as_bytes(), |_| true);
        }
        if let Some(host) = host {
            headers.entry(X_FORWARDED_HOST).or_insert(host);
        }
        let scheme = HeaderValue::from_static(self.scheme);
        headers.entry(X_FORWARDED_PROTO).or_insert(scheme);
    }

    /// One element of `Forwarded`.
    fn element(&self, ip: Option<IpAddr>, host: Option<&HeaderValue>) -> Vec<u8> {
        let mut element = Vec::with_capacity(96);
        // Writing to memory does not fail.
        let _ = match ip {
            Some(IpAddr::V4(ip)) => write!(element, "for={ip}"),
            Some(IpAddr::V6(ip)) => write!(element, "for=\"[{ip}]\""),
            None => write!(element, "for=unknown"),
        };
        if let Some(host) = host.filter(|host| !host.is_empty()) {
            element.extend_from_slice(b";host=");
            quote(&mut element, host.as_bytes());
        }
        let _ = write!(element, ";proto={}", self.scheme);
        element
    }
}

/// Adds one more element to a list, which may be spread over several lines. Lines that are not
/// `sound` are left out: what is appended to them could be read as a part of them.
fn append(headers: &mut HeaderMap, name: HeaderName, element: &[u8], sound: fn(&[u8]) -> bool) {
    let earlier = headers.get_all(&name).iter().map(HeaderValue::as_bytes);
    let lines = earlier.filter(|line| !line.is_empty() && sound(line));
    let all = lines.chain([element]).collect::<Vec<_>>().join(&b", "[..]);
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(all)) {
        headers.insert(name, value);
    }
}

/// As a token where it is one, else in quotes.
fn quote(to: &mut Vec<u8>, value: &[u8]) {
    let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    if value.iter().all(is_token) {
        return to.extend_from_slice(value);
    }
    to.push(b'"');
    for byte in value {
        if matches!(byte, b'"' | b'\\') {
            to.push(b'\\');
        }
        to.push(*byte);
    }
    to.push(b'"');
}

fn closes_its_quotes(line: &[u8]) -> bool {
    let mut bytes = line.iter();
    let mut quoted = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => {
                bytes.next();
            }
            _ => (),
        }
    }
    !quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "[::ffff:10.0.0.7]:999";

    fn applied(peer: &str, given: &[(&'static str, &'static str)]) -> HeaderMap {
        let peer = match peer {
            "unix" => Peer::Unix,
            address => Peer::Tcp(address.parse().expect("an address")),
        };
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, HeaderValue::from_static(value));
        }
        Forwarded { peer, scheme: "http" }.apply(&mut headers);
        headers
    }

    #[test]
    fn the_address_is_appended_and_the_rest_kept() {
        let headers = applied(PLAIN, &[("host", "a.b"), ("x-forwarded-for", "1.1.1.1")]);
        assert_eq!(headers["x-forwarded-for"], "1.1.1.1, 10.0.0.7");
        assert_eq!(headers["x-forwarded-host"], "a.b");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["forwarded"], "for=10.0.0.7;host=a.b;proto=http");

        let earlier = [("x-forwarded-host", "x"), ("x-forwarded-proto", "https")];
        let headers = applied(PLAIN, &earlier);
        assert_eq!(headers["x-forwarded-host"], "x");
        assert_eq!(headers["x-forwarded-proto"], "https");
    }

    #[test]
    fn hops_come_one_after_another() {
        let earlier = [("forwarded", "for=1.1.1.1"), ("forwarded", r#"for="_a, \"b""#)];
        let headers = applied(PLAIN, &earlier);
        let expected = r#"for=1.1.1.1, for="_a, \"b", for=10.0.0.7;proto=http"#;
        assert_eq!(headers["forwarded"], expected);
        assert_eq!(headers.get_all("forwarded").iter().count(), 1);
    }

    #[test]
    fn nobody_can_swallow_this_hop_with_an_open_quote() {
        for bad in [r#"for="x"#, r#"for="x\""#, r#"a"b"c""#] {
            let headers = applied(PLAIN, &[("forwarded", bad)]);
            assert_eq!(headers["forwarded"], "for=10.0.0.7;proto=http", "{bad}");
        }
    }

    #[test]
    fn what_is_no_token_is_quoted() {
        let headers = applied("[2001:db8::1]:5", &[("host", "a.b:8080")]);
        let expected = r#"for="[2001:db8::1]";host="a.b:8080";proto=http"#;
        assert_eq!(headers["forwarded"], expected);
        assert_eq!(headers["x-forwarded-for"], "2001:db8::1");
        let headers = applied(PLAIN, &[("host", r#"a";for="b"#)]);
        assert_eq!(headers["forwarded"], r#"for=10.0.0.7;host="a\";for=\"b";proto=http"#);
    }

    #[test]
    fn who_has_no_address_is_unknown() {
        let headers = applied("unix", &[("host", ""), ("x-forwarded-for", "1.1.1.1")]);
        assert_eq!(headers["forwarded"], "for=unknown;proto=http");
        assert_eq!(headers["x-forwarded-for"], "1.1.1.1");
    }
}
