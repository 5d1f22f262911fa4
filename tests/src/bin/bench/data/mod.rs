//! The data plane against nginx as a plain proxy, on loopback, in one run.
//!
//! nginx is measured before and after each contender, and what counts is the ratio to the mean of
//! the two: whatever else the machine does disturbs both alike.

pub(crate) mod cpu;
mod figures;
mod fork;
mod guard;
mod idle;
mod nginx;
mod open;
mod report;
mod setting;
mod wrk;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use cpu::Used;
use fork::Forked;
use guard::Stop;
use idle::Fresh;
use open::percentile_us;
use setting::{CHAIN_REAL, CHAIN_TCP, Contender, GATEWAY_TCP, NGINX, Setting, WATCHDOG_TCP};
use wrk::Latency;

pub(crate) use fork::{LOOP, bare_loop};

/// Rounds unless told otherwise.
pub(crate) const ROUNDS: usize = 3;
/// Connections of the closed loop.
const CONNECTIONS: [usize; 2] = [32, 256];
/// Length of one measurement.
const SLICE: Duration = Duration::from_secs(2);
/// Who is measured with the open loop.
const OPEN: [&str; 4] = [NGINX, GATEWAY_TCP, CHAIN_TCP, CHAIN_REAL];
/// Share of the slowest one's closed-loop rate at which requests are due in the open loop.
const OPEN_SHARE: f64 = 0.4;

/// One measurement of one contender in the closed loop.
#[derive(Clone, Copy)]
struct Slice {
    per_second: f64,
    cpu_us: f64,
    latency_us: Latency,
}

/// A contender at one number of connections: each round's measurement, and nginx' around it.
struct Closed {
    name: &'static str,
    connections: usize,
    rounds: Vec<(Slice, Slice)>,
    /// Microseconds of a request in each of its processes, in the last round.
    parts: Vec<(String, f64)>,
}

/// A contender in the open loop: percentiles 50, 90, 99 and 99.9 in microseconds, a round an entry.
struct Open {
    name: &'static str,
    rounds: Vec<[f64; 4]>,
}

