//! Who called, under which host and scheme: `X-Forwarded-*` and `Forwarded` (RFC 7239).

use std::io::Write as _;
use std::net::IpAddr;

use http::header::{Entry, HOST, HeaderMap, HeaderName, HeaderValue};

use crate::lines::Lines;
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
    /// Writes the headers, as lines. This hop is appended to the two that are lists, `X-Forwarded-For` and
    /// `Forwarded`. The other two tell what the first hop saw, and programs read them as one
    /// value, so they are left as an earlier hop wrote them.
    pub(crate) fn apply(&self, headers: &mut HeaderMap, lines: &mut Lines) {
        let ip = self.peer.ip();
        let earlier = Earlier::find(headers);
        if let Some(ip) = ip {
            let before = earlier.x_for.then(|| taken(headers, &X_FORWARDED_FOR, |_| true));
            lines.line(&X_FORWARDED_FOR, |text| {
                list(text, before);
                address(text, ip);
            });
        }
        let before = earlier.forwarded.then(|| taken(headers, &FORWARDED, closes_its_quotes));
        let host = headers.get(HOST);
        lines.line(&FORWARDED, |text| {
            list(text, before);
            self.element(text, ip, host);
        });
        if let Some(host) = host.filter(|_| !earlier.x_host) {
            lines.add(&X_FORWARDED_HOST, host);
        }
        if !earlier.x_proto {
            lines.line(&X_FORWARDED_PROTO, |text| text.extend_from_slice(self.scheme.as_bytes()));
        }
    }

    /// One element of `Forwarded`.
    fn element(&self, to: &mut Vec<u8>, ip: Option<IpAddr>, host: Option<&HeaderValue>) {
        match ip {
            Some(ip @ IpAddr::V6(_)) => {
                to.extend_from_slice(b"for=\"[");
                address(to, ip);
                to.extend_from_slice(b"]\"");
            }
            Some(ip) => {
                to.extend_from_slice(b"for=");
                address(to, ip);
            }
            None => to.extend_from_slice(b"for=unknown"),
        }
        if let Some(host) = host.filter(|host| !host.is_empty()) {
            to.extend_from_slice(b";host=");
            quote(to, host.as_bytes());
        }
        to.extend_from_slice(b";proto=");
        to.extend_from_slice(self.scheme.as_bytes());
    }
}

/// Which of the headers an earlier hop has written.
#[derive(Default)]
struct Earlier {
    forwarded: bool,
    x_for: bool,
    x_host: bool,
    x_proto: bool,
}

impl Earlier {
    /// Looks at the names that are there, of which few are as long as these.
    fn find(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "forwarded" => found.forwarded = true,
                "x-forwarded-for" => found.x_for = true,
                "x-forwarded-host" => found.x_host = true,
                "x-forwarded-proto" => found.x_proto = true,
                _ => (),
            }
        }
        found
    }
}

/// Writes an address. For IPv4, which is written on each call, that is many times faster than
/// through the standard library's formatting.
fn address(to: &mut Vec<u8>, ip: IpAddr) {
    let ip = match ip {
        IpAddr::V4(ip) => ip,
        // Writing to memory does not fail.
        IpAddr::V6(ip) => return drop(write!(to, "{ip}")),
    };
    let mut digits = itoa::Buffer::new();
    for (at, byte) in ip.octets().into_iter().enumerate() {
        if at > 0 {
            to.push(b'.');
        }
        to.extend_from_slice(digits.format(byte).as_bytes());
    }
}

/// Takes a list out of the headers, which may be spread over several lines. Those that are not
/// `sound` are left out: what is appended to them could be read as a part of them.
fn taken(headers: &mut HeaderMap, name: &HeaderName, sound: fn(&[u8]) -> bool) -> Vec<u8> {
    let Entry::Occupied(lines) = headers.entry(name) else { return Vec::new() };
    let earlier = lines.iter().map(HeaderValue::as_bytes);
    let earlier = earlier.filter(|line| !line.is_empty() && sound(line));
    let all = earlier.collect::<Vec<_>>().join(&b", "[..]);
    lines.remove_entry_mult();
    all
}

/// Begins a list with what earlier hops have written.
fn list(to: &mut Vec<u8>, earlier: Option<Vec<u8>>) {
    if let Some(earlier) = earlier.filter(|earlier| !earlier.is_empty()) {
        to.extend_from_slice(&earlier);
        to.extend_from_slice(b", ");
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
        let mut lines = Lines::take();
        Forwarded { peer, scheme: "http" }.apply(&mut headers, &mut lines);
        lines.copy_to(&mut headers);
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
