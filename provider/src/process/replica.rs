//! One replica: what is wanted of it, what it does, and the task that starts it again.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Turn, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::life::{Backoff, words};
use super::logs::{Log, is_up};
use super::record::{Record, Wanted};
use super::run::{Run, exit_of, report_of};
use super::shared::Shared;
use super::{blocking, reclaim, refused};
use crate::Result;
use crate::confine::{Gap, Layout, Report};
use crate::replicas::engine::What;
use crate::replicas::seen::{Phase, Seen};

/// How long one may take to end that runs though it should not when a gateway starts.
const STRAY_GRACE: Duration = Duration::from_secs(10);

/// One replica of this gateway.
pub(super) struct Replica {
    pub(super) id: String,
    pub(super) layout: Layout,
    pub(super) shared: Arc<Shared>,
    /// One operation at a time; held while a run begins or is ended.
    pub(super) turn: Arc<Turn<()>>,
    /// One wish for its end at a time: until one is written, another must not take it for written.
    wish: Turn<()>,
    state: Mutex<State>,
    pub(super) phase: watch::Sender<Phase>,
    /// One writer, which writes what is true when it does.
    writer: Mutex<()>,
}

pub(super) struct State {
    pub(super) record: Record,
    pub(super) current: Option<Current>,
    /// What of its sandbox the last run had to do without.
    pub(super) gaps: Vec<Gap>,
    /// How it ended, or why it did not begin.
    pub(super) last_exit: String,
    /// Whether it was removed.
    pub(super) gone: bool,
    pub(super) backoff: Backoff,
    /// The task that looks after it.
    pub(super) keeper: Option<AbortHandle>,
}

/// A run that may still go on.
#[derive(Clone)]
pub(super) struct Current {
    pub(super) run: Arc<Run>,
    pub(super) report: Report,
    pub(super) begun: Instant,
}

impl Replica {
    /// A replica with this record; nothing is done about it yet.
    pub(super) fn new(shared: Arc<Shared>, layout: Layout, record: Record) -> Arc<Self> {
        let id = layout.dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let phase = match record.wanted {
            Wanted::Nothing => Phase::Created,
            Wanted::Running => Phase::Restarting,
            Wanted::Stopped => Phase::Exited,
        };
        let state = State {
            current: None,
            gaps: report_of(&layout).gaps,
            last_exit: exit_of(&layout).map(|exit| words(&exit)).unwrap_or_default(),
            gone: false,
            backoff: Backoff::default(),
            keeper: None,
            record,
        };
        Arc::new(Self {
            id,
            layout,
            shared,
            turn: Arc::default(),
            wish: Turn::default(),
            state: Mutex::new(state),
            phase: watch::Sender::new(phase),
            writer: Mutex::default(),
        })
    }

    /// Finds out what runs of it, and sees to what is wanted. `grounded` tells whether the folder
    /// that it runs in is there.
    pub(super) async fn adopt(self: &Arc<Self>, grounded: bool) -> Result<()> {
        let wanted = self.state().record.wanted;
        let Some(current) = self.find().await? else {
            if wanted == Wanted::Running {
                self.keep(None);
            }
            return Ok(());
        };
        if wanted == Wanted::Running && !grounded {
            tracing::warn!(replica = self.id, "its unpacked bundle is gone, so it is started anew");
            self.end_run(&current.run, &current.report, Duration::ZERO).await?;
            self.keep(None);
            return Ok(());
        }
        self.shared.tell_gaps(&self.id, &current.report);
        {
            let mut state = self.state();
            state.gaps.clone_from(&current.report.gaps);
            state.current = Some(current.clone());
        }
        if wanted != Wanted::Running {
            self.end_stray().await;
            return Ok(());
        }
        // The kernel knows best: the gateway before this one may have been killed at any point.
        let frozen = current.run.is_frozen(&current.report);
        self.phase.send_replace(if frozen { Phase::Paused } else { Phase::Running });
        self.keep(Some(current.run));
        Ok(())
    }

