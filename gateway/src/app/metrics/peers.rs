//! Which gateway leads, and how many others it hears.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, IntGaugeVec, Opts};
use tokio::time::Instant;

use crate::peers::Circle;

/// Their families. Those of other gateways are told by the one that leads.
pub(super) fn look(circle: &Circle) -> prometheus::Result<Vec<MetricFamily>> {
    let Circle { lead, tally, .. } = circle;
    let is_leader =
        IntGauge::new("flint_leader", "1 when this gateway scales functions by itself, else 0.")?;
    is_leader.set(lead.is_here().into());
    let mut families = is_leader.collect();
    if lead.is_shared() && lead.is_here() {
        let help = "Other gateways, by whether they tell what they have to do.";
        let peers = IntGaugeVec::new(Opts::new("flint_peers", help), &["state"])?;
        let seen = tally.peers(Instant::now());
        for (state, count) in [("heard", seen.heard), ("silent", seen.silent)] {
            peers.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        families.extend(peers.collect());
    }
    Ok(families)
}
