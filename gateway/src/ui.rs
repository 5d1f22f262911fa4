//! The page at `/ui/`: the functions there are, and how they do.

use axum::response::{Html, IntoResponse};
use http::header::{CONTENT_SECURITY_POLICY, HeaderName, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};

/// Only what the page itself holds may run, and it may ask only this gateway.
const POLICY: &str = "default-src 'none'; connect-src 'self'; \
    style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'";

/// `GET /ui/`.
pub(crate) async fn page() -> impl IntoResponse {
    let headers: [(HeaderName, &str); 3] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
    ];
    (headers, Html(include_str!("ui/index.html")))
}
