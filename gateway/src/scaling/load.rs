//! What a function has to do at this moment, in the unit of its measure.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use provider::{Measure, Name};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::prometheus::{Prometheus, not_configured};
use crate::directory::Entry;

/// Time between two looks at what replicas use.
const LOOK: Duration = Duration::from_secs(2);
/// After so long a look says nothing about now.
const STALE: Duration = Duration::from_secs(10);
/// Bytes of a MiB, the unit of memory.
const MIB: f64 = 1024.0 * 1024.0;
/// Thousandths of a core, the unit of processor time.
const MILLI: f64 = 1000.0;

/// Where loads are looked up.
#[derive(Default)]
pub(super) struct Loads {
    /// Knows the loads of all gateways together, where there is one.
    prometheus: Option<Arc<Prometheus>>,
    usage: Mutex<Usage>,
}

/// Calls of a function since the last look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Calls {
    /// Calls that have begun, ever.
    started: u64,
    /// Calls that have begun since the look before.
    pub(super) begun: u64,
    /// Calls that have begun and not ended, those that wait among them.
    pub(super) in_flight: u64,
    /// Time since the look before; `None` at the first.
    since: Option<Duration>,
}

/// What one replica has used since it was started.
#[derive(Clone, Debug)]
pub(super) struct Used {
    pub(super) name: Name,
    /// Tells one run of one replica from all others.
    pub(super) run: String,
    pub(super) cpu_seconds: f64,
    pub(super) memory_bytes: u64,
}

/// What replicas use, from two looks at their counters.
#[derive(Default)]
struct Usage {
    looked: Option<Instant>,
    seconds: HashMap<String, f64>,
    by_function: HashMap<Name, (Option<f64>, f64)>,
    error: Option<String>,
    wanted: Option<Instant>,
}

impl Calls {
    /// Looks at the counters of a function.
    pub(super) fn look(self, entry: &Entry, elapsed: Option<Duration>) -> Self {
        let metrics = &entry.live.metrics;
        let started = metrics.started.get();
        Self {
            started,
            begun: if elapsed.is_some() { started.saturating_sub(self.started) } else { 0 },
            in_flight: u64::try_from(metrics.in_flight.get()).unwrap_or(0),
            since: elapsed.filter(|elapsed| !elapsed.is_zero()),
        }
    }

    fn per_second(&self) -> Result<f64, String> {
        let since = self.since.ok_or("it was looked at but once")?;
        Ok(self.begun as f64 / since.as_secs_f64())
    }
}

impl Loads {
    /// From this gateway's counters, and from Prometheus where there is one.
    pub(super) fn new(prometheus: Option<Arc<Prometheus>>) -> Self {
        Self { prometheus, usage: Mutex::default() }
    }

    /// The load of a function, or why it is not known.
    pub(super) fn load(&self, entry: &Entry, calls: &Calls) -> Result<f64, String> {
        match (&entry.scale.measure, &self.prometheus) {
            (Measure::Rps, Some(all)) => all.load("rps", &entry.label),
            (Measure::Capacity, Some(all)) => all.load("capacity", &entry.label),
            (Measure::Rps, None) => calls.per_second(),
            (Measure::Capacity, None) => Ok(calls.in_flight as f64),
            (Measure::Cpu, _) => self.used(&entry.name).and_then(|(cpu, _)| {
                cpu.ok_or_else(|| "processor time was looked at but once".to_owned())
            }),
            (Measure::Memory, _) => self.used(&entry.name).map(|(_, memory)| memory),
            (Measure::Queue, _) => Err("there is no queue to look at".to_owned()),
            (Measure::Query(query), Some(all)) => all.load(query, &entry.label),
            (Measure::Query(query), None) => Err(not_configured(query)),
        }
    }

    /// Thousandths of a core, and MiB.
    fn used(&self, name: &Name) -> Result<(Option<f64>, f64), String> {
        let mut usage = self.usage();
        usage.wanted = Some(Instant::now());
        let is_fresh = usage.looked.is_some_and(|looked| looked.elapsed() <= STALE);
        match usage.by_function.get(name) {
            Some(used) if is_fresh => Ok(*used),
            None if is_fresh => Err("the backend does not tell what it uses".to_owned()),
            _ => Err(usage.error.clone().unwrap_or_else(|| "nobody has looked yet".to_owned())),
        }
    }

