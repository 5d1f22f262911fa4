//! Names of functions, alone and in the path of a call.

use gateway::call::{PREFIX, name_of, upstream_path};
use http::{Request, Uri};
use provider::{Name, is_dns_label};
use relay::Body;

/// A name reads back as itself, and is made of labels; a path is split without losing a byte.
pub fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        name(text);
    }
    let target = [PREFIX.as_bytes(), data].concat();
    if let Ok(uri) = Uri::try_from(target) {
        path(uri);
    }
}

fn name(text: &str) {
    let Ok(name) = Name::parse(text) else { return };
    assert!(is_dns_label(name.function()) && is_dns_label(name.namespace()), "{text:?}");
    let whole = name.to_string();
    assert_eq!(Name::parse(&whole).ok(), Some(name.clone()), "{text:?}");
    assert!(text == whole || text == name.function(), "{text:?} became {whole:?}");
}

fn path(uri: Uri) {
    let whole = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let name = name_of(uri.path()).to_owned();
    assert!(!name.contains(['/', '?']), "{whole:?} has the name {name:?}");
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = uri;
    let Ok(rest) = upstream_path(&request) else { return };
    let rest = rest.as_str();
    assert!(rest.starts_with('/'), "{whole:?} goes on as {rest:?}");
    let kept = whole == format!("{PREFIX}{name}{rest}");
    let slash_added = whole == format!("{PREFIX}{name}{}", &rest[1..]);
    assert!(kept || slash_added, "{whole:?} goes on as {rest:?}");
}