    /// What runs in its folder; where the sandbox is still being made, it is waited for.
    pub(super) async fn find(&self) -> Result<Option<Current>> {
        let found = Run::adopt(&self.layout).await;
        let Some(run) = found.map_err(|e| refused(e.to_string()))? else { return Ok(None) };
        let report = match run.set_up(&self.shared.folders, false).await {
            Ok(report) => report,
            // It is about to end, or did.
            Err(_) => report_of(&self.layout),
        };
        Ok(Some(Current { run: Arc::new(run), report, begun: Instant::now() }))
    }

    /// Ends, in its own time, what runs though it should not. Nobody can start it meanwhile.
    async fn end_stray(self: &Arc<Self>) {
        let turn = self.turn.clone().lock_owned().await;
        let replica = self.clone();
        self.shared.spawn(async move {
            let _turn = turn;
            if let Err(error) = replica.end(STRAY_GRACE).await {
                tracing::warn!(replica = replica.id, %error, "cannot end what should not run");
            }
        });
    }

    /// See [`crate::replicas::engine::Engine::start`].
    pub(super) async fn start(self: &Arc<Self>) -> Result<()> {
        let _turn = self.turn.lock().await;
        if is_up(self.phase()) {
            return Ok(());
        }
        self.dismiss_keeper();
        let before = {
            let mut state = self.state();
            state.backoff = Backoff::default();
            state.record.restarts = 0;
            state.record.wanted
        };
        let begun = self.launch().await;
        match &begun {
            Ok(run) => self.keep(Some(run.clone())),
            Err(error) => {
                let never = before == Wanted::Nothing;
                {
                    let mut state = self.state();
                    state.record.wanted = if never { before } else { Wanted::Stopped };
                    state.last_exit = error.to_string();
                }
                self.save().await?;
                self.phase.send_replace(if never { Phase::Created } else { Phase::Exited });
            }
        }
        self.tell(What::Changed);
        begun.map(|_| ())
    }

    /// See [`crate::replicas::engine::Engine::note`].
    pub(super) async fn note(self: &Arc<Self>, to_stop: bool) -> Result<()> {
        let wanted = if to_stop { Wanted::Stopped } else { Wanted::Running };
        let _wish = self.wish.lock().await;
        let before = {
            let record = &mut self.state().record;
            let before = record.wanted;
            if before == Wanted::Nothing || before == wanted {
                return Ok(());
            }
            record.wanted = wanted;
            before
        };
        self.save().await.inspect_err(|_| self.state().record.wanted = before)
    }

