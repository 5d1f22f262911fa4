//! Modes with a process a call, against a bare loop that starts the same program.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use system::{raw, run};

use super::cpu;
use super::guard::{Running, Stop, free_port, until_answers};
use super::setting::watchdog;

/// The program of each call. It copies its input to its output.
const PROGRAM: &str = "cat";
/// What each call gives it.
const INPUT: [u8; 1024] = [b'x'; 1024];
/// Calls of one round.
const CALLS: u32 = 400;
/// The modes.
pub(crate) const MODES: [&str; 3] = ["streaming", "serializing", "classic"];
/// The hidden argument with which the bench is its own bare loop.
pub(crate) const LOOP: &str = "raw-loop";

/// Processor time of a call in microseconds, a round an entry: of the bare loop, and of each mode.
pub(crate) struct Forked {
    pub(crate) bare: Vec<f64>,
    pub(crate) modes: [Vec<f64>; 3],
}

/// Measures all in turns. Children's time is in all of them.
pub(crate) fn measure(folder: &Path, rounds: usize, stop: &Stop) -> Result<Forked> {
    let mut watchdogs = Vec::new();
    for mode in MODES {
        let port = free_port()?;
        let text = port.to_string();
        let environment = [("mode", mode), ("fprocess", PROGRAM), ("port", text.as_str())];
        watchdogs.push((watchdog(folder, &environment)?, port));
        until_answers(port, "/")?;
    }
    let mut forked = Forked { bare: Vec::new(), modes: Default::default() };
    for _ in 0..rounds {
        forked.bare.push(bare()?);
        for ((watchdog, port), times) in watchdogs.iter().zip(&mut forked.modes) {
            stop.check()?;
            times.push(calls(watchdog, *port)?);
        }
    }
    Ok(forked)
}

/// Calls one after another; gives the time of one.
fn calls(watchdog: &Running, port: u16) -> Result<f64> {
    let mut stream = raw::connect(port)?;
    stream.set_nodelay(true)?;
    let before = cpu::with_children(watchdog.pid())?;
    for _ in 0..CALLS {
        call(&mut stream)?;
    }
    Ok(each(cpu::with_children(watchdog.pid())?.saturating_sub(before)))
}

fn call(stream: &mut TcpStream) -> Result<()> {
    let head = format!("POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: {}\r\n\r\n", INPUT.len());
    stream.write_all(&[head.as_bytes(), &INPUT].concat())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    // The answer is chunked or not, but the input stands in it as it was, and something after.
    let end = |answer: &[u8]| answer.ends_with(b"0\r\n\r\n") || answer.ends_with(&INPUT);
    while !end(&answer) {
        let read = stream.read(&mut buffer)?;
        ensure!(read > 0, "an answer broke off: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
    }
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// The bare loop in a process of its own, whose time nobody else's is mixed with.
fn bare() -> Result<f64> {
    let text = run(Command::new(std::env::current_exe()?).arg(LOOP))?;
    text.trim().parse().context("the bare loop said no number")
}

/// Starts the program with the same pipes, feeds it, and reads what it says: without anything else
/// that is asynchronous or served. Prints the time of one call.
pub(crate) fn bare_loop() -> Result<()> {
    let own = std::process::id();
    let before = cpu::with_children(own)?;
    for _ in 0..CALLS {
        let mut child = Command::new(PROGRAM)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().context("no stdin")?.write_all(&INPUT)?;
        let mut output = Vec::with_capacity(INPUT.len());
        child.stdout.take().context("no stdout")?.read_to_end(&mut output)?;
        child.stderr.take().context("no stderr")?.read_to_end(&mut Vec::new())?;
        ensure!(child.wait()?.success() && output == INPUT, "{PROGRAM} failed");
    }
    println!("{}", each(cpu::with_children(own)?.saturating_sub(before)));
    Ok(())
}

fn each(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6 / f64::from(CALLS)
}
