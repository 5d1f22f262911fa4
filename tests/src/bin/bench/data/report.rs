//! The tables, for people and as JSON.

use std::path::Path;

use serde_json::{Value, json};
use system::binary;

use super::figures::{self, Figure};
use super::fork::MODES;
use super::idle::version;
use super::setting::NGINX;
use super::{Closed, Measured, SLICE, Slice, median};

/// What was measured, and where.
pub(crate) struct Report<'a> {
    machine: &'a str,
    versions: Vec<String>,
    rounds: usize,
    measured: &'a Measured,
    figures: Vec<Figure>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(machine: &'a str, rounds: usize, measured: &'a Measured) -> Self {
        let versions = [
            version(&binary("faas-gateway"), "--version"),
            version(Path::new("nginx"), "-v"),
            version(Path::new("wrk"), "-v"),
        ];
        let figures = figures::all(measured);
        Self { machine, versions: versions.into(), rounds, measured, figures }
    }

    pub(crate) fn print(&self) {
        println!("machine: {}", self.machine);
        println!("versions: {}", self.versions.join("; "));
        println!("rounds: {} of {} s\n", self.rounds, SLICE.as_secs());
        self.print_figures();
        self.print_closed();
        self.print_parts();
        self.print_open();
        self.print_rest();
    }

    fn print_figures(&self) {
        println!("| figure | measured | unit | must | goal | met |\n|---|---|---|---|---|---|");
        for figure in &self.figures {
            let values = figure.values.iter().map(|(case, value)| format!("{case} {value:.2}"));
            let values = values.collect::<Vec<_>>().join(", ");
            let sign = if figure.at_least { ">=" } else { "<=" };
            let Figure { what, unit, must, goal, .. } = figure;
            let met = met(figure);
            println!("| {what} | {values} | {unit} | {sign} {must} | {sign} {goal} | {met} |");
        }
    }

    fn print_closed(&self) {
        println!("\nClosed loop; x: ratio to nginx around it, median (least to greatest)\n");
        println!("| who | conns | req/s | x | CPU us/req | x | p50 us | p90 us | p99 us | p90 x |");
        println!("|---|---|---|---|---|---|---|---|---|---|");
        for closed in &self.measured.closed {
            let Closed { name, connections, .. } = closed;
            let [p50, p90, p99] = [0, 1, 2].map(|at| closed.median(|s| s.latency_us[at]));
            println!(
                "| {name} | {connections} | {:.0} | {} | {:.2} | {} | {p50:.0} | {p90:.0} | {p99:.0} | {} |",
                closed.per_second(),
                spread(&closed.ratios(|s| s.per_second)),
                closed.median(|s| s.cpu_us),
                spread(&closed.ratios(|s| s.cpu_us)),
                spread(&closed.ratios(|s| s.latency_us[1])),
            );
        }
        for (connections, slice) in self.yardsticks() {
            let [p50, p90, p99] = slice.latency_us;
            println!(
                "| {NGINX} | {connections} | {:.0} | 1 | {:.2} | 1 | {p50:.0} | {p90:.0} | {p99:.0} | 1 |",
                slice.per_second, slice.cpu_us,
            );
        }
    }

    fn print_parts(&self) {
        println!("\nWhere it was spent, CPU us/req of each process, last round\n");
        println!("| who | conns | processes |\n|---|---|---|");
        for Closed { name, connections, parts, .. } in &self.measured.closed {
            let parts = parts.iter().map(|(program, us)| format!("{program} {us:.1}"));
            println!("| {name} | {connections} | {} |", parts.collect::<Vec<_>>().join(", "));
        }
    }

    /// nginx itself, the medians over all that was measured around the others.
    fn yardsticks(&self) -> Vec<(usize, Slice)> {
        let of = |connections: usize| {
            let all = self.measured.closed.iter().filter(|c| c.connections == connections);
            let all: Vec<&Slice> = all.flat_map(|c| c.rounds.iter().map(|(_, n)| n)).collect();
            let median_of = |of: &dyn Fn(&Slice) -> f64| median(all.iter().map(|s| of(s)));
            Slice {
                per_second: median_of(&|s| s.per_second),
                cpu_us: median_of(&|s| s.cpu_us),
                latency_us: [0, 1, 2].map(|at| median_of(&|s| s.latency_us[at])),
            }
        };
        super::CONNECTIONS.map(|connections| (connections, of(connections))).into()
    }

    fn print_open(&self) {
        let rate = self.measured.rate;
        println!(
            "\nOpen loop, {rate:.0} requests/s, latency from when each was due, medians, us\n"
        );
        println!("| who | p50 | p90 | p99 | p99.9 |\n|---|---|---|---|---|");
        for open in &self.measured.open {
            let [p50, p90, p99, p999] =
                [0, 1, 2, 3].map(|at| median(open.rounds.iter().map(|round| round[at])));
            println!("| {} | {p50:.0} | {p90:.0} | {p99:.0} | {p999:.0} |", open.name);
        }
    }

    fn print_rest(&self) {
        let fork = &self.measured.fork;
        println!("\nA process a call, CPU us with the process's own\n");
        println!("| who | us/call |\n|---|---|");
        println!("| bare loop | {:.0} |", median(fork.bare.iter().copied()));
        for (mode, times) in MODES.iter().zip(&fork.modes) {
            println!("| {mode} | {:.0} |", median(times.iter().copied()));
        }
        let fresh = &self.measured.fresh;
        println!("\n| resident when idle | KiB |\n|---|---|");
        println!("| gateway with two functions | {} |", fresh.gateway);
        println!("| watchdog | {} |", fresh.watchdog);
        println!("| watchdog in a sandbox | {} |", fresh.sandboxed);
        println!("| what made its sandbox | {} |", fresh.confiner);
        println!("\n| resident per idle connection | KiB |\n|---|---|");
        for (name, kib) in &self.measured.connections {
            println!("| {name} | {kib:.1} |");
        }
    }

    pub(crate) fn json(&self) -> String {
        let measured = self.measured;
        let closed = measured.closed.iter().map(closed_json).collect::<Vec<_>>();
        let open = measured.open.iter().map(|o| json!({ "who": o.name, "rounds_us": o.rounds }));
        let modes = MODES.iter().zip(&measured.fork.modes);
        let modes: serde_json::Map<_, _> =
            modes.map(|(mode, times)| ((*mode).to_owned(), json!(times))).collect();
        let fresh = &measured.fresh;
        let report = json!({
            "machine": self.machine,
            "versions": self.versions,
            "rounds": self.rounds,
            "figures": self.figures.iter().map(figure_json).collect::<Vec<_>>(),
            "closed_loop": closed,
            "open_loop": { "rate": measured.rate, "percentiles": [50, 90, 99, 99.9],
                           "measured": open.collect::<Vec<_>>() },
            "fork_us": { "bare": measured.fork.bare, "modes": modes },
            "idle_kib": { "gateway": fresh.gateway, "watchdog": fresh.watchdog,
                          "sandboxed": fresh.sandboxed, "confiner": fresh.confiner },
            "connection_kib": measured.connections,
        });
        format!("{report:#}\n")
    }
}

