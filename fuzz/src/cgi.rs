//! A request as environment variables.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Uri};
use watchdog::cgi::{canonical, variables};

/// Names that headers cannot set.
const RESERVED: [&str; 5] = ["proxy", "method", "path", "query", "contentlength"];

/// Every variable can be set for a process, none hides another, and none poses as what it is not.
///
/// The bytes are a line `METHOD target`, then lines `name:value`.
pub fn run(data: &[u8]) {
    let Some(request) = request(data) else { return };
    for classic in [false, true] {
        let all = variables(&request, classic);
        let count = all.len();
        let all: BTreeMap<OsString, OsString> = all.into_iter().collect();
        assert_eq!(all.len(), count, "a variable comes twice");
        all.iter().for_each(|(name, value)| can_be_set(name, value));
        of_the_request_line(&request, &all);
        of_headers(&request, &all, classic);
    }
}

fn request(data: &[u8]) -> Option<Parts> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut first = lines.next()?.splitn(2, |byte| *byte == b' ');
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(first.next()?).ok()?;
    *request.uri_mut() = Uri::try_from(first.next()?).ok()?;
    for line in lines {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().and_then(|name| HeaderName::from_bytes(name).ok());
        let value = parts.next().and_then(|value| HeaderValue::from_bytes(value).ok());
        if let (Some(name), Some(value)) = (name, value) {
            request.headers_mut().append(name, value);
        }
    }
    Some(request.into_parts().0)
}

fn can_be_set(name: &OsStr, value: &OsStr) {
    let (bytes, value) = (name.as_bytes(), value.as_bytes());
    assert!(bytes.starts_with(b"Http_"), "{name:?}");
    assert!(!bytes.iter().any(|byte| b"=\0".contains(byte)), "{name:?}");
    assert!(!value.contains(&0), "{name:?} holds a NUL");
}

fn of_the_request_line(request: &Parts, all: &BTreeMap<OsString, OsString>) {
    let of = |name: &str| all.get(OsStr::new(name)).map(|value| value.as_bytes());
    assert_eq!(of("Http_Method"), Some(request.method.as_str().as_bytes()));
    let query = request.uri.query().filter(|query| !query.is_empty());
    assert_eq!(of("Http_Query"), query.map(str::as_bytes));
    assert_eq!(of("Http_Path").is_none(), request.uri.path().is_empty());
    assert_eq!(of("Http_Proxy"), None);
}

/// A header without `_` is found under its own name with its own values, whatever else comes.
fn of_headers(request: &Parts, all: &BTreeMap<OsString, OsString>, classic: bool) {
    for name in request.headers.keys() {
        let text = name.as_str();
        let of_length = classic && text == "content-length";
        if text.contains('_') || RESERVED.contains(&text) || of_length {
            continue;
        }
        let values = request.headers.get_all(name).iter().map(HeaderValue::as_bytes);
        let expected = values.collect::<Vec<_>>().join(&b", "[..]);
        let variable = format!("Http_{}", canonical(text).replace('-', "_"));
        let found = all.get(OsStr::new(&variable)).map(|value| value.as_bytes());
        assert_eq!(found, Some(&expected[..]), "{variable}");
    }
}
