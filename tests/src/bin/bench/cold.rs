//! From no process to the first byte of an answer, and a bare server of the same language as floor.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use system::raw;

use crate::project::{FUNCTIONS, Project, read_answer};
use crate::sample::{Sample, head};

/// Pause between two tries to connect to the bare server: small against what is measured.
const TRY: Duration = Duration::from_micros(200);
/// Longest wait for it.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(project: &Project, rounds: usize) -> Result<()> {
    let mut samples: Vec<(String, Sample)> = FUNCTIONS
        .iter()
        .map(|(name, template)| (format!("{name} ({template}), from zero"), Sample::default()))
        .collect();
    let (mut floor, mut warm) = (Sample::default(), Sample::default());
    for _ in 0..rounds {
        for ((name, _), (_, sample)) in FUNCTIONS.iter().zip(&mut samples) {
            project.to_zero(name)?;
            sample.add(project.first_byte(name)?);
        }
        floor.add(bare_node()?);
        warm.add(project.first_byte(FUNCTIONS[1].0)?);
    }
    head("Cold start: request sent to first byte, no process of the function running");
    for (name, sample) in &samples {
        println!("{}", sample.row(name));
    }
    println!("{}", floor.row("floor: bare `node -e` server, spawn to first answer"));
    println!("{}\n", warm.row("for comparison: node22 when it runs"));
    Ok(())
}

/// Starts a server of one line without any of ours around it.
pub(crate) fn bare_node() -> Result<Duration> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let script =
        format!("require('http').createServer((q, r) => r.end('x')).listen({port}, '127.0.0.1')");
    let start = Instant::now();
    let mut child = Command::new("node")
        .args(["-e", &script])
        .stdin(Stdio::null())
        .spawn()
        .context("the floor needs node")?;
    let answered = wait(port, start);
    let time = start.elapsed();
    child.kill()?;
    child.wait()?;
    answered.map(|()| time)
}

fn wait(port: u16, start: Instant) -> Result<()> {
    loop {
        if let Ok(mut stream) = raw::connect(port) {
            return read_answer(&mut stream, "/");
        }
        ensure!(start.elapsed() < PATIENCE, "the bare server does not listen");
        std::thread::sleep(TRY);
    }
}
