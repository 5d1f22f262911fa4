//! Namespaces (contract 1.9).

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use provider::{Error as ProviderError, Namespace, Namespaces};

use super::{Api, Shared, accepted, whole};
use crate::error::Result;

fn of(api: &Api) -> Result<&dyn Namespaces> {
    Ok(api.provider.namespaces().ok_or(ProviderError::Unsupported("namespaces"))?)
}

/// `GET /system/namespaces`.
pub(super) async fn list(State(api): Shared) -> Result<Json<Vec<String>>> {
    let all = match api.provider.namespaces() {
        Some(namespaces) => namespaces.list().await?,
        None => Vec::new(),
    };
    Ok(Json(all.into_iter().map(|namespace| namespace.name).collect()))
}

/// `GET /system/namespace/{name}`.
pub(super) async fn show(State(api): Shared, Path(name): Path<String>) -> Result<Json<Namespace>> {
    let all = of(&api)?.list().await?;
    let found = all.into_iter().find(|namespace| namespace.name == name);
    Ok(Json(found.ok_or_else(|| ProviderError::NotFound(format!("namespace {name}")))?))
}

/// `POST /system/namespace/`.
pub(super) async fn create(api: Shared, body: Body) -> Result<Response> {
    create_named(api, Path(String::new()), body).await
}

/// `POST /system/namespace/{name}`.
pub(super) async fn create_named(
    State(api): Shared,
    Path(name): Path<String>,
    body: Body,
) -> Result<Response> {
    let namespace = Namespace::from_json(&whole(body).await?, &name)?;
    of(&api)?.create(&namespace).await?;
    Ok(StatusCode::CREATED.into_response())
}

/// `PUT /system/namespace/{name}`.
pub(super) async fn update(
    State(api): Shared,
    Path(name): Path<String>,
    body: Body,
) -> Result<Response> {
    let namespace = Namespace::from_json(&whole(body).await?, &name)?;
    of(&api)?.update(&namespace).await?;
    Ok(accepted())
}

/// `DELETE /system/namespace/{name}`.
pub(super) async fn remove(State(api): Shared, Path(name): Path<String>) -> Result<Response> {
    of(&api)?.remove(&name).await?;
    Ok(accepted())
}
