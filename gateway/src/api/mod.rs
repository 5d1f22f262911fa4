//! The REST API: one file a noun, one auth layer over all of it (contract, section 1).

pub mod alert;
pub mod bundles;
pub mod functions;
mod info;
mod logs;
mod namespaces;
mod peers;
mod scale;
mod scaling;
mod secrets;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post, put};
use http::StatusCode;
use provider::{DEFAULT_NAMESPACE, Name, Provider};

use crate::auth::{Credentials, require};
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::peers::Circle;
use crate::scaling::Scaler;
use crate::ui;
use crate::usage::Sampler;

/// Largest body of a system request, in bytes: a secret of 1 MiB as base64 with room to spare.
const BODY_LIMIT_BYTES: usize = 2 * 1024 * 1024;

/// What the API works on.
pub struct Api {
    /// Where functions run.
    pub provider: Arc<dyn Provider>,
    /// What runs now.
    pub directory: Arc<Directory>,
    /// Who changes how much runs.
    pub scaler: Arc<Scaler>,
    /// What functions use of the machine.
    pub sampler: Arc<Sampler>,
    /// The bundles, on a backend that runs them.
    pub bundles: Option<bundles::Bundles>,
    /// Given when the gateway stops: whoever follows logs would hold it up for good.
    pub stopping: relay::Shutdown,
    /// Keeps writes to one function in line.
    pub writes: functions::Writes,
    /// The other gateways.
    pub circle: Circle,
}

type Shared = State<Arc<Api>>;

/// Every route but the calls themselves.
pub fn router(api: Arc<Api>, credentials: Option<Credentials>) -> Router {
    Router::new()
        .route("/", get(async || Redirect::temporary("/ui/")))
        .route("/ui/", get(ui::page))
        .route("/healthz", get(healthz))
        .route(
            "/system/functions",
            get(functions::list)
                .post(functions::create)
                .put(functions::update)
                .delete(functions::remove),
        )
        .route("/system/function/{name}", get(functions::status))
        .route("/system/function/{name}/scaling", get(scaling::show))
        .route("/system/scale-function/{name}", post(scale::scale))
        .route("/system/alert", post(alert::alert))
        .route(
            "/system/secrets",
            get(secrets::list).post(secrets::create).put(secrets::update).delete(secrets::remove),
        )
        .route("/system/namespaces", get(namespaces::list))
        .route("/system/namespace/", post(namespaces::create))
        .route(
            "/system/namespace/{name}",
            get(namespaces::show)
                .post(namespaces::create_named)
                .put(namespaces::update)
                .delete(namespaces::remove),
        )
        .route("/system/bundles", get(bundles::list))
        .route(
            "/system/bundles/{digest}",
            get(bundles::get).put(bundles::put).delete(bundles::remove),
        )
        .route("/system/logs", get(logs::logs))
        .route("/system/info", get(info::info))
        .route("/system/peers/{name}", put(peers::tell).delete(peers::goodbye))
        .fallback(async || Error::NoRoute)
        .layer(from_fn_with_state(credentials, require))
        .layer(DefaultBodyLimit::disable())
        .with_state(api)
}

/// Answers for the gateway and its provider.
async fn healthz(State(api): Shared) -> Result<&'static str> {
    if !api.directory.is_synced() {
        return Err(Error::Starting);
    }
    api.provider.health().await?;
    Ok("OK")
}

/// The answer to a change that was taken (contract, appendix A).
fn accepted() -> Response {
    StatusCode::ACCEPTED.into_response()
}

/// The whole body of a system request.
async fn whole(body: Body) -> Result<Bytes> {
    to_bytes(body, BODY_LIMIT_BYTES).await.map_err(|error| {
        let inner = std::error::Error::source(&error);
        match inner.is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>) {
            true => Error::BodyTooLarge { limit_bytes: BODY_LIMIT_BYTES },
            false => Error::BodyBroken(error.to_string()),
        }
    })
}

/// The namespace of a query, checked; absent or empty is the default one.
fn namespace(query: Option<&str>) -> Result<String> {
    let namespace = query.filter(|n| !n.is_empty()).unwrap_or(DEFAULT_NAMESPACE);
    Ok(Name::new("x", namespace)?.namespace().to_owned())
}

/// A name of a path: a namespace in the body or query counts when the name itself has none.
fn name_in(path: &str, namespace: Option<&str>) -> Result<Name> {
    match namespace.filter(|n| !n.is_empty() && !path.contains('.')) {
        Some(namespace) => Ok(Name::new(path, namespace)?),
        None => Ok(Name::parse(path)?),
    }
}
