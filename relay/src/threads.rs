//! One single-threaded runtime per core.

use std::future::Future;
use std::sync::Arc;
use std::{io, thread};

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

/// Threads that were started by [`start`].
#[derive(Debug)]
pub struct Threads(Vec<thread::JoinHandle<()>>);

/// How many threads make sense here: one per core that this process may use.
pub fn per_core() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Starts one thread for each of `seeds` and runs `work` with it there, in a runtime of its own.
/// What `work` builds stays in its thread and needs neither `Send` nor locks.
///
/// # Errors
/// When a thread or a runtime cannot be made. Threads that were started keep running.
pub fn start<S, F, W>(seeds: Vec<S>, work: W) -> io::Result<Threads>
where
    S: Send + 'static,
    F: Future<Output = ()> + 'static,
    W: Fn(S) -> F + Send + Sync + 'static,
{
    let work = Arc::new(work);
    let mut threads = Vec::with_capacity(seeds.len());
    for (index, seed) in seeds.into_iter().enumerate() {
        let work = Arc::clone(&work);
        let (report, started) = std::sync::mpsc::channel();
        let name = format!("data-{index}");
        threads.push(thread::Builder::new().name(name).spawn(move || {
            let runtime = local_runtime();
            let failed = runtime.as_ref().err().map(|e| io::Error::new(e.kind(), e.to_string()));
            let _ = report.send(failed);
            if let Ok(runtime) = runtime {
                runtime.block_on(work(seed));
            }
        })?);
        if let Ok(Some(error)) = started.recv() {
            return Err(error);
        }
    }
    Ok(Threads(threads))
}

/// A runtime for one thread, on which everything of this crate runs.
///
/// # Errors
/// When the kernel gives no event queue.
pub fn local_runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}

impl Threads {
    /// Waits until the work of every thread has ended. `false` when one of them panicked.
    pub fn join(self) -> bool {
        self.0.into_iter().map(thread::JoinHandle::join).fold(true, |ok, end| ok & end.is_ok())
    }
}
