//! Measures what a developer waits for, on the process backend: cold start, edit to live, memory.
//!
//! `tests/bench` builds it and the programs and runs it. Every figure comes from this run; what is
//! compared is measured in turns, so that a noisy machine disturbs both sides alike.

mod cold;
mod edit;
mod memory;
mod project;
mod sample;

use anyhow::{Context, Result};

use project::Project;

/// Rounds of each measurement unless the first argument says otherwise.
const ROUNDS: usize = 50;

fn main() -> Result<()> {
    let rounds = match std::env::args().nth(1) {
        Some(text) => text.parse().context("the argument is a number of rounds")?,
        None => ROUNDS,
    };
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
