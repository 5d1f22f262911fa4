//! Scaling by hand (contract 1.6).

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use provider::{Error as ProviderError, from_json};
use serde::Deserialize;

use super::functions::InNamespace;
use super::{Shared, accepted, name_in, whole};
use crate::error::Result;
use crate::scaling::Cause;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Scale {
    namespace: String,
    replicas: Option<u32>,
}

/// `POST /system/scale-function/{name}`.
pub(super) async fn scale(
    State(api): Shared,
    Path(name): Path<String>,
    Query(query): Query<InNamespace>,
    body: Body,
) -> Result<Response> {
    let scale: Scale = from_json(&whole(body).await?, &["serviceName", "replicas", "namespace"])?;
    let in_query = query.namespace.as_deref().filter(|n| !n.is_empty());
    let name = name_in(&name, in_query.or(Some(&scale.namespace)))?;
    let replicas =
        scale.replicas.ok_or_else(|| ProviderError::invalid("replicas", "is required"))?;
    api.scaler.scale(&name, replicas, Cause::Manual).await?;
    Ok(accepted())
}
