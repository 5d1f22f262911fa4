//! What a function has to do at this moment, in the unit of its measure.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use provider::{BoxFuture, Measure, Name};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::prometheus::{Prometheus, not_configured};
use crate::directory::Entry;
use crate::peers::{Seen, Tally};

/// Time between two looks at what replicas use.
const LOOK: Duration = Duration::from_secs(2);
/// After so long a look says nothing about now.
const STALE: Duration = Duration::from_secs(10);
/// Calls between two glances that are fewer than this are no rate: they come as they come.
const FEW: u64 = 16;
/// Bytes of a MiB, the unit of memory.
const MIB: f64 = 1024.0 * 1024.0;

/// Where loads are looked up.
pub(super) struct Loads {
    /// Knows the loads of all gateways together, where there is one.
    prometheus: Option<Arc<Prometheus>>,
    /// Knows what other gateways have to do.
    tally: Arc<Tally>,
    usage: Mutex<Usage>,
}

/// Calls of a function since the last look, at all gateways.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Calls {
    /// Calls that have begun here, ever.
    started: u64,
    /// Calls that have begun elsewhere, since anybody told.
    told: u64,
    /// Calls that have begun here since the look before.
    here: u64,
    /// Calls that begin elsewhere in a second.
    elsewhere: f64,
    /// Calls that have begun since the look before.
    pub(super) begun: u64,
    /// Calls that have begun and not ended, those that wait among them.
    pub(super) in_flight: u64,
    /// Time since the look before; `None` at the first.
    since: Option<Duration>,
}

/// What one function uses now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Used {
    /// Processor time in a second, in thousandths of a core, of all replicas.
    pub cpu_millicores: f64,
    /// Memory in bytes, of all replicas.
    pub memory_bytes: u64,
}

/// Looks at what functions use; an error says why that is not known.
pub type Look = Arc<dyn Fn() -> BoxFuture<Result<HashMap<Name, Used>, String>> + Send + Sync>;

/// The last look at what functions use.
#[derive(Default)]
struct Usage {
    looked: Option<Instant>,
    used: HashMap<Name, Used>,
    error: Option<String>,
    wanted: Option<Instant>,
}

impl Calls {
    /// Looks at the counters of a function, and at what was told of it.
    pub(super) fn look(self, entry: &Entry, seen: &Seen, elapsed: Option<Duration>) -> Self {
        let metrics = &entry.live.metrics;
        let started = metrics.started.get();
        let since_last = |now: u64, last: u64| match elapsed {
            Some(_) => now.saturating_sub(last),
            None => 0,
        };
        let here = since_last(started, self.started);
        let in_flight = u64::try_from(metrics.in_flight.get()).unwrap_or(0);
        Self {
            started,
            told: seen.begun,
            here,
            elsewhere: seen.per_second,
            begun: here.saturating_add(since_last(seen.begun, self.told)),
            in_flight: in_flight.saturating_add(seen.in_flight),
            since: elapsed.filter(|elapsed| !elapsed.is_zero()),
        }
    }

    fn per_second(&self) -> Result<f64, String> {
        let since = self.since.ok_or("it was looked at but once")?;
        Ok(self.here as f64 / since.as_secs_f64() + self.elsewhere)
    }
}

impl Loads {
    /// From the gateways' counters, and from Prometheus where there is one.
    pub(super) fn new(prometheus: Option<Arc<Prometheus>>, tally: Arc<Tally>) -> Self {
        Self { prometheus, tally, usage: Mutex::default() }
    }

    /// What other gateways have to do with a function.
    pub(super) fn elsewhere(&self, entry: &Entry) -> Seen {
        self.tally.seen(&entry.label, Instant::now())
    }

    /// The load of a function, or why it is not known.
    pub(super) fn load(&self, entry: &Entry, calls: &Calls) -> Result<f64, String> {
        match (&entry.scale.measure, &self.prometheus) {
            (Measure::Rps, Some(all)) => all.load("rps", &entry.label),
            (Measure::Capacity, Some(all)) => all.load("capacity", &entry.label),
            (Measure::Rps, None) => calls.per_second(),
            (Measure::Capacity, None) => Ok(calls.in_flight as f64),
            (Measure::Cpu, _) => self.used(&entry.name).map(|used| used.cpu_millicores),
            (Measure::Memory, _) => {
                self.used(&entry.name).map(|used| used.memory_bytes as f64 / MIB)
            }
            (Measure::Queue, _) => Err("there is no queue to look at".to_owned()),
            (Measure::None, _) => Err("its type is none".to_owned()),
            (Measure::Query(query), Some(all)) => all.load(query, &entry.label),
            (Measure::Query(query), None) => Err(not_configured(query)),
        }
    }

