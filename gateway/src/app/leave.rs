//! How the gateway ends: told to, or because another one takes its place.

use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

use relay::threads::Threads;
use relay::{Target, Trigger};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::metrics::Readiness;
use super::signals::StopSignals;
use crate::backend::Backend;
use crate::handover::{Desk, Given, Leaving, Visitor, back_door};
use crate::peers::Circle;
use crate::state::StateDir;

/// How long requests of the API that change something are waited for before everything is handed
/// over.
const FINISH_WORK: Duration = Duration::from_secs(60);
/// How long this program may take to ask for its own place.
const AGAIN: Duration = Duration::from_secs(30);
/// How often it is started for that.
const MAX_AGAIN: u32 = 3;

/// Everything that is to be ended.
pub(super) struct Farewell {
    pub(super) backend: Backend,
    pub(super) state: StateDir,
    pub(super) trigger: Trigger,
    pub(super) threads: Threads,
    /// What must not go on when another gateway is in charge.
    pub(super) tasks: JoinSet<()>,
    pub(super) leaving: Leaving,
    pub(super) manner: Manner,
    /// The sockets that the next gateway is given.
    pub(super) doubles: Vec<Given>,
    /// The other gateways.
    pub(super) circle: Circle,
}

/// How gently it ends.
pub(super) struct Manner {
    /// What is told to whoever sends clients here.
    pub(super) readiness: Readiness,
    /// How long they may take to heed it.
    pub(super) delay: Duration,
    /// How long calls in flight may take.
    pub(super) drain: Duration,
}

impl Farewell {
    /// Waits until the gateway is to end, and ends it.
    pub(super) async fn wait(self, mut stop: StopSignals, desk: &Desk) {
        let visitor = tokio::select! {
            () = stop.wait() => None,
            visitor = desk.visitor(&self.doubles) => Some(visitor),
        };
        match visitor {
            None => self.stop(stop).await,
            Some(visitor) => self.hand_over(visitor, desk, stop).await,
        }
    }

    async fn stop(self, mut stop: StopSignals) {
        let Manner { readiness, delay, drain } = self.manner;
        readiness.withdraw();
        let is_announced = !delay.is_zero();
        if is_announced {
            let ms = delay.as_millis();
            tracing::info!(
                "told to stop: not ready any more, {ms} ms until no new calls are taken"
            );
            tokio::select! {
                () = tokio::time::sleep(delay) => (),
                () = stop.wait() => (),
            }
        }
        let Self { backend, trigger, threads, mut tasks, state, doubles, circle, .. } = self;
        // Before the calls have ended, which may take a while in which nobody else would lead.
        backend.resign().await;
        // Clients that connect from now on are to be refused at once.
        drop(doubles);
        let ms = drain.as_millis();
        tracing::info!("stopping: no new calls, {ms} ms for those in flight");
        // Clients that are still here did not hear of it, and may be about to use what they have.
        match is_announced {
            true => trigger.part(),
            false => trigger.drain(),
        }
        finish(threads, &mut stop).await;
        tasks.shutdown().await;
        circle.say_goodbye().await;
        backend.close().await;
        drop(state);
    }

    async fn hand_over(self, visitor: Visitor, desk: &Desk, mut stop: StopSignals) {
        let Self { backend, state, trigger, threads, mut tasks, leaving, .. } = self;
        let (doubles, successor) = (self.doubles, Target::unix(back_door(state.path())));
        tracing::info!(pid = visitor.pid(), "handing over to another gateway");
        leaving.begin(FINISH_WORK).await;
        // What is not accepted yet waits for the other one.
        trigger.leave();
        tasks.shutdown().await;
        backend.let_go();
        drop(state);
        let finished = finish(threads, &mut stop);
        let succeeded = async {
            match succeed(visitor, desk, &doubles).await {
                Ok(()) => leaving.replaced_at(successor),
                Err(error) => tracing::error!(%error, "no other gateway serves"),
            }
        };
        tokio::join!(finished, succeeded);
    }
}

/// Lets a new gateway serve. When it fails now, nobody serves: then this program is started again,
/// in the place of both.
async fn succeed(mut visitor: Visitor, desk: &Desk, doubles: &[Given]) -> io::Result<()> {
    for _ in 0..MAX_AGAIN {
        let Err(error) = visitor.succeed().await else { return Ok(()) };
        tracing::error!(pid = visitor.pid(), %error, "the new gateway failed: starting this one again");
        visitor.end(&error).await;
        start_again()?;
        visitor = timeout(AGAIN, desk.visitor(doubles)).await?;
    }
    visitor.succeed().await
}

/// Starts this very program with its own flags, to take its own place.
fn start_again() -> io::Result<()> {
    let mut command = Command::new("/proc/self/exe");
    command.args(std::env::args_os().skip(1)).env("FAAS_TAKEOVER", "true").stdin(Stdio::null());
    command.spawn().map(drop)
}

/// Waits for the calls in flight. A second signal cuts them.
async fn finish(threads: Threads, stop: &mut StopSignals) {
    let ended = tokio::task::spawn_blocking(|| threads.join());
    tokio::select! {
        _ = ended => tracing::info!("stopped"),
        () = stop.wait() => tracing::warn!("told to stop again: calls in flight are cut"),
    }
}