    /// See [`crate::replicas::engine::Engine::stop`].
    pub(super) async fn stop(self: &Arc<Self>, grace: Duration) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.wish_to_stop().await?;
        self.end(grace).await?;
        self.tell(What::Changed);
        Ok(())
    }

    /// Writes down that it is to stop. That of a removed function need not be written.
    async fn wish_to_stop(self: &Arc<Self>) -> Result<()> {
        let _wish = self.wish.lock().await;
        let (before, removed) = {
            let record = &mut self.state().record;
            let before = record.wanted;
            if before == Wanted::Running {
                record.wanted = Wanted::Stopped;
            }
            (before, record.removed)
        };
        if before == Wanted::Running
            && let Err(error) = self.save().await
            && !removed
        {
            // Else the next try would take for written what is not.
            self.state().record.wanted = before;
            return Err(error);
        }
        Ok(())
    }

    /// Ends it as [`Replica::stop`] does, but so that the next gateway starts it again.
    pub(super) async fn rest(self: &Arc<Self>) -> Result<()> {
        let _turn = self.turn.lock().await;
        let grace = self.state().record.grace;
        self.end(grace).await?;
        // It ended as it was told to: that is nothing to tell of.
        let _none = std::fs::remove_file(self.layout.exit());
        Ok(())
    }

    /// Kills it and forgets that it was there.
    pub(super) async fn remove(self: &Arc<Self>) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.state().gone = true;
        self.end(Duration::ZERO).await?;
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        Record::remove(&self.layout.dir)
    }

    /// See [`crate::replicas::engine::Engine::mark_removed`].
    pub(super) async fn mark_removed(self: &Arc<Self>) -> Result<()> {
        self.state().record.removed = true;
        if let Err(error) = self.save().await {
            // As when the disk is full, for which a function may be removed: without a record the
            // replica is nobody's, which the next gateway ends as well.
            tracing::warn!(replica = self.id, %error, "its record is removed at once");
            let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            Record::remove(&self.layout.dir)
                .inspect_err(|_| self.state().record.removed = false)?;
        }
        self.tell(What::Changed);
        Ok(())
    }

    /// See [`crate::replicas::engine::Engine::pause`].
    pub(super) async fn pause(self: &Arc<Self>) -> Result<()> {
        let _turn = self.turn.lock().await;
        let Some(current) = self.current().filter(|_| is_up(self.phase())) else {
            return Err(refused(format!("{} does not run", self.id)));
        };
        if let Err(error) = current.run.freeze(&current.report).await {
            return Err(refused(format!("cannot freeze {}: {error}", self.id)));
        }
        self.move_to(&current, Phase::Paused);
        self.give_back_memory(current.report.cgroups);
        Ok(())
    }

    /// What is frozen may be asleep for long: its memory goes to where it is better used, as far
    /// as the kernel can do that, and as long as nobody wants it back.
    fn give_back_memory(self: &Arc<Self>, cgroups: Vec<PathBuf>) {
        let replica = self.clone();
        tokio::task::spawn_blocking(move || {
            reclaim::give_back(&cgroups, || replica.phase() == Phase::Paused);
        });
    }

    /// See [`crate::replicas::engine::Engine::unpause`]. Calls wait for this: nothing is written.
    pub(super) async fn unpause(self: &Arc<Self>) -> Result<()> {
        let _turn = self.turn.lock().await;
        let Some(current) = self.current().filter(|_| self.phase() == Phase::Paused) else {
            return Ok(());
        };
        let thawed = current.run.thaw(&current.report);
        thawed.map_err(|e| refused(format!("cannot thaw {}: {e}", self.id)))?;
        self.move_to(&current, Phase::Running);
        Ok(())
    }

    /// What is seen of it.
    pub(super) fn seen(&self) -> Seen {
        let state = self.state();
        let record = &state.record;
        let phase = self.phase();
        let silent = is_up(phase) || phase == Phase::Created;
        Seen {
            id: self.id.clone(),
            replica: self.id.clone(),
            deploy: record.deploy.clone(),
            image: record.image.clone(),
            phase,
            started_at: record
                .started_at
                .map(|at| format!("{at} {}", record.runs))
                .unwrap_or_default(),
            ip: None,
            restarts: record.restarts,
            last_exit: if silent { String::new() } else { state.last_exit.clone() },
            removed: record.removed,
            warnings: state.gaps.iter().map(warning).collect(),
        }
    }

    /// Its log.
    pub(super) fn log(&self) -> Log {
        let (layout, folders) = (self.layout.clone(), self.shared.folders.clone());
        Log { layout, folders, phase: self.phase.subscribe() }
    }

    /// The user that it runs as; `None` is the gateway's own.
    pub(super) fn user(&self) -> Option<u32> {
        self.state().record.user
    }

    /// Its record, as it is now, written for good.
    pub(super) async fn save(self: &Arc<Self>) -> Result<()> {
        let replica = self.clone();
        blocking(move || {
            let _writer = replica.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let (record, gone) = {
                let state = replica.state();
                (state.record.clone(), state.gone)
            };
            if gone { Ok(()) } else { record.save(&replica.layout.dir) }
        })
        .await
    }

    /// The phase changes, unless the run is over meanwhile.
    fn move_to(&self, current: &Current, phase: Phase) {
        let state = self.state();
        if state.current.as_ref().is_some_and(|now| Arc::ptr_eq(&now.run, &current.run)) {
            self.phase.send_replace(phase);
        }
        drop(state);
        self.tell(What::Changed);
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(super) fn current(&self) -> Option<Current> {
        self.state().current.clone()
    }

    pub(super) fn tell(&self, what: What) {
        let name = self.state().record.deploy.name.clone();
        self.shared.tell(name, &self.id, what);
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A gap, for a function's status.
fn warning(gap: &Gap) -> String {
    format!("sandbox: {}: {}", gap.measure, gap.reason)
}