    /// The load that gateways count themselves, in so short a time as between two glances; `None`
    /// when that says little. What others count is what they told last.
    pub(super) fn glance(&self, entry: &Entry, calls: &Calls) -> Option<f64> {
        match (&entry.scale.measure, &self.prometheus) {
            (Measure::Rps, None) if calls.here >= FEW => calls.per_second().ok(),
            (Measure::Capacity, None) => Some(calls.in_flight as f64),
            _ => None,
        }
    }

    fn used(&self, name: &Name) -> Result<Used, String> {
        let mut usage = self.usage();
        usage.wanted = Some(Instant::now());
        let is_fresh = usage.looked.is_some_and(|looked| looked.elapsed() <= STALE);
        match usage.used.get(name) {
            Some(used) if is_fresh => Ok(*used),
            None if is_fresh => Err("the backend does not tell what it uses".to_owned()),
            _ => Err(usage.error.clone().unwrap_or_else(|| "nobody has looked yet".to_owned())),
        }
    }

    /// Looks at what functions use, every few seconds, as long as one is scaled by it.
    pub(super) async fn follow(&self, look: &Look) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if self.usage().wanted.is_none_or(|wanted| wanted.elapsed() > STALE) {
                continue;
            }
            let used = timeout(STALE, look()).await;
            let used = used.unwrap_or_else(|_| Err("the backend takes too long".to_owned()));
            self.usage().take_in(used);
        }
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Usage {
    fn take_in(&mut self, used: Result<HashMap<Name, Used>, String>) {
        match used {
            Ok(used) => (self.looked, self.used, self.error) = (Some(Instant::now()), used, None),
            Err(error) => self.error = Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn of(function: &str) -> HashMap<Name, Used> {
        [(name(function), Used { cpu_millicores: 750.0, memory_bytes: 64 << 20 })].into()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_old_is_not_known() {
        let loads = Loads::new(None, Arc::default());
        assert!(loads.used(&name("f")).unwrap_err().contains("nobody has looked"));
        loads.usage().take_in(Ok(of("f")));
        loads.usage().take_in(Err("it is away".to_owned()));
        assert_eq!(loads.used(&name("f")), Ok(of("f")[&name("f")]), "one look may fail");
        assert!(loads.used(&name("g")).unwrap_err().contains("does not tell"));
        tokio::time::advance(STALE + LOOK).await;
        assert_eq!(loads.used(&name("f")), Err("it is away".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_looks_when_nobody_asks_and_who_hangs_is_given_up() {
        let (loads, looks) = (Arc::new(Loads::new(None, Arc::default())), Arc::new(Mutex::new(0)));
        let look: Look = Arc::new({
            let looks = looks.clone();
            move || {
                let number = {
                    let mut looks = looks.lock().unwrap();
                    *looks += 1;
                    *looks
                };
                match number {
                    1 | 2 => Box::pin(std::future::pending()),
                    _ => Box::pin(std::future::ready(Ok(of("f")))),
                }
            }
        });
        let follow = tokio::spawn({
            let loads = loads.clone();
            async move { loads.follow(&look).await }
        });
        let minute = Duration::from_secs(60);
        tokio::time::sleep(minute).await;
        assert_eq!(*looks.lock().unwrap(), 0);
        let _ = loads.used(&name("f"));
        tokio::time::sleep(minute).await;
        assert!((1..=2).contains(&*looks.lock().unwrap()), "it was not asked for any more");
        assert!(loads.used(&name("f")).unwrap_err().contains("takes too long"));
        let _ = loads.used(&name("f"));
        tokio::time::sleep(STALE + LOOK + LOOK).await;
        let _ = loads.used(&name("f"));
        tokio::time::sleep(LOOK).await;
        assert!(loads.used(&name("f")).is_ok());
        follow.abort();
    }
}
