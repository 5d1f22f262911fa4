//! What the flags say about scaling.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::peers::Circle;
use crate::scaling::{Autoscaler, Bounds, Look, Options, Queries, Scaler, Timing, Used};
use crate::usage::Sampler;

/// Bounds of all functions together.
pub(super) fn bounds(config: &Config) -> Bounds {
    let usual = Bounds::default();
    Bounds {
        starts: config.max_concurrent_starts.map_or(usual.starts, NonZeroUsize::get),
        replicas: config.max_replicas.map(NonZeroU32::get),
    }
}

/// What scales functions. A gateway that took the place of another one, or its lead, takes nothing
/// away while others may have calls in flight of which it does not know.
pub(super) fn autoscaler(
    config: &Config,
    has_predecessor: bool,
    (scaler, sampler): (&Arc<Scaler>, &Arc<Sampler>),
    circle: &Circle,
) -> reqwest::Result<Autoscaler> {
    let scaling = &config.scaling;
    let url = scaling.prometheus_url.clone();
    let options = Options {
        timing: Timing {
            stable: scaling.scaling_stable_window,
            panic: scaling.scaling_panic_window,
            ..Timing::default()
        },
        queries: url.map(|url| Queries { url, by_name: scaling.queries() }),
        usage: Some(look(sampler.clone())),
        ignores_load: !scaling.scale_by_load,
        wakes: config.scale_from_zero,
        quiet: match has_predecessor || circle.lead.is_shared() {
            true => config.write_timeout,
            false => Duration::ZERO,
        },
        lead: circle.lead.clone(),
        tally: circle.tally.clone(),
    };
    Autoscaler::new(scaler.clone(), options)
}

/// What functions use, as the API and the metrics tell it too.
fn look(sampler: Arc<Sampler>) -> Look {
    Arc::new(move || {
        let sampler = sampler.clone();
        Box::pin(async move {
            let sample = sampler.sample().await.map_err(|error| error.to_string())?;
            let used = sample.iter().map(|(name, used)| {
                let (cpu_millicores, memory_bytes) = (used.cpu_millicores, used.memory_bytes);
                (name.clone(), Used { cpu_millicores, memory_bytes })
            });
            Ok(used.collect())
        })
    })
}
