//! A request of HTTP/2 as the rest of this crate knows requests, and why one is refused.

use http::header::{COOKIE, HOST, HeaderMap, HeaderValue};
use http::uri::Authority;
use http::{Method, Request, StatusCode, Uri};

use crate::body::Body;

/// Gives the request the form that one of HTTP/1.1 has: `Host` instead of `:authority`, path and
/// query only, one `Cookie`.
pub(super) fn translate(request: Request<Body>) -> Result<Request<Body>, Refusal> {
    if request.method() == Method::CONNECT {
        return Err((StatusCode::NOT_IMPLEMENTED, "CONNECT is not supported"));
    }
    let (mut parts, body) = request.into_parts();
    set_host(&parts.uri, &mut parts.headers)?;
    join_cookies(&mut parts.headers);
    if let Some(path) = parts.uri.path_and_query() {
        parts.uri = Uri::from(path.clone());
    }
    Ok(Request::from_parts(parts, body))
}

/// A status and a text.
pub(super) type Refusal = (StatusCode, &'static str);

/// Two hosts that differ could be read differently by two hops (RFC 9113 8.3.1).
fn set_host(uri: &Uri, headers: &mut HeaderMap) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    let authority = uri.authority().map(Authority::as_str);
    let differ = |(a, b): (&str, &HeaderValue)| !a.as_bytes().eq_ignore_ascii_case(b.as_bytes());
    if more.is_some() || authority.zip(host).is_some_and(differ) {
        return Err((StatusCode::BAD_REQUEST, "a request needs one host"));
    }
    match authority.map(HeaderValue::from_str) {
        Some(Ok(authority)) => headers.insert(HOST, authority),
        _ if host.is_some() => return Ok(()),
        _ => return Err((StatusCode::BAD_REQUEST, "a request needs :authority")),
    };
    Ok(())
}

/// HTTP/2 clients may split the header, HTTP/1.1 servers know one only (RFC 9113 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let crumbs: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, headers: &[(&str, &str)]) -> Request<Body> {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).expect("a request")
    }

    #[test]
    fn the_authority_becomes_the_host() {
        let uri = "http://a.b:81/x%2Fy;z?q=%20";
        for headers in [&[][..], &[("host", "A.b:81")]] {
            let request = translate(request(uri, headers)).expect("taken");
            assert_eq!(request.headers()["host"], "a.b:81");
            assert_eq!(request.uri(), "/x%2Fy;z?q=%20");
        }
        let request = translate(request("/x", &[("host", "a")])).expect("taken");
        assert_eq!(request.headers()["host"], "a");
    }

    #[test]
    fn one_host_and_no_tunnels() {
        for (uri, headers) in [
            ("http://a/", &[("host", "b")][..]),
            ("http://a/", &[("host", "a"), ("host", "a")]),
            ("/", &[]),
        ] {
            let refused = translate(request(uri, headers)).map_err(|refusal| refusal.0);
            assert_eq!(refused.err(), Some(StatusCode::BAD_REQUEST), "{uri} {headers:?}");
        }
        let mut connect = request("http://a/", &[]);
        *connect.method_mut() = Method::CONNECT;
        assert_eq!(translate(connect).err().map(|r| r.0), Some(StatusCode::NOT_IMPLEMENTED));
    }

    #[test]
    fn crumbs_become_one_cookie() {
        let request = translate(request("http://a/", &[("cookie", "a=1"), ("cookie", "b=2; c=3")]));
        let headers = request.expect("taken").headers().clone();
        assert_eq!(headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
    }
}
