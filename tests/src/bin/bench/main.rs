//! Measures the data plane against nginx, what a developer waits for on the process backend, how
//! functions scale, and functions on a Kubernetes cluster.
//!
//! `tests/bench` builds it and the programs and runs it. Every figure comes from this run; what is
//! compared is measured in turns, so that a noisy machine disturbs both sides alike.

mod cold;
mod data;
mod edit;
mod kubernetes;
mod memory;
mod project;
mod sample;
mod scale;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use project::Project;

/// Rounds of each local measurement unless told otherwise.
const LOCAL_ROUNDS: usize = 50;

/// Measures Flint on this machine, all on loopback.
#[derive(Parser)]
#[command(name = "tests/bench")]
struct Options {
    /// What to measure [default: all]
    part: Option<Part>,
    /// Rounds of each measurement [default: 3 of data, 50 of local, 30 of scale, 20 of
    /// kubernetes]
    #[arg(long)]
    rounds: Option<usize>,
    /// Where to write the figures of the data plane [default: bench.json beside the programs]
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The data plane: gateway and watchdog against nginx
    Data,
    /// What a developer waits for: cold start, idle memory, edit to live
    Local,
    /// How fast functions wake and grow, and what sleeping ones cost
    Scale,
    /// From zero, calls, and many functions on the cluster of KUBECONFIG
    Kubernetes,
}

fn main() -> Result<()> {
    if std::env::args().nth(1).is_some_and(|first| first == data::LOOP) {
        return data::bare_loop();
    }
    let options = Options::parse();
    let wanted = |part| options.part.is_none_or(|only| only == part);
    if wanted(Part::Local) {
        local(options.rounds.unwrap_or(LOCAL_ROUNDS))?;
    }
    if wanted(Part::Scale) {
        println!("machine: {}", machine());
        scale::run(options.rounds.unwrap_or(scale::ROUNDS))?;
    }
    if wanted(Part::Kubernetes) {
        println!("machine: {}", machine());
        kubernetes::run(options.rounds.unwrap_or(kubernetes::ROUNDS))?;
    }
    if wanted(Part::Data) {
        let json = options.json.unwrap_or_else(|| system::binary("bench.json"));
        data::run(&machine(), options.rounds.unwrap_or(data::ROUNDS), &json)?;
    }
    Ok(())
}

fn local(rounds: usize) -> Result<()> {
    let project = Project::start()?;
    println!("machine: {}", machine());
    println!("rounds: {rounds}\n");
    cold::run(&project, rounds)?;
    memory::run(&project)?;
    edit::run(&project, rounds)
}

/// Processor and kernel, for whoever reads the figures later.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let model = model.trim_start_matches(['\t', ':', ' ']);
    format!("{cores} cores of {model}, Linux {}", kernel.trim())
}