    /// Looks at what replicas use, every few seconds, as long as a function is scaled by it.
    pub(super) async fn follow<F>(&self, look: impl Fn() -> F)
    where
        F: Future<Output = Result<Vec<Used>, String>>,
    {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if self.usage().wanted.is_none_or(|wanted| wanted.elapsed() > STALE) {
                continue;
            }
            let used = timeout(STALE, look()).await;
            let used = used.unwrap_or_else(|_| Err("the backend takes too long".to_owned()));
            self.usage().take_in(used, Instant::now());
        }
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Usage {
    fn take_in(&mut self, used: Result<Vec<Used>, String>, now: Instant) {
        let used = match used {
            Ok(used) => used,
            Err(error) => {
                self.error = Some(error);
                return;
            }
        };
        let since = self.looked.map(|looked| now.duration_since(looked).as_secs_f64());
        let since = since.filter(|since| *since > 0.0 && *since <= STALE.as_secs_f64());
        let before = std::mem::take(&mut self.seconds);
        self.by_function.clear();
        for Used { name, run, cpu_seconds, memory_bytes } in used {
            let known = before.get(&run).copied();
            // A run that is new has used all of it since the last look.
            let more = (cpu_seconds - known.unwrap_or(0.0)).max(0.0);
            let milli = since.map(|since| more / since * MILLI);
            let sum = self.by_function.entry(name).or_insert((since.map(|_| 0.0), 0.0));
            sum.0 = sum.0.zip(milli).map(|(sum, milli)| sum + milli);
            sum.1 += memory_bytes as f64 / MIB;
            self.seconds.insert(run, cpu_seconds);
        }
        (self.looked, self.error) = (Some(now), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn used(function: &str, run: &str, cpu_seconds: f64, mib: u64) -> Used {
        let memory_bytes = mib * 1024 * 1024;
        Used { name: name(function), run: run.to_owned(), cpu_seconds, memory_bytes }
    }

    #[tokio::test(start_paused = true)]
    async fn processor_and_memory_are_summed_over_replicas() {
        let loads = Loads::default();
        assert!(loads.used(&name("f")).unwrap_err().contains("nobody has looked"));
        let look = |used: Vec<Used>| loads.usage().take_in(Ok(used), Instant::now());
        look(vec![used("f", "a", 10.0, 64), used("f", "b", 20.0, 32), used("g", "c", 5.0, 1)]);
        assert_eq!(loads.used(&name("f")), Ok((None, 96.0)), "one look is no rate");
        tokio::time::advance(Duration::from_secs(2)).await;
        // One run has ended, another one has begun.
        look(vec![used("f", "a", 11.0, 64), used("f", "d", 0.5, 16), used("g", "c", 5.0, 1)]);
        assert_eq!(loads.used(&name("f")), Ok((Some(750.0), 80.0)));
        assert_eq!(loads.used(&name("g")), Ok((Some(0.0), 1.0)));
        assert!(loads.used(&name("h")).unwrap_err().contains("does not tell"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_old_is_not_known() {
        let loads = Loads::default();
        loads.usage().take_in(Ok(vec![used("f", "a", 1.0, 1)]), Instant::now());
        loads.usage().take_in(Err("it is away".to_owned()), Instant::now());
        assert!(loads.used(&name("f")).is_ok(), "one look may fail");
        tokio::time::advance(STALE + LOOK).await;
        assert_eq!(loads.used(&name("f")), Err("it is away".to_owned()));
        loads.usage().take_in(Ok(vec![used("f", "a", 900.0, 1)]), Instant::now());
        assert_eq!(loads.used(&name("f")), Ok((None, 1.0)), "too long ago for a rate");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_looks_when_nobody_asks() {
        let (loads, looks) = (Arc::new(Loads::default()), Arc::new(Mutex::new(0)));
        let follow = tokio::spawn({
            let (loads, looks) = (loads.clone(), looks.clone());
            async move {
                let look = || {
                    *looks.lock().unwrap() += 1;
                    std::future::ready(Ok(vec![used("f", "a", 1.0, 1)]))
                };
                loads.follow(look).await;
            }
        });
        let minute = Duration::from_secs(60);
        tokio::time::sleep(minute).await;
        assert_eq!(*looks.lock().unwrap(), 0);
        let _ = loads.used(&name("f"));
        tokio::time::sleep(minute).await;
        let seen = *looks.lock().unwrap();
        assert!((4..=6).contains(&seen), "{seen}");
        follow.abort();
    }
}
