//! Who called, under which host and scheme: `X-Forwarded-*` and `Forwarded` (RFC 7239).

use std::io::Write as _;
use std::net::IpAddr;
use std::ops::Range;

use bytes::Bytes;
use http::header::{Entry, HOST, HeaderMap, HeaderName, HeaderValue};

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
        let (element, address) = self.element(ip, host.as_ref());
        if ip.is_some() {
            append(headers, X_FORWARDED_FOR, element.slice(address), |_| true);
        }
        append(headers, FORWARDED, element, closes_its_quotes);
        if let Some(host) = host {
            headers.entry(X_FORWARDED_HOST).or_insert(host);
        }
        let scheme = HeaderValue::from_static(self.scheme);
        headers.entry(X_FORWARDED_PROTO).or_insert(scheme);
    }

    /// One element of `Forwarded`, and where in it the address stands.
    fn element(&self, ip: Option<IpAddr>, host: Option<&HeaderValue>) -> (Bytes, Range<usize>) {
        let mut element = Vec::with_capacity(96);
        let (before, after) = match ip {
            Some(IpAddr::V6(_)) => (&b"for=\"["[..], &b"]\""[..]),
            _ => (&b"for="[..], &b""[..]),
        };
        element.extend_from_slice(before);
        match ip {
            Some(IpAddr::V4(ip)) => ip.octets().iter().for_each(|byte| number(&mut element, *byte)),
            // Writing to memory does not fail.
            Some(IpAddr::V6(ip)) => drop(write!(element, "{ip}")),
            None => element.extend_from_slice(b"unknown"),
        }
        let address = before.len()..element.len();
        element.extend_from_slice(after);
        if let Some(host) = host.filter(|host| !host.is_empty()) {
            element.extend_from_slice(b";host=");
            quote(&mut element, host.as_bytes());
        }
        element.extend_from_slice(b";proto=");
        element.extend_from_slice(self.scheme.as_bytes());
        (element.into(), address)
    }
}

/// Writes a byte of an IPv4 address, with a point before it unless it is the first: that is many
/// times faster than through the standard library's formatting, and is done on each call.
fn number(to: &mut Vec<u8>, byte: u8) {
    if to.last().is_some_and(u8::is_ascii_digit) {
        to.push(b'.');
    }
    let (hundreds, tens) = (byte / 100, byte / 10);
    if hundreds > 0 {
        to.push(b'0' + hundreds);
    }
    if tens > 0 {
        to.push(b'0' + tens % 10);
    }
    to.push(b'0' + byte % 10);
}

/// Adds one more element to a list, which may be spread over several lines. Lines that are not
/// `sound` are left out: what is appended to them could be read as a part of them.
fn append(headers: &mut HeaderMap, name: HeaderName, element: Bytes, sound: fn(&[u8]) -> bool) {
    let Ok(value) = HeaderValue::from_maybe_shared(element) else { return };
    let mut lines = match headers.entry(name) {
        Entry::Occupied(lines) => lines,
        Entry::Vacant(none) => {
            none.insert(value);
            return;
        }
    };
    let earlier = lines.iter().map(HeaderValue::as_bytes);
    let earlier = earlier.filter(|line| !line.is_empty() && sound(line));
    let all = earlier.chain([value.as_bytes()]).collect::<Vec<_>>().join(&b", "[..]);
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(all)) {
        lines.insert(value);
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
    fn addresses_are_written_as_usual() {
        for byte in 0..=255 {
            let ip = format!("{byte}.{}.0.{byte}", 255 - byte);
            let headers = applied(&format!("{ip}:1"), &[]);
            assert_eq!(headers["x-forwarded-for"], ip.as_str());
        }
    }

    #[test]
    fn who_has_no_address_is_unknown() {
        let headers = applied("unix", &[("host", ""), ("x-forwarded-for", "1.1.1.1")]);
        assert_eq!(headers["forwarded"], "for=unknown;proto=http");
        assert_eq!(headers["x-forwarded-for"], "1.1.1.1");
    }
}
