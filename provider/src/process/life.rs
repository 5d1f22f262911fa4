//! The runs of a replica: how one begins and ends, and the task that begins the next.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::Signal;
use tokio::time::{Instant, sleep, timeout};

use super::record::Wanted;
use super::replica::{Current, Replica};
use super::run::{Run, report_of};
use super::{blocking, refused};
use crate::confine::{Exit, Report};
use crate::replicas::engine::What;
use crate::replicas::seen::Phase;
use crate::words::describe_exit;
use crate::{Error, Result, annotation};

/// Pause before a replica that ended is started again; it doubles each time, up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause. Who ran for so long begins anew with [`FIRST_PAUSE`].
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// Longest that the kernel may take to end what was killed.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// How long to wait before the next start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Backoff {
    /// The pause after a run that took so long.
    fn after(&mut self, ran: Duration) -> Duration {
        if ran >= LAST_PAUSE {
            *self = Self::default();
        }
        let pause = self.0;
        self.0 = (pause * 2).min(LAST_PAUSE);
        pause
    }
}

impl Replica {
    /// Begins a run; returns when its watchdog does. An error says why it did not.
    pub(super) async fn launch(self: &Arc<Self>) -> Result<Arc<Run>> {
        let record = {
            let state = self.state();
            if state.gone || self.shared.is_closed() {
                return Err(refused(format!("{} is not started any more", self.id)));
            }
            state.record.clone()
        };
        if let Some(stray) = self.find().await? {
            // A gateway before us began it, and was killed before it could tell.
            self.end_run(&stray.run, &stray.report, Duration::ZERO).await?;
        }
        let sandboxed = record.deploy.function.needs_sandbox()?;
        let (shared, layout) = (self.shared.clone(), self.layout.clone());
        blocking(move || shared.prepare(&layout, &record)).await?;
        let watchdog = &self.shared.watchdog;
        let run = Run::spawn(watchdog, &self.layout)
            .map_err(|e| refused(format!("cannot start {}: {e}", watchdog.display())))?;
        let run = Arc::new(run);
        {
            let mut state = self.state();
            let record = &mut state.record;
            record.wanted = Wanted::Running;
            (record.runs, record.started_at) = (record.runs + 1, Some(Timestamp::now()));
            let (run, begun) = (run.clone(), Instant::now());
            state.current = Some(Current { run, report: Report::default(), begun });
        }
        // Written while the sandbox is being made, and while the function gets ready, for which
        // calls may wait: a gateway that is killed in between finds what runs and is not wanted.
        let set_up = async {
            let report = run.set_up(&self.shared.folders, sandboxed).await?;
            self.came_up(report);
            Ok::<_, String>(())
        };
        let (up, saved) = tokio::join!(set_up, self.save());
        let failure = match (up, saved) {
            (Ok(()), Ok(())) => return Ok(run),
            (Err(text), _) if sandboxed => Error::invalid(annotation::SANDBOX, text),
            (Err(text), _) => refused(text),
            (_, Err(error)) => error,
        };
        self.end_run(&run, &report_of(&self.layout), Duration::ZERO).await?;
        self.state().current = None;
        Err(failure)
    }

    fn came_up(&self, report: Report) {
        self.shared.tell_gaps(&self.id, &report);
        let mut state = self.state();
        state.gaps.clone_from(&report.gaps);
        if let Some(current) = &mut state.current {
            current.report = report;
        }
        self.phase.send_replace(Phase::Running);
        drop(state);
        self.tell(What::Changed);
    }

    /// Gives it somebody to look after it.
    pub(super) fn keep(self: &Arc<Self>, run: Option<Arc<Run>>) {
        let keeper = self.shared.spawn(self.clone().outlive(run));
        self.state().keeper = Some(keeper);
    }

    pub(super) fn dismiss_keeper(&self) {
        if let Some(keeper) = self.state().keeper.take() {
            keeper.abort();
        }
    }

    /// Starts it again whenever it ended, later each time. Without a run it is started at once.
    async fn outlive(self: Arc<Self>, mut run: Option<Arc<Run>>) {
        loop {
            if let Some(run) = &run {
                run.ended().await;
                self.clear_up(run).await;
                let Some(pause) = self.ended() else { return };
                sleep(pause).await;
            }
            let turn = self.turn.clone().lock_owned().await;
            run = match self.launch().await {
                Ok(run) => Some(run),
                Err(error) => {
                    let pause = self.failed(&error);
                    drop(turn);
                    sleep(pause).await;
                    continue;
                }
            };
            drop(turn);
            self.tell(What::Changed);
        }
    }

