//! What answers here (contract 1.8).

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Shared;

/// The commit that was built, where the build told.
const COMMIT: &str = match option_env!("FLINT_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// `GET /system/info`.
pub(super) async fn info(State(api): Shared) -> Json<Value> {
    let version = json!({ "release": env!("CARGO_PKG_VERSION"), "sha": COMMIT });
    let info = api.provider.info();
    Json(json!({
        "provider": {
            "provider": info.provider,
            "orchestration": info.orchestration,
            "version": version,
        },
        "version": version,
        "arch": std::env::consts::ARCH,
    }))
}