/// Everything that was measured.
struct Measured {
    closed: Vec<Closed>,
    open: Vec<Open>,
    /// Requests a second of the open loop.
    rate: f64,
    fork: Forked,
    fresh: Fresh,
    /// Name, and KiB for each idle connection.
    connections: Vec<(&'static str, f64)>,
}

/// Measures, prints the tables, and writes them as JSON.
pub(crate) fn run(machine: &str, rounds: usize, json: &Path) -> Result<()> {
    idle::many_files()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let stop = Stop::on_signals(&runtime)?;
    let setting = Setting::start(&runtime)?;
    let measured = measure(&setting, rounds, &stop)?;
    drop(setting);
    let report = report::Report::new(machine, rounds, &measured);
    report.print();
    if let Some(folder) = json.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(json, report.json()).with_context(|| json.display().to_string())?;
    println!("\nwritten to {}", json.display());
    Ok(())
}

fn measure(setting: &Setting, rounds: usize, stop: &Stop) -> Result<Measured> {
    // First of all, as long as nothing has served more than a request or two.
    let fresh = idle::fresh(setting)?;
    let mut connections = Vec::new();
    for name in [NGINX, CHAIN_REAL, GATEWAY_TCP, WATCHDOG_TCP] {
        stop.check()?;
        let contender = setting.of(name)?;
        // The connections to the gateway are no other hop's.
        let own = Contender { pids: contender.pids[..1].to_vec(), ..*contender };
        let own = if name == NGINX { contender } else { &own };
        connections.push((name, idle::each_connection(own)?));
    }
    let fork = fork::measure(setting.folder.path(), rounds, stop)?;
    let closed = closed(setting, rounds, stop)?;
    let slowest = closed.iter().filter(|c| OPEN.contains(&c.name)).map(Closed::per_second);
    let rate = (slowest.fold(f64::MAX, f64::min) * OPEN_SHARE).round();
    let open = open_loop(setting, (rounds, rate), stop)?;
    Ok(Measured { closed, open, rate, fork, fresh, connections })
}

fn closed(setting: &Setting, rounds: usize, stop: &Stop) -> Result<Vec<Closed>> {
    let yardstick = setting.of(NGINX)?;
    let mut all = Vec::new();
    for connections in CONNECTIONS {
        let mut of_these: Vec<_> = setting
            .contenders
            .iter()
            .filter(|contender| contender.name != NGINX)
            .map(|contender| (contender, Closed::new(contender.name, connections)))
            .collect();
        for _ in 0..rounds {
            let mut before = slice(setting, yardstick, connections)?;
            for (contender, measured) in &mut of_these {
                stop.check()?;
                let (own, parts) = parts(setting, contender, connections)?;
                let after = slice(setting, yardstick, connections)?;
                measured.rounds.push((own, before.mean(after)));
                measured.parts = parts;
                before = after;
            }
        }
        all.extend(of_these.into_iter().map(|(_, measured)| measured));
    }
    Ok(all)
}

fn slice(setting: &Setting, contender: &Contender, connections: usize) -> Result<Slice> {
    parts(setting, contender, connections).map(|(slice, _)| slice)
}

/// One measurement, and how much of it was in each process.
fn parts(
    setting: &Setting,
    contender: &Contender,
    connections: usize,
) -> Result<(Slice, Vec<(String, f64)>)> {
    let url = format!("http://127.0.0.1:{}{}", contender.port, contender.path);
    let before = Used::by(&contender.pids)?;
    let load = wrk::run(setting.folder.path(), &url, (connections, SLICE))?;
    let after = Used::by(&contender.pids)?;
    let each = |used: Duration| used.as_secs_f64() * 1e6 / load.requests.max(1.0);
    let parts = contender
        .pids
        .iter()
        .map(|pid| (cpu::program(*pid), each(after.by_one_since(*pid, &before))));
    let cpu_us = each(after.since(&before));
    let slice = Slice { per_second: load.per_second, cpu_us, latency_us: load.latency_us };
    Ok((slice, parts.collect()))
}

fn open_loop(setting: &Setting, (rounds, rate): (usize, f64), stop: &Stop) -> Result<Vec<Open>> {
    let mut all = OPEN.map(|name| Open { name, rounds: Vec::new() });
    for _ in 0..rounds {
        for open in &mut all {
            stop.check()?;
            let contender = setting.of(open.name)?;
            let times = open::run(contender.port, contender.path, (rate, SLICE))?;
            open.rounds.push([50.0, 90.0, 99.0, 99.9].map(|p| percentile_us(&times, p)));
        }
    }
    Ok(all.into())
}

impl Slice {
    fn mean(self, other: Self) -> Self {
        let mean = |a: f64, b: f64| f64::midpoint(a, b);
        let [a, b] = [self.latency_us, other.latency_us];
        Self {
            per_second: mean(self.per_second, other.per_second),
            cpu_us: mean(self.cpu_us, other.cpu_us),
            latency_us: std::array::from_fn(|at| mean(a[at], b[at])),
        }
    }
}

impl Closed {
    fn new(name: &'static str, connections: usize) -> Self {
        Self { name, connections, rounds: Vec::new(), parts: Vec::new() }
    }

    fn per_second(&self) -> f64 {
        self.median(|own| own.per_second)
    }

    /// The middle one of the rounds.
    fn median(&self, of: impl Fn(&Slice) -> f64) -> f64 {
        median(self.rounds.iter().map(|(own, _)| of(own)))
    }

    /// Its ratios to nginx, a round each.
    fn ratios(&self, of: impl Fn(&Slice) -> f64) -> Vec<f64> {
        self.rounds.iter().map(|(own, nginx)| of(own) / of(nginx)).collect()
    }
}

/// The middle one; of an even number, the mean of the two.
fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_one_counts() {
        assert_eq!(median([3.0, 1.0, 9.0]), 3.0);
        assert_eq!(median([4.0, 1.0]), 2.5);
        assert!(median([]).is_nan());
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let slice = |cpu_us| Slice { per_second: 1.0, cpu_us, latency_us: [1.0; 3] };
        let nginx = slice(10.0).mean(slice(30.0));
        let closed = Closed {
            name: "x",
            connections: 1,
            rounds: vec![(slice(30.0), nginx), (slice(10.0), slice(10.0))],
            parts: Vec::new(),
        };
        assert_eq!(closed.ratios(|slice| slice.cpu_us), [1.5, 1.0]);
        assert_eq!(closed.median(|slice| slice.cpu_us), 20.0);
    }
}
