//! Programs that end with the bench, and the wish of whoever runs it to end it.

use std::io::Read;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use system::raw;
use tokio::signal::unix::{SignalKind, signal};

/// Longest wait for a program to listen, or to end after it was asked to.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// A program that is ended when this is dropped.
pub(crate) struct Running(Child);

impl Running {
    /// Starts it. What it writes to stderr is read and thrown away, as an engine would read it.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        if let Some(mut stderr) = child.stderr.take() {
            std::thread::spawn(move || {
                let mut buffer = vec![0; 1 << 16];
                while stderr.read(&mut buffer).is_ok_and(|read| read > 0) {}
            });
        }
        Ok(Self(child))
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Waits until a path is answered well.
pub(crate) fn until_answers(port: u16, path: &str) -> Result<()> {
    let start = Instant::now();
    loop {
        let answered = raw::connect(port)
            .and_then(|mut stream| crate::project::read_answer(&mut stream, path));
        match answered {
            Ok(()) => return Ok(()),
            Err(error) => ensure!(
                start.elapsed() < PATIENCE,
                "nothing answers at 127.0.0.1:{port}{path}: {error:#}"
            ),
        }
        std::thread::sleep(LOOK);
    }
}

/// Whether the bench was told to end.
#[derive(Clone)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Takes the signals, so that all programs are ended in order before the bench ends.
    pub(crate) fn on_signals(runtime: &tokio::runtime::Runtime) -> Result<Self> {
        let stop = Self(Arc::default());
        let _context = runtime.enter();
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let (mut given, told) = (signal(kind)?, stop.clone());
            runtime.spawn(async move {
                given.recv().await;
                told.0.store(true, Ordering::Relaxed);
            });
        }
        Ok(stop)
    }

    /// Fails when it was.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }
}
