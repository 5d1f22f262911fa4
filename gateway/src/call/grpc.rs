//! gRPC calls: how they name their function, and how long they may take.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName};
use http::uri::PathAndQuery;
use http::{Request, Uri};
use relay::{Body, grpc};

use super::PREFIX;

/// Metadata that names the function, for clients that cannot put anything before the path.
const FUNCTION: HeaderName = HeaderName::from_static("x-faas-function");

/// Gives a gRPC call that names its function by metadata the path that others have.
pub fn route(mut request: Request<Body>) -> Request<Body> {
    if request.uri().path().starts_with(PREFIX) || !grpc::is_call(request.headers()) {
        return request;
    }
    let name = request.headers().get(FUNCTION).and_then(|name| name.to_str().ok());
    let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let path = name.and_then(|name| format!("{PREFIX}{name}{path}").parse::<PathAndQuery>().ok());
    if let Some(path) = path {
        *request.uri_mut() = Uri::from(path);
    }
    request
}

/// How long a call may take: its function's limit, or its client's when that is less.
pub(super) fn limit(headers: &HeaderMap, limit: Duration) -> Duration {
    let wanted = grpc::is_call(headers).then(|| grpc::timeout(headers)).flatten();
    wanted.map_or(limit, |wanted| wanted.min(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routed(path: &str, headers: &[(&str, &str)]) -> String {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        route(request.body(Body::empty()).unwrap()).uri().to_string()
    }

    #[test]
    fn metadata_names_the_function_of_grpc_calls_only() {
        let grpc = ("content-type", "application/grpc+proto");
        let named = ("x-faas-function", "echo.dev");
        assert_eq!(routed("/a.B/C", &[grpc, named]), "/function/echo.dev/a.B/C");
        assert_eq!(routed("/function/f/a.B/C", &[grpc, named]), "/function/f/a.B/C");
        assert_eq!(routed("/a.B/C", &[grpc]), "/a.B/C");
        assert_eq!(routed("/system/info", &[named]), "/system/info");
        assert_eq!(routed("/a.B/C", &[grpc, ("x-faas-function", "a b")]), "/a.B/C");
    }
}
