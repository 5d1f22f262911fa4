//! The figures that are wanted, and whether they are reached.

use super::fork::MODES;
use super::setting::{CHAIN_REAL, CHAIN_TCP, CHAIN_UNIX, GATEWAY_TCP, WATCHDOG_TCP, WATCHDOG_UNIX};
use super::{Measured, Slice, median};

/// One figure: what it may be, and what it is.
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) must: f64,
    pub(crate) goal: f64,
    /// Whether more is better.
    pub(crate) at_least: bool,
    /// Each case and its value.
    pub(crate) values: Vec<(String, f64)>,
}

impl Figure {
    /// Whether every case is within this bound.
    pub(crate) fn meets(&self, bound: f64) -> bool {
        let met = |value: f64| if self.at_least { value >= bound } else { value <= bound };
        !self.values.is_empty() && self.values.iter().all(|(_, value)| met(*value))
    }
}

/// All of them, as the project has set them.
pub(crate) fn all(measured: &Measured) -> Vec<Figure> {
    let mut all = Vec::new();
    for (what, name, must, goal) in [
        ("gateway hop over TCP, CPU", GATEWAY_TCP, 1.15, 1.0),
        ("watchdog hop, TCP upstream, CPU", WATCHDOG_TCP, 1.15, 1.0),
        ("watchdog hop, unix upstream, CPU", WATCHDOG_UNIX, 1.0, 0.8),
        ("gateway + watchdog over TCP, CPU", CHAIN_TCP, 2.3, 2.0),
        ("gateway + watchdog, unix socket between, CPU", CHAIN_UNIX, 1.9, 1.65),
    ] {
        all.push(ratio(measured, (what, name), (must, goal), |slice| slice.cpu_us));
    }
    for (what, name) in
        [("requests/s of the gateway hop", GATEWAY_TCP), ("of the watchdog hop", WATCHDOG_TCP)]
    {
        let figure = ratio(measured, (what, name), (0.95, 1.0), |slice| slice.per_second);
        all.push(Figure { at_least: true, ..figure });
    }
    for (what, name) in
        [("p90 latency of the chain over TCP", CHAIN_TCP), ("with a unix socket", CHAIN_UNIX)]
    {
        let mut figure = ratio(measured, (what, name), (2.5, 2.0), |slice| slice.latency_us[1]);
        figure.values.truncate(1);
        all.push(figure);
    }
    all.push(forks(measured));
    all.extend(memory(measured));
    all
}

fn ratio(
    measured: &Measured,
    (what, name): (&str, &str),
    (must, goal): (f64, f64),
    of: impl Fn(&Slice) -> f64,
) -> Figure {
    let cases = measured.closed.iter().filter(|closed| closed.name == name);
    let values = cases.map(|c| (format!("{} conns", c.connections), median(c.ratios(&of))));
    let (what, values) = (what.to_owned(), values.collect());
    Figure { what, unit: "x nginx", must, goal, at_least: false, values }
}

fn forks(measured: &Measured) -> Figure {
    let fork = &measured.fork;
    let ratio = |times: &[f64]| median(times.iter().zip(&fork.bare).map(|(own, bare)| own / bare));
    let values = MODES.iter().zip(&fork.modes).map(|(mode, t)| ((*mode).to_owned(), ratio(t)));
    let what = "fork modes, CPU of a call with its process".to_owned();
    let (must, goal, values) = (1.3, 1.1, values.collect());
    Figure { what, unit: "x posix_spawn", must, goal, at_least: false, values }
}

fn memory(measured: &Measured) -> Vec<Figure> {
    let fresh = &measured.fresh;
    let mib = |kib: u64| kib as f64 / 1024.0;
    let figure = |what: &str, unit, (must, goal), values| Figure {
        what: what.to_owned(),
        unit,
        must,
        goal,
        at_least: false,
        values,
    };
    let gateway = vec![("one function".to_owned(), mib(fresh.gateway))];
    let watchdog = vec![
        ("alone".to_owned(), mib(fresh.watchdog)),
        ("in a sandbox".to_owned(), mib(fresh.sandboxed)),
    ];
    let wanted = [CHAIN_REAL, GATEWAY_TCP, WATCHDOG_TCP];
    let connections = measured.connections.iter().filter(|(name, _)| wanted.contains(name));
    let named = |name: &str| match name {
        CHAIN_REAL => "gateway as deployed".to_owned(),
        name => name.to_owned(),
    };
    let connections = connections.map(|(name, kib)| (named(name), *kib)).collect();
    vec![
        figure("gateway, resident when idle", "MiB", (20.0, 12.0), gateway),
        figure("watchdog, resident when idle", "MiB", (5.0, 3.0), watchdog),
        figure("resident per open idle connection", "KiB", (40.0, 20.0), connections),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_must_meet_the_bound() {
        let values = vec![("a".to_owned(), 0.9), ("b".to_owned(), 1.1)];
        let mut figure = Figure {
            what: String::new(),
            unit: "",
            must: 1.15,
            goal: 1.0,
            at_least: false,
            values,
        };
        assert!(figure.meets(figure.must) && !figure.meets(figure.goal));
        figure.at_least = true;
        assert!(figure.meets(0.9) && !figure.meets(0.95));
        figure.values.clear();
        assert!(!figure.meets(0.0), "what was not measured is not met");
    }
}
