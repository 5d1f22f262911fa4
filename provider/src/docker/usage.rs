//! What containers use: read from their control groups, else asked of the engine.

use std::path::{Path, PathBuf};

use bollard::models::{ContainerMemoryStats, ContainerStatsResponse};
use bollard::query_parameters::StatsOptions;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::api::{Api, error, is_status, refused};
use crate::replicas::usage::{Consumed, Running};
use crate::{Result, Usage};

/// The hierarchies of version 1 that tell something; the empty one is version 2.
const HIERARCHIES: [&str; 4] = ["", "cpu,cpuacct", "cpuacct", "memory"];
/// Questions to the engine under way at once.
const QUESTIONS: usize = 16;

/// What each of them uses, by the control groups below `root`. Those that have just ended are left
/// out.
pub(super) async fn of(api: &Api, root: &Path, running: Vec<Running>) -> Result<Vec<Usage>> {
    let root = root.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let read = |replica: Running| (cgroups(&root, &replica.id), replica);
        let read = running.into_iter().map(read);
        read.map(|(dirs, replica)| (Consumed::of_cgroups(&dirs), replica)).collect::<Vec<_>>()
    });
    let read = read.await.map_err(|e| refused(e.to_string()))?;
    let complete = |(consumed, replica): (Consumed, Running)| async move {
        let consumed = match consumed.is_enough() {
            true => consumed,
            false => consumed.or(stats(api, &replica.id).await?),
        };
        Ok::<_, crate::Error>(replica.used(consumed))
    };
    let used = stream::iter(read.into_iter().map(complete)).buffered(QUESTIONS);
    let used: Vec<_> = used.try_collect().await?;
    Ok(used.into_iter().flatten().collect())
}

/// A container's control groups, where the engine's two ways to place them have put them. One with
/// a parent of its own choice, or out of our sight, has none here.
fn cgroups(root: &Path, id: &str) -> Vec<PathBuf> {
    let places = [format!("docker/{id}"), format!("system.slice/docker-{id}.scope")];
    let all = HIERARCHIES.iter().flat_map(|name| places.iter().map(move |place| (name, place)));
    all.map(|(name, place)| root.join(name).join(place)).filter(|dir| dir.is_dir()).collect()
}

/// The engine's own count, without the pause that it makes for a rate.
async fn stats(api: &Api, id: &str) -> Result<Consumed> {
    let once = StatsOptions { stream: false, one_shot: true };
    match api.docker.stats(id, Some(once)).next().await {
        Some(Ok(stats)) => Ok(from_stats(stats)),
        Some(Err(e)) if !is_status(&e, 404) && !is_status(&e, 409) => Err(error(e)),
        _ => Ok(Consumed::default()),
    }
}

fn from_stats(stats: ContainerStatsResponse) -> Consumed {
    let nanos = stats.cpu_stats.and_then(|cpu| cpu.cpu_usage?.total_usage);
    let memory = stats.memory_stats.unwrap_or_default();
    Consumed {
        cpu_seconds: nanos.map(|nanos| nanos as f64 / 1e9),
        memory_bytes: memory.usage.map(|usage| usage.saturating_sub(idle(&memory))),
        memory_peak_bytes: memory.max_usage,
    }
}

/// Files that were not read lately, by version 1's name or version 2's.
fn idle(memory: &ContainerMemoryStats) -> u64 {
    let get = |key: &str| memory.stats.as_ref()?.get(key).copied();
    get("total_inactive_file").or_else(|| get("inactive_file")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_where_either_driver_puts_them() {
        let root = tempfile::tempdir().unwrap();
        let make = |path: &str| std::fs::create_dir_all(root.path().join(path)).unwrap();
        make("cpuacct/docker/one");
        make("memory/docker/one");
        make("system.slice/docker-two.scope");
        let found = |id: &str| cgroups(root.path(), id).len();
        assert_eq!((found("one"), found("two"), found("three")), (2, 1, 0));
    }

    #[test]
    fn the_engines_answer_is_read() {
        let text = r#"{"cpu_stats":{"cpu_usage":{"total_usage":250000000}},
            "memory_stats":{"usage":900,"stats":{"inactive_file":100}}}"#;
        let used = from_stats(serde_json::from_str(text).unwrap());
        assert_eq!((used.cpu_seconds, used.memory_bytes), (Some(0.25), Some(800)));
        assert_eq!(used.memory_peak_bytes, None);
        assert_eq!(from_stats(ContainerStatsResponse::default()), Consumed::default());
    }
}