    async fn clear_up(&self, run: &Run) {
        let report = self.current().map(|current| current.report).unwrap_or_default();
        if let Err(error) = run.clear_up(&report).await {
            tracing::warn!(replica = self.id, %error, "something of a run that ended is left");
        }
    }

    /// Takes in that the run ended by itself; tells how long to wait before the next.
    fn ended(&self) -> Option<Duration> {
        let mut state = self.state();
        let current = state.current.take()?;
        let exit = current.run.exit(true);
        let pause = state.backoff.after(current.begun.elapsed());
        state.last_exit = words(&exit);
        state.record.restarts += 1;
        self.phase.send_replace(Phase::Restarting);
        drop(state);
        if exit.out_of_memory {
            self.tell(What::RanOutOfMemory);
        }
        self.tell(What::Exited(code(&exit)));
        Some(pause)
    }

    /// Takes in that it could not be started again; tells how long to wait before the next try.
    fn failed(&self, error: &Error) -> Duration {
        let mut state = self.state();
        let pause = state.backoff.after(Duration::ZERO);
        state.last_exit = error.to_string();
        state.record.restarts += 1;
        self.phase.send_replace(Phase::Restarting);
        drop(state);
        self.tell(What::Changed);
        pause
    }

    /// Ends the run, if there is one, and the task that would begin the next. The turn is held.
    pub(super) async fn end(&self, grace: Duration) -> Result<()> {
        self.dismiss_keeper();
        let current = match self.current() {
            Some(current) => Some(current),
            None => self.find().await?,
        };
        if let Some(current) = current {
            self.end_run(&current.run, &current.report, grace).await?;
            let mut state = self.state();
            state.current = None;
            state.last_exit = words(&current.run.exit(true));
        }
        if self.phase() != Phase::Created {
            self.phase.send_replace(Phase::Exited);
        }
        Ok(())
    }

    pub(super) async fn end_run(&self, run: &Run, report: &Report, grace: Duration) -> Result<()> {
        let failed = |e: std::io::Error| refused(format!("cannot end {}: {e}", self.id));
        if !grace.is_zero() {
            // What is frozen hears nothing.
            if let Err(error) = run.thaw(report) {
                tracing::debug!(replica = self.id, %error, "cannot thaw a replica to end it");
            }
            run.signal(Signal::TERM);
        }
        if timeout(grace, run.ended()).await.is_err() {
            run.kill(report);
            let ended = timeout(KILL_LIMIT, run.ended()).await;
            ended.map_err(|_| refused(format!("{} goes on though it was killed", self.id)))?;
        }
        run.clear_up(report).await.map_err(failed)
    }
}

/// The exit code; above 128 it is a signal's number.
fn code(exit: &Exit) -> i64 {
    let signal = || exit.signal.map(|signal| 128 + signal);
    let failed = || if exit.error.is_empty() { 0 } else { 1 };
    exit.code.or_else(signal).unwrap_or_else(failed).into()
}

/// How a run ended, in words.
pub(super) fn words(exit: &Exit) -> String {
    match exit.error.as_str() {
        "" => describe_exit(code(exit), exit.out_of_memory),
        error => error.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_begin_anew_after_a_long_run() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..12).map(|_| backoff.after(Duration::ZERO).as_millis()).collect();
        assert_eq!(pauses[..4], [100, 200, 400, 800]);
        assert_eq!(pauses[9..], [51_200, 60_000, 60_000]);
        assert_eq!(backoff.after(LAST_PAUSE), FIRST_PAUSE);
        assert_eq!(backoff.after(Duration::ZERO), FIRST_PAUSE * 2);
    }

    #[test]
    fn ends_have_codes_and_words() {
        let at = Timestamp::UNIX_EPOCH;
        let good =
            Exit { code: Some(3), signal: None, out_of_memory: false, error: String::new(), at };
        assert_eq!((code(&good), words(&good).as_str()), (3, "exit code 3"));
        let killed = Exit { code: None, signal: Some(9), ..good.clone() };
        assert_eq!((code(&killed), words(&killed).as_str()), (137, "killed by signal 9"));
        let hog = Exit { out_of_memory: true, ..killed };
        assert_eq!(words(&hog), "out of memory");
        let failed = Exit { code: None, error: "cannot run".to_owned(), ..good };
        assert_eq!((code(&failed), words(&failed).as_str()), (1, "cannot run"));
    }
}
