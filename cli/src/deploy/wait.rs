//! Waiting until a deploy has come to its end, good or bad.

use std::time::Duration;

use anyhow::{Result, anyhow};
use provider::Function;
use tokio::time::Instant;

use crate::error::{caused, hinted};
use crate::gateway::{Gateway, Seen};
use crate::output;

/// Time between two looks: short at first, since processes are ready at once, then longer. The
/// API has no events to wait for.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(300));
/// Which part of the time that has passed goes by until the next look.
const SHARE: u32 = 16;
/// How long a reason may stand before it counts as the outcome: it may pass by itself.
const PATIENCE: Duration = Duration::from_secs(3);

/// How a deploy is going.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// As many replicas of the new generation are ready as are wanted.
    Ready,
    /// Not yet, and nothing is known to be wrong.
    Waiting { ready: u64, wanted: u64 },
    /// Something is wrong.
    Wrong(String),
}

/// Waits until the function's newest generation is ready; an error says why it is not.
pub async fn until_ready(gateway: &Gateway, function: &Function, limit: Duration) -> Result<()> {
    let mut said = String::new();
    let say = |state: String| {
        if state != said {
            output::talk(&format!("Waiting for {}: {state}.", function.service));
            said = state;
        }
    };
    watch(gateway, (function, limit), say).await?;
    Ok(output::line(&format!("Ready: {}.", function.service))?)
}

/// The same, but says nothing to anybody: `say` is told how it goes.
pub(crate) async fn watch(
    gateway: &Gateway,
    (function, limit): (&Function, Duration),
    mut say: impl FnMut(String),
) -> Result<()> {
    let name = &function.service;
    let started = Instant::now();
    let deadline = started + limit;
    let mut wrong: Option<(String, Instant)> = None;
    loop {
        let seen = gateway.function(name, &function.namespace).await?;
        let seen = seen.ok_or_else(|| anyhow!("function {name} is gone"))?;
        let state = match progress(&seen) {
            Progress::Ready => return Ok(()),
            Progress::Waiting { ready, wanted } => {
                wrong = None;
                format!("{ready} of {wanted} replicas ready")
            }
            Progress::Wrong(reason) => {
                let since = wrong.take().map_or_else(Instant::now, |(_, since)| since);
                if since.elapsed() >= PATIENCE {
                    return Err(failed(name, &reason));
                }
                wrong = Some((reason.clone(), since));
                reason
            }
        };
        say(state);
        let interval = (started.elapsed() / SHARE).clamp(INTERVALS.0, INTERVALS.1);
        if Instant::now() + interval > deadline {
            return Err(too_late(name, limit, wrong.map(|(reason, _)| reason)));
        }
        tokio::time::sleep(interval).await;
    }
}

fn progress(seen: &Seen) -> Progress {
    let wanted = u64::from(seen.status.desired);
    // Gateways that do not tell generations leave zero out, and never want it after a deploy.
    let (ready, wanted) = match seen.updated {
        Some(updated) => (updated, wanted),
        None => (seen.available, wanted.max(1)),
    };
    match &*seen.status.reason {
        "" if ready >= wanted => Progress::Ready,
        "" => Progress::Waiting { ready, wanted },
        // Also while enough are ready: those of the last good deploy, when this one failed early.
        reason => Progress::Wrong(reason.to_owned()),
    }
}

fn hint(name: &str) -> String {
    format!("`faas logs {name}` and `faas describe {name}` may say more")
}

fn failed(name: &str, reason: &str) -> anyhow::Error {
    hinted(format!("function {name} does not get ready: {reason}"), hint(name))
}

fn too_late(name: &str, limit: Duration, reason: Option<String>) -> anyhow::Error {
    let limit = provider::format_duration(limit);
    let message = format!("function {name} is not ready after {limit}");
    match reason {
        Some(reason) => caused(message, hint(name), anyhow!(reason)),
        None => hinted(message, hint(name)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(raw: Value) -> Progress {
        progress(&Seen::from_value(raw).unwrap())
    }

    #[test]
    fn the_new_generation_decides() {
        let old_only = json!({"name": "a", "replicas": 1, "availableReplicas": 1,
            "updatedReplicas": 0});
        assert_eq!(of(old_only), Progress::Waiting { ready: 0, wanted: 1 });
        let broken = json!({"name": "a", "replicas": 1, "availableReplicas": 1,
            "updatedReplicas": 0, "reason": "no such image"});
        assert_eq!(of(broken), Progress::Wrong("no such image".to_owned()));
        let rolled_back = json!({"name": "a", "replicas": 1, "updatedReplicas": 1,
            "reason": "no such image"});
        assert_eq!(of(rolled_back), Progress::Wrong("no such image".to_owned()));
        let ready = json!({"name": "a", "replicas": 2, "updatedReplicas": 2});
        assert_eq!(of(ready), Progress::Ready);
    }

    #[test]
    fn gateways_without_generations_are_judged_by_what_is_available() {
        let waiting = Progress::Waiting { ready: 0, wanted: 1 };
        assert_eq!(of(json!({"name": "a"})), waiting);
        assert_eq!(of(json!({"name": "a", "availableReplicas": 1})), Progress::Ready);
    }
}
