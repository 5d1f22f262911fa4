//! Requests of the API (contract 4.5): as many series as it has routes, whatever clients ask for.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// What the API's paths begin with.
const SYSTEM: &str = "/system/";
/// The path of requests for what there is not.
const UNKNOWN: &str = "/system/unknown";

/// Requests of the API, by method, route and status.
#[derive(Clone)]
pub struct Requests {
    total: IntCounterVec,
    seconds: HistogramVec,
}

impl Requests {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let labels = ["method", "path", "status"];
        let total = Opts::new("http_requests_total", "Requests of the API.");
        let seconds = HistogramOpts::new(
            "http_request_duration_seconds",
            "How long the API took until its answer began, in seconds.",
        );
        let requests = Self {
            total: IntCounterVec::new(total, &labels)?,
            seconds: HistogramVec::new(seconds, &labels)?,
        };
        registry.register(Box::new(requests.total.clone()))?;
        registry.register(Box::new(requests.seconds.clone()))?;
        Ok(requests)
    }
}

/// Counts a request of the API.
pub async fn observe(State(requests): State<Requests>, request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with(SYSTEM) {
        return next.run(request).await;
    }
    let (start, method) = (Instant::now(), method(request.method()));
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let path = route.as_ref().map_or(UNKNOWN, MatchedPath::as_str);
    let status = response.status();
    let labels = [method, path, status.as_str()];
    requests.total.with_label_values(&labels).inc();
    requests.seconds.with_label_values(&labels).observe(start.elapsed().as_secs_f64());
    response
}

/// Clients can make up any other.
fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use http::StatusCode;
    use prometheus::core::Collector;
    use tower_service::Service;

    use super::*;

    #[tokio::test]
    async fn clients_cannot_make_up_series() {
        let registry = Registry::new();
        let requests = Requests::new(&registry).unwrap();
        let mut router: Router = Router::new()
            .route("/system/function/{name}", get(async || "found"))
            .route("/ui/", get(async || "page"))
            .fallback(async || StatusCode::NOT_FOUND)
            .layer(from_fn_with_state(requests.clone(), observe));
        for number in 0..10 {
            for (method, path) in [
                ("GET", format!("/system/function/fn{number}?x={number}")),
                ("GET", format!("/system/unheard{number}")),
                ("GET", format!("/elsewhere/{number}")),
                ("GET", "/ui/".to_owned()),
                (format!("EVIL{number}").as_str(), "/system/function/fn".to_owned()),
            ] {
                let request = Request::builder().method(method).uri(path);
                router.call(request.body(Body::empty()).unwrap()).await.unwrap();
            }
        }
        let of = |labels: [&str; 3]| requests.total.with_label_values(&labels).get();
        assert_eq!(of(["GET", "/system/function/{name}", "200"]), 10);
        assert_eq!(of(["GET", UNKNOWN, "404"]), 10);
        assert_eq!(of(["other", "/system/function/{name}", "405"]), 10);
        let families = requests.seconds.collect();
        assert_eq!(families[0].get_metric().len(), 3);
    }
}
