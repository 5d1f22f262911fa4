//! One function.

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// Most bytes of a body that are taken.
const MAX_BODY_BYTES: usize = 10 << 20;

/// Answers one call.
pub async fn handle(request: Request) -> Response {
    match to_bytes(request.into_body(), MAX_BODY_BYTES).await {
        Ok(body) => {
            format!("Hello from Rust. You said: {}", String::from_utf8_lossy(&body)).into_response()
        }
        Err(error) => (StatusCode::PAYLOAD_TOO_LARGE, error.to_string()).into_response(),
    }
}
