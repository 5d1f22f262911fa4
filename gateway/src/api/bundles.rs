//! Bundles: built functions, kept by digest, for backends that run them.
//!
//! | request | answers |
//! |---|---|
//! | `GET /system/bundles` | 200, `[{"digest", "size", "createdAt", "names"}]` by digest |
//! | `PUT /system/bundles/sha256:<hex>` | 201, or 200 when it was here; 400 wrong digest or unsafe archive; 413 |
//! | the same with `?base=sha256:<hex>` | as above; shares what is unpacked with this earlier version of the function |
//! | `GET /system/bundles/sha256:<hex>` | 200 and the archive; 404 |
//! | `HEAD /system/bundles/sha256:<hex>` | 200 with `Content-Length`; 404 |
//! | `DELETE /system/bundles/sha256:<hex>` | 202; 404; 409 when it is used, by whom |
//!
//! All of them answer 501 when the backend runs images.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, EXPECT};
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use provider::Error as ProviderError;
use provider::bundle::{Digest, Entry, MEDIA_TYPE, Put, Store, Upload};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Api, Shared, accepted};
use crate::error::{Error, Result};

/// Uploads at a time; more wait for their turn.
const MAX_UPLOADS: usize = 8;
/// Longest silence of a client that sends an archive.
const IDLE: Duration = Duration::from_secs(60);
/// Bytes that are written or read at a time.
const CHUNK: usize = 256 << 10;
/// What is still read of a refused upload, so that its client gets to read why: in bytes,
const DRAIN_BYTES: usize = 64 << 20;
/// and in time.
const DRAIN: Duration = Duration::from_secs(10);

/// The store, and how many may send to it at a time.
#[derive(Debug)]
pub struct Bundles {
    store: Arc<Store>,
    uploads: Semaphore,
}

impl Bundles {
    /// Of this store.
    pub fn new(store: Arc<Store>) -> Self {
        Self { store, uploads: Semaphore::new(MAX_UPLOADS) }
    }
}

/// `GET /system/bundles`.
pub(super) async fn list(State(api): Shared) -> Result<Json<Vec<Entry>>> {
    let store = bundles(&api)?.store.clone();
    blocking(move || store.list()).await.map(Json)
}

/// Which bundle a new one is much like.
#[derive(serde::Deserialize)]
pub(super) struct Based {
    base: Option<String>,
}

/// `PUT /system/bundles/{digest}`.
pub(super) async fn put(
    State(api): Shared,
    (Path(digest), Query(Based { base })): (Path<String>, Query<Based>),
    headers: HeaderMap,
    mut body: Body,
) -> Result<StatusCode> {
    let put = match bundles(&api) {
        Ok(bundles) => take_in(bundles, (&digest, base.as_deref()), &mut body).await,
        Err(error) => Err(error),
    };
    match put {
        Ok(Put::Created) => {
            tracing::info!(digest, "bundle taken in");
            Ok(StatusCode::CREATED)
        }
        Ok(Put::Existed) => Ok(StatusCode::OK),
        Err(error) => {
            // Who waits to be told to go on has sent nothing yet.
            if !headers.contains_key(EXPECT) {
                drain(body).await;
            }
            Err(error)
        }
    }
}

/// `GET` and `HEAD /system/bundles/{digest}`.
pub(super) async fn get(State(api): Shared, Path(digest): Path<String>) -> Result<Response> {
    let (store, digest) = (bundles(&api)?.store.clone(), digest.parse::<Digest>()?);
    let found = blocking(move || store.archive(digest)).await?;
    let (file, size) = found.ok_or_else(|| not_found(digest))?;
    let headers = [
        (CONTENT_TYPE, MEDIA_TYPE.to_owned()),
        (CONTENT_LENGTH, size.to_string()),
        (ETAG, format!("\"{digest}\"")),
    ];
    Ok((headers, Body::from_stream(stream::try_unfold(file, read_on))).into_response())
}

