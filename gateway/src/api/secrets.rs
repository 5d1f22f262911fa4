//! Secrets (contract 1.10).

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::Response;
use provider::Secret;

use super::functions::InNamespace;
use super::{Shared, accepted, namespace, whole};
use crate::error::Result;

/// `GET /system/secrets`.
pub(super) async fn list(
    State(api): Shared,
    Query(query): Query<InNamespace>,
) -> Result<Json<Vec<Secret>>> {
    let namespace = namespace(query.namespace.as_deref())?;
    Ok(Json(api.provider.secrets().list(&namespace).await?))
}

/// `POST /system/secrets`.
pub(super) async fn create(State(api): Shared, body: Body) -> Result<Response> {
    let secret = Secret::from_json(&whole(body).await?)?;
    secret.bytes()?;
    api.provider.secrets().create(&secret).await?;
    Ok(accepted())
}

/// `PUT /system/secrets`.
pub(super) async fn update(State(api): Shared, body: Body) -> Result<Response> {
    let secret = Secret::from_json(&whole(body).await?)?;
    secret.bytes()?;
    api.provider.secrets().update(&secret).await?;
    Ok(accepted())
}

/// `DELETE /system/secrets`: the namespace in the body, else in the query.
pub(super) async fn remove(
    State(api): Shared,
    Query(query): Query<InNamespace>,
    body: Body,
) -> Result<Response> {
    let body = whole(body).await?;
    let mut secret = Secret::from_json(&body)?;
    if let (Some(in_query), false) = (query.namespace.as_deref(), names_namespace(&body)) {
        secret.namespace = namespace(Some(in_query))?;
    }
    api.provider.secrets().remove(&secret.name, &secret.namespace).await?;
    Ok(accepted())
}

fn names_namespace(body: &[u8]) -> bool {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    body.get("namespace").and_then(|n| n.as_str()).is_some_and(|n| !n.is_empty())
}
