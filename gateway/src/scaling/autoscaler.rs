//! The one loop that scales functions: a look at each of them every second, and glances between.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use provider::Target;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::journal::Decision;
use super::load::{Loads, Look};
use super::prometheus::{Prometheus, Queries};
use super::scaler::Scaler;
use super::watched::{Moment, Step, Watched};
use super::window::Timing;
use crate::directory::{Directory, Entry};
use crate::handover::Leaving;
use crate::peers::{Lead, Tally};

/// How the autoscaler works.
#[derive(Clone, Default)]
pub struct Options {
    /// How long its windows are.
    pub timing: Timing,
    /// Where it learns loads that this gateway does not count.
    pub queries: Option<Queries>,
    /// Where it learns what functions use of the machine.
    pub usage: Option<Look>,
    /// Whether load changes nothing.
    pub ignores_load: bool,
    /// Whether anything wakes functions that were put to sleep.
    pub wakes: bool,
    /// How long, from the begin or from the time that this gateway leads, another one may have
    /// calls in flight that are not seen here.
    pub quiet: Duration,
    /// Which gateway scales.
    pub lead: Lead,
    /// What the others have to do.
    pub tally: Arc<Tally>,
}

/// Scales functions by load, by schedule, and to zero.
pub struct Autoscaler {
    directory: Arc<Directory>,
    scaler: Arc<Scaler>,
    options: Options,
    loads: Arc<Loads>,
    prometheus: Option<Arc<Prometheus>>,
    freezes: bool,
    /// Since when it leads, if it does.
    leads: Option<Duration>,
    watched: HashMap<Arc<str>, Watched>,
    /// At most one change of each function.
    changes: JoinSet<(Arc<str>, provider::Result<()>)>,
    changing: HashMap<Arc<str>, Decision>,
}

impl Autoscaler {
    /// Looks at nothing yet.
    ///
    /// # Errors
    /// Says why Prometheus cannot be asked.
    pub fn new(scaler: Arc<Scaler>, options: Options) -> reqwest::Result<Self> {
        let directory = scaler.directory().clone();
        let prometheus = options.queries.clone().map(Prometheus::new).transpose()?.map(Arc::new);
        let loads = Arc::new(Loads::new(prometheus.clone(), options.tally.clone()));
        let freezes = scaler.freezes();
        let (leads, watched, changes, changing) = Default::default();
        Ok(Self {
            directory,
            scaler,
            options,
            loads,
            prometheus,
            freezes,
            leads,
            watched,
            changes,
            changing,
        })
    }

    /// Scales until the gateway leaves.
    pub async fn run(mut self, leaving: Leaving) {
        self.directory.synced().await;
        let (loads, look) = (self.loads.clone(), self.options.usage.clone());
        let usage = async {
            match &look {
                Some(look) => loads.follow(look).await,
                None => std::future::pending().await,
            }
        };
        let prometheus = self.prometheus.clone();
        let answers = async {
            match &prometheus {
                Some(prometheus) => prometheus.follow().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.ticks() => (),
            () = usage => (),
            () = answers => (),
            // What was begun is waited for by whoever lets the gateway leave.
            () = leaving.begun() => self.changes.detach_all(),
        }
    }

    async fn ticks(&mut self) {
        let (begin, Timing { tick, glance, .. }) = (Instant::now(), self.options.timing);
        let glances = tick.div_duration_f64(glance).round().max(1.0) as u64;
        let mut looks = interval(tick.min(glance));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for look in 0u64.. {
            looks.tick().await;
            let (at, now) = (begin.elapsed(), Timestamp::now());
            match look % glances {
                0 => self.tick(at, now),
                _ => self.glance(at, now),
            }
        }
    }

    /// Whether this gateway leads. One that leads anew begins as one that has just started: it knows
    /// neither what there was to do, nor what the others have.
    fn leads(&mut self, at: Duration) -> bool {
        if !self.options.lead.is_here() {
            self.leads = None;
            return false;
        }
        if self.leads.is_none() {
            self.watched.clear();
            self.options.tally.clear();
            self.leads = Some(at);
        }
        true
    }

    /// Looks at every function, and begins the changes that are due.
    fn tick(&mut self, at: Duration, now: Timestamp) {
        self.take_in_changes(at, now);
        if !self.leads(at) {
            return;
        }
        let timing = self.options.timing;
        let moment = self.moment(at, now, &timing);
        let all = self.directory.all();
        if self.watched.len() > all.len() {
            self.watched.retain(|label, _| self.directory.get(label).is_some());
            self.options.tally.keep(|label| self.directory.get(label).is_some());
        }
        for entry in all {
            let watched = self.watched.entry(entry.label.clone());
            let watched = watched.or_insert_with(|| Watched::new(&entry, at));
            if !watched.is_of(&entry) {
                *watched = Watched::new(&entry, at);
            }
            let step = watched.look(&entry, &self.loads, &moment);
            self.begin(&entry, step, now);
        }
    }

    /// Begins what cannot wait for the next tick.
    fn glance(&mut self, at: Duration, now: Timestamp) {
        self.take_in_changes(at, now);
        if !self.leads(at) {
            return;
        }
        let timing = self.options.timing;
        let moment = self.moment(at, now, &timing);
        for entry in self.directory.all() {
            let watched = self.watched.get_mut(&entry.label);
            let Some(watched) = watched.filter(|watched| watched.is_of(&entry)) else { continue };
            let step = watched.glance(&entry, &self.loads, &moment);
            self.begin(&entry, step, now);
        }
    }

    fn moment<'a>(&self, at: Duration, now: Timestamp, timing: &'a Timing) -> Moment<'a> {
        let Options { wakes, ignores_load, quiet, .. } = self.options;
        let is_quiet = at < self.leads.unwrap_or(at) + quiet;
        Moment { at, now, timing, wakes, is_quiet, freezes: self.freezes, ignores_load }
    }

    /// Makes a change unless the last one of this function goes on, and waits for nothing.
    fn begin(&mut self, entry: &Entry, step: Option<Step>, now: Timestamp) {
        let step = step.filter(|_| !self.changing.contains_key(&entry.label));
        let Some(Step { to, decision }) = step else { return };
        let Decision { cause, from, to: replicas, reason, .. } = &decision;
        tracing::info!(function = %entry.label, from, to = replicas, ?to, ?cause, %reason, "scaling");
        let cause = decision.cause;
        entry.live.journal.write(now, decision.clone());
        self.changing.insert(entry.label.clone(), decision);
        let (scaler, name, label) = (self.scaler.clone(), entry.name.clone(), entry.label.clone());
        self.changes.spawn(async move {
            let done = match to {
                Target::Frozen => scaler.freeze(&name).await,
                Target::Replicas(0) => scaler.stop(&name).await,
                Target::Replicas(replicas) => scaler.scale(&name, replicas, cause).await,
            };
            (label, done)
        });
    }

    /// Notes the changes that were made, and why others were not.
    fn take_in_changes(&mut self, at: Duration, now: Timestamp) {
        while let Some(change) = self.changes.try_join_next() {
            let Ok((label, done)) = change else { continue };
            let decision = self.changing.remove(&label);
            let (Err(error), Some(decision)) = (done, decision) else { continue };
            tracing::warn!(function = %label, %error, "it was not scaled");
            if let Some(watched) = self.watched.get_mut(&label) {
                watched.failed(at);
            }
            if let Some(entry) = self.directory.get(&label) {
                let refused = Decision { refused: error.to_string(), ..decision };
                entry.live.journal.write(now, refused);
            }
        }
    }
}

#[cfg(test)]
#[path = "autoscaler_tests.rs"]
mod tests;