/// `DELETE /system/bundles/{digest}`.
pub(super) async fn remove(State(api): Shared, Path(digest): Path<String>) -> Result<Response> {
    let (store, digest) = (bundles(&api)?.store.clone(), digest.parse::<Digest>()?);
    blocking(move || store.remove(digest)).await?;
    tracing::info!(%digest, "bundle removed");
    Ok(accepted())
}

fn bundles(api: &Api) -> Result<&Bundles> {
    let provider = || Error::NoBundles { provider: api.provider.info().provider };
    api.bundles.as_ref().ok_or_else(provider)
}

fn not_found(digest: Digest) -> Error {
    ProviderError::NotFound(format!("bundle {digest}")).into()
}

/// Receives an archive and makes it a bundle. A client that breaks off leaves nothing.
async fn take_in(
    bundles: &Bundles,
    (digest, base): (&str, Option<&str>),
    body: &mut Body,
) -> Result<Put> {
    let digest: Digest = digest.parse()?;
    let base: Option<Digest> = base.map(str::parse).transpose()?;
    let limit_bytes = bundles.store.limits().archive_bytes;
    if body.size_hint().lower() > limit_bytes {
        return Err(Error::BundleTooLarge { limit_bytes });
    }
    let _turn = bundles.uploads.acquire().await.map_err(|error| broken(&error))?;
    let store = bundles.store.clone();
    let begun = blocking(move || store.begin(digest)).await?;
    let mut upload = match base {
        Some(base) => begun.based_on(base),
        None => begun,
    };
    let mut received = 0;
    loop {
        let batch = match next_batch(body).await {
            Ok(batch) => batch,
            Err(error) => return give_up(upload, error),
        };
        if batch.is_empty() {
            return blocking(move || upload.finish()).await;
        }
        received += batch.iter().map(Bytes::len).sum::<usize>() as u64;
        if received > limit_bytes {
            return give_up(upload, Error::BundleTooLarge { limit_bytes });
        }
        upload = blocking(move || {
            batch.iter().try_for_each(|bytes| upload.write(bytes)).map(|()| upload)
        })
        .await?;
    }
}

/// Clearing away waits for the disk, so it is done elsewhere.
fn give_up(upload: Upload, error: Error) -> Result<Put> {
    drop(spawn_blocking(move || drop(upload)));
    Err(error)
}

/// What came since, about [`CHUNK`] bytes; nothing at the end.
async fn next_batch(body: &mut Body) -> Result<Vec<Bytes>> {
    let (mut batch, mut len) = (Vec::new(), 0);
    while len < CHUNK {
        let frame = timeout(IDLE, body.frame())
            .await
            .map_err(|_| Error::BodyBroken(format!("nothing came for {} s", IDLE.as_secs())))?;
        let Some(frame) = frame else { break };
        if let Ok(bytes) = frame.map_err(|error| broken(&error))?.into_data()
            && !bytes.is_empty()
        {
            len += bytes.len();
            batch.push(bytes);
        }
    }
    Ok(batch)
}

fn broken(error: &dyn std::error::Error) -> Error {
    Error::BodyBroken(error.to_string())
}

/// Reads on for a while: closing a connection with unread bytes would take the answer away.
async fn drain(mut body: Body) {
    let reading = async {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let len = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(len) else { break };
            left = rest;
        }
    };
    let _ = timeout(DRAIN, reading).await;
}

/// The next bytes of a file; `None` at its end.
async fn read_on(mut file: File) -> io::Result<Option<(Bytes, File)>> {
    let read = spawn_blocking(move || {
        let mut bytes = Vec::with_capacity(CHUNK);
        (&mut file).take(CHUNK as u64).read_to_end(&mut bytes)?;
        Ok((!bytes.is_empty()).then(|| (Bytes::from(bytes), file)))
    });
    read.await.map_err(io::Error::other)?
}

/// Does what waits for the disk, on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> provider::Result<T> + Send + 'static,
) -> Result<T> {
    let done = spawn_blocking(work).await;
    let failed = |error: tokio::task::JoinError| ProviderError::Backend {
        backend: "gateway",
        reason: error.to_string(),
    };
    Ok(done.map_err(failed)??)
}
