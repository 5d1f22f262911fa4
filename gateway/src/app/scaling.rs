//! What the flags say about scaling.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use crate::config::Config;
use crate::scaling::{Bounds, Options, Queries, Timing};

/// Bounds of all functions together.
pub(super) fn bounds(config: &Config) -> Bounds {
    let usual = Bounds::default();
    Bounds {
        starts: config.max_concurrent_starts.map_or(usual.starts, NonZeroUsize::get),
        replicas: config.max_replicas.map(NonZeroU32::get),
    }
}

/// How functions are scaled by load. A gateway that took the place of another one takes nothing
/// away while the other one may still have calls in flight.
pub(super) fn options(config: &Config, has_predecessor: bool) -> Options {
    let scaling = &config.scaling;
    let url = scaling.prometheus_url.clone();
    Options {
        timing: Timing {
            stable: scaling.scaling_stable_window,
            panic: scaling.scaling_panic_window,
            ..Timing::default()
        },
        queries: url.map(|url| Queries { url, by_name: scaling.queries() }),
        usage: None,
        ignores_load: !scaling.scale_by_load,
        wakes: config.scale_from_zero,
        quiet: if has_predecessor { config.write_timeout } else { Duration::ZERO },
    }
}
