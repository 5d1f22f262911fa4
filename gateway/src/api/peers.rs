//! What other gateways tell the one that leads.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use provider::Error as ProviderError;
use tokio::time::Instant;

use super::{Api, Shared, accepted, whole};
use crate::error::{Error, Result};
use crate::peers::{Letter, Refusal};

/// Longest name of a gateway: that of a pod, and what makes it another one after each start.
const MAX_NAME: usize = 300;

/// `PUT /system/peers/{name}`: what that gateway has to do.
pub(super) async fn tell(
    State(api): Shared,
    Path(name): Path<String>,
    body: Body,
) -> Result<Response> {
    check(&api, &name)?;
    let body = whole(body).await?;
    let mut letter: Letter = serde_json::from_slice(&body)
        .map_err(|error| ProviderError::invalid("body", error.to_string()))?;
    letter.functions.retain(|function, _| api.directory.get(function).is_some());
    match api.circle.tally.take_in(&name, &letter, Instant::now()) {
        Ok(()) => take_in_notes(&api, letter),
        Err(Refusal::Stranger) => {
            return Err(ProviderError::NotFound(format!("gateway {name}")).into());
        }
        Err(Refusal::Crowd) => {
            return Err(ProviderError::Conflict("there are too many gateways".to_owned()).into());
        }
    }
    Ok(accepted())
}

/// `DELETE /system/peers/{name}`: that gateway has ended.
pub(super) async fn goodbye(State(api): Shared, Path(name): Path<String>) -> Result<StatusCode> {
    check(&api, &name)?;
    api.circle.tally.goodbye(&name);
    Ok(StatusCode::NO_CONTENT)
}

/// Only who leads listens.
fn check(api: &Api, name: &str) -> Result<()> {
    if !api.circle.lead.is_shared() {
        return Err(Error::NoRoute);
    }
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(good) {
        return Err(ProviderError::invalid("name", "is no name of a gateway").into());
    }
    match api.circle.lead.is_here() {
        true => Ok(()),
        false => Err(ProviderError::Conflict("this gateway does not lead".to_owned()).into()),
    }
}

fn take_in_notes(api: &Api, letter: Letter) {
    for (function, counts) in letter.functions {
        let Some(entry) = api.directory.get(&function) else { continue };
        for note in counts.notes {
            entry.live.journal.hear(note.at, note.decision);
        }
    }
}
