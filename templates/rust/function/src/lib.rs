mod failure;

use axum::body::Bytes;

use failure::Failure;

/// Any axum handler will do: name the parts of the request that it needs as parameters, and return what it answers.
pub async fn handle(body: Bytes) -> Result<String, Failure> {
    let said = std::str::from_utf8(&body)?;
    Ok(format!("Hello from Rust. You said: {said}"))
}
