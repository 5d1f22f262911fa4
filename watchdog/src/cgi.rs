//! The request as environment variables (contract 5.3).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;

/// Names that the request line and the watchdog set; headers cannot take their place. `Proxy`
/// would become `Http_Proxy`, which many programs take for their proxy's address.
const RESERVED: [&str; 5] = ["proxy", "method", "path", "query", "contentlength"];

/// The variables for one request.
pub fn variables(request: &Parts, classic: bool) -> Vec<(OsString, OsString)> {
    let mut variables = from_headers(&request.headers);
    let mut set = |name: &str, value: Vec<u8>| {
        variables.insert(name.into(), OsString::from_vec(value));
    };
    set("Http_Method", request.method.as_str().into());
    if let Some(query) = request.uri.query().filter(|query| !query.is_empty()) {
        set("Http_Query", query.into());
    }
    let path = decoded_path(request.uri.path());
    if !path.is_empty() {
        set("Http_Path", path);
    }
    if classic {
        let length = request.headers.get(http::header::CONTENT_LENGTH);
        let length = length.map_or(&b"-1"[..], HeaderValue::as_bytes);
        set("Http_ContentLength", length.into());
        set("Http_Content_Length", length.into());
    }
    variables.into_iter().map(|(name, value)| (name.into(), value)).collect()
}

fn from_headers(headers: &HeaderMap) -> BTreeMap<String, OsString> {
    let mut variables = BTreeMap::new();
    for name in headers.keys() {
        // A name with `_` may be meant to look like another one, with `-`.
        let disguised = name.as_str().contains('_')
            && HeaderName::from_bytes(name.as_str().replace('_', "-").as_bytes())
                .is_ok_and(|other| headers.contains_key(other));
        if disguised || RESERVED.contains(&name.as_str()) {
            continue;
        }
        let values: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        let name = format!("Http_{}", canonical(name.as_str()).replace('-', "_"));
        variables.insert(name, OsString::from_vec(values.join(&b", "[..])));
    }
    variables
}

/// A header's name as Go writes it: `X-Call-Id`.
pub fn canonical(name: &str) -> String {
    let mut upper = true;
    let letters = name.chars().map(|c| {
        let c = if upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
        upper = c == '-';
        c
    });
    letters.collect()
}

/// The path without escapes, as the reference gives it; with them where they hide a NUL, which
/// no variable can hold.
fn decoded_path(path: &str) -> Vec<u8> {
    match percent_decode(path) {
        Some(decoded) if !decoded.contains(&0) => decoded,
        _ => path.into(),
    }
}

/// Undoes `%41`; `None` when what follows a `%` is no such number.
pub fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            other => other,
        });
    }
    Some(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn of(uri: &str, headers: &[(&str, &str)], classic: bool) -> BTreeMap<String, String> {
        let mut request = Request::post(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let text = |s: OsString| s.into_string().expect("text");
        variables(&parts, classic).into_iter().map(|(n, v)| (text(n), text(v))).collect()
    }

    #[test]
    fn the_request_is_there() {
        let all = of("/a%20b?c=d%20e", &[("X-CALL-ID", "7"), ("content-type", "a/b")], false);
        let expected = [
            ("Http_Content_Type", "a/b"),
            ("Http_Method", "POST"),
            ("Http_Path", "/a b"),
            ("Http_Query", "c=d%20e"),
            ("Http_X_Call_Id", "7"),
        ];
        let expected = expected.map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(all, expected.into());
    }

    #[test]
    fn values_of_one_header_are_joined() {
        assert_eq!(of("/", &[("a", "1"), ("a", "2")], false)["Http_A"], "1, 2");
    }

    #[test]
    fn headers_cannot_pose_as_something_else() {
        let all = of(
            "/p",
            &[
                ("Proxy", "evil:1"),
                ("Method", "EVIL"),
                ("Path", "/evil"),
                ("Query", "evil"),
                ("ContentLength", "evil"),
                ("X-Forwarded-For", "1.1.1.1"),
                ("X_Forwarded_For", "evil"),
                ("X_Other", "kept"),
            ],
            true,
        );
        assert!(!all.contains_key("Http_Proxy") && !all.contains_key("Http_Query"), "{all:?}");
        assert!(!all.values().any(|value| value.contains("evil")), "{all:?}");
        assert_eq!((&*all["Http_Method"], &*all["Http_Path"]), ("POST", "/p"));
        assert_eq!(all["Http_X_Forwarded_For"], "1.1.1.1");
        assert_eq!(all["Http_X_other"], "kept");
    }

    #[test]
    fn classic_tells_the_length() {
        let all = of("/", &[("content-length", "5"), ("host", "a")], true);
        assert_eq!((&*all["Http_ContentLength"], &*all["Http_Content_Length"]), ("5", "5"));
        assert_eq!(all["Http_Host"], "a");
        assert_eq!(of("/", &[], true)["Http_ContentLength"], "-1");
    }

    #[test]
    fn odd_escapes_stay() {
        assert_eq!(of("/a%00b", &[], false)["Http_Path"], "/a%00b");
        assert_eq!(of("/a%zz", &[], false)["Http_Path"], "/a%zz");
        assert_eq!(percent_decode("%2f%2F%41"), Some(b"//A".to_vec()));
    }
}
