//! Functions: list, create, update, remove, status (contract 1.6).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use provider::{Error as ProviderError, Function, Name, from_json, label};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Shared, accepted, name_in, namespace, whole};
use crate::directory::Entry;
use crate::error::{Error, Result};

/// Longest that a request waits for a deploy or a removal, which goes on by itself after that.
///
/// Clients of the contract give up after 60 s (contract 7.1).
const WAIT: Duration = Duration::from_secs(50);

/// One lock a function, so that what a client sees as one step is one.
#[derive(Default)]
pub struct Writes(Mutex<HashMap<Name, Weak<tokio::sync::Mutex<()>>>>);

/// The query of reads.
#[derive(Deserialize)]
pub(super) struct InNamespace {
    /// The namespace; absent is the default one.
    pub(super) namespace: Option<String>,
}

/// The body of a removal.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Removal {
    function_name: String,
    namespace: String,
}

impl Writes {
    async fn lock(&self, name: &Name) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            let lock = locks.get(name).and_then(Weak::upgrade).unwrap_or_default();
            locks.insert(name.clone(), Arc::downgrade(&lock));
            lock
        };
        lock.lock_owned().await
    }
}

/// `GET /system/functions`.
pub(super) async fn list(
    State(api): Shared,
    Query(query): Query<InNamespace>,
) -> Result<Json<Vec<Value>>> {
    let namespace = namespace(query.namespace.as_deref())?;
    synced(&api)?;
    Ok(Json(api.directory.list(&namespace).iter().map(|entry| wire(entry)).collect()))
}

/// `GET /system/function/{name}`.
pub(super) async fn status(
    State(api): Shared,
    Path(name): Path<String>,
    Query(query): Query<InNamespace>,
) -> Result<Json<Value>> {
    let name = name_in(&name, query.namespace.as_deref())?;
    synced(&api)?;
    let entry = api.directory.find(&name).ok_or_else(|| not_found(&name))?;
    Ok(Json(wire(&entry)))
}

/// `POST /system/functions`.
pub(super) async fn create(api: Shared, body: Body) -> Result<Response> {
    deploy(api, body, true).await
}

/// `PUT /system/functions`.
pub(super) async fn update(api: Shared, body: Body) -> Result<Response> {
    deploy(api, body, false).await
}

async fn deploy(State(api): Shared, body: Body, create: bool) -> Result<Response> {
    let function = Function::from_json(&whole(body).await?)?;
    let name = function.name()?;
    synced(&api)?;
    let work = async move {
        let _write = api.writes.lock(&name).await;
        match api.directory.find(&name) {
            Some(_) if create => return Err(ProviderError::Exists(format!("function {name}"))),
            None if !create => return Err(ProviderError::NotFound(format!("function {name}"))),
            _ => {}
        }
        let _places = api.scaler.admit(&name, &function)?;
        let status = api.provider.apply(&function).await?;
        tracing::info!(function = %name, image = %function.image, "deployed");
        api.directory.deployed(status);
        Ok(())
    };
    in_time(work).await
}

/// `DELETE /system/functions`.
pub(super) async fn remove(
    State(api): Shared,
    Query(query): Query<InNamespace>,
    body: Body,
) -> Result<Response> {
    let removal: Removal = from_json(&whole(body).await?, &["functionName", "namespace"])?;
    let in_body = Some(removal.namespace.as_str()).filter(|n| !n.is_empty());
    let name = match removal.function_name.as_str() {
        "" => return Err(ProviderError::invalid("functionName", "is required").into()),
        name => name_in(name, in_body.or(query.namespace.as_deref()))?,
    };
    synced(&api)?;
    let work = async move {
        let _write = api.writes.lock(&name).await;
        let missing = || ProviderError::NotFound(format!("function {name}"));
        api.directory.find(&name).ok_or_else(missing)?;
        api.provider.remove(&name).await?;
        tracing::info!(function = %name, "removed");
        api.directory.removed(&name);
        Ok(())
    };
    in_time(work).await
}

/// Does the work even when the client goes away; answers when it is done or has taken too long
/// for a client to wait.
async fn in_time(
    work: impl Future<Output = provider::Result<()>> + Send + 'static,
) -> Result<Response> {
    let work = tokio::spawn(work);
    match tokio::time::timeout(WAIT, work).await {
        Ok(Ok(done)) => done.map(|()| accepted()).map_err(Error::from),
        Ok(Err(panic)) => {
            Err(ProviderError::Backend { backend: "gateway", reason: panic.to_string() }.into())
        }
        Err(_) => Ok(accepted()),
    }
}

pub(super) fn synced(api: &super::Api) -> Result<()> {
    if api.directory.is_synced() { Ok(()) } else { Err(Error::Starting) }
}

pub(super) fn not_found(name: &Name) -> Error {
    ProviderError::NotFound(format!("function {name}")).into()
}

/// A function as clients see it: its status, its calls so far, and the label that clients of the
/// contract look for.
fn wire(entry: &Entry) -> Value {
    let mut all = match serde_json::to_value(&entry.status) {
        Ok(Value::Object(all)) => all,
        _ => Map::new(),
    };
    all.insert("invocationCount".to_owned(), entry.live.metrics.invocations().into());
    let labels = all.entry("labels").or_insert_with(|| Map::new().into());
    if let Value::Object(labels) = labels {
        labels.insert(label::FUNCTION.to_owned(), entry.name.function().into());
    }
    Value::Object(all)
}