fn closed_json(closed: &Closed) -> Value {
    let slice = |s: &Slice| json!({ "per_second": s.per_second, "cpu_us": s.cpu_us, "latency_us": s.latency_us });
    let rounds = closed.rounds.iter();
    let rounds = rounds.map(|(own, nginx)| json!({ "own": slice(own), "nginx": slice(nginx) }));
    json!({
        "who": closed.name,
        "connections": closed.connections,
        "cpu_ratio": median(closed.ratios(|s| s.cpu_us)),
        "cpu_us_by_process": closed.parts,
        "rounds": rounds.collect::<Vec<_>>(),
    })
}

fn figure_json(figure: &Figure) -> Value {
    let values: serde_json::Map<_, _> =
        figure.values.iter().map(|(case, value)| (case.clone(), json!(value))).collect();
    json!({
        "figure": figure.what, "unit": figure.unit, "measured": values, "must": figure.must,
        "goal": figure.goal, "at_least": figure.at_least, "met": met(figure),
    })
}

fn met(figure: &Figure) -> &'static str {
    match (figure.meets(figure.must), figure.meets(figure.goal)) {
        (_, true) => "goal",
        (true, false) => "must",
        (false, false) => "no",
    }
}

fn spread(ratios: &[f64]) -> String {
    let least = ratios.iter().copied().fold(f64::MAX, f64::min);
    let greatest = ratios.iter().copied().fold(f64::MIN, f64::max);
    format!("{:.2} ({least:.2} to {greatest:.2})", median(ratios.iter().copied()))
}
