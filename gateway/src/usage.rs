//! What functions use of the machine, looked at every few seconds at most, by whoever needs it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use provider::{Error, Name, Provider, Result, Usage};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::directory::Directory;

/// A look is good for so long.
const FRESH: Duration = Duration::from_secs(5);
/// A look that is older is none to count from.
const BASELINE: Duration = Duration::from_secs(5 * 60);
/// Longest that a look may take: an engine that hangs is no reason for Prometheus to see nothing.
const LIMIT: Duration = Duration::from_secs(4);
/// Where there is none, two looks are taken at this distance.
const FIRST: Duration = Duration::from_millis(200);

/// Looks at what functions use, when it is asked.
pub struct Sampler {
    provider: Arc<dyn Provider>,
    directory: Arc<Directory>,
    state: Mutex<State>,
}

/// What functions use; those that have no replica in memory use nothing.
pub type Sample = BTreeMap<Name, FunctionUsage>;

/// What one function uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FunctionUsage {
    /// Processor time in a second, of all replicas, in thousandths of a core: the mean since the
    /// look before.
    pub cpu_millicores: f64,
    /// Processor time of all replicas that there were since the gateway began to look, in seconds.
    /// It never falls.
    pub cpu_seconds_total: f64,
    /// Memory of all replicas that they could not do without, in bytes.
    pub memory_bytes: u64,
    /// The most that any one of the replicas in memory ever had, where that is known.
    pub memory_peak_bytes: Option<u64>,
}

#[derive(Default)]
struct State {
    at: Option<Instant>,
    /// The last look, when nothing came of it: that is good for as long as another.
    failed: Option<(Instant, Error)>,
    /// The run and the time of each replica at the last look.
    replicas: HashMap<String, (String, f64)>,
    totals: BTreeMap<Name, FunctionUsage>,
    sample: Arc<Sample>,
}

impl Sampler {
    /// Nothing is looked at yet.
    pub fn new(provider: Arc<dyn Provider>, directory: Arc<Directory>) -> Self {
        Self { provider, directory, state: Mutex::default() }
    }

    /// What functions use: seen now, or in the last 5 seconds. The first time takes a moment, since
    /// a rate needs two looks.
    ///
    /// # Errors
    /// When the backend does not tell.
    pub async fn sample(&self) -> Result<Arc<Sample>> {
        // Whoever asks meanwhile waits for this look.
        let mut state = self.state.lock().await;
        if let Some((at, error)) = &state.failed
            && at.elapsed() < FRESH
        {
            return Err(error.clone());
        }
        let age = state.at.map(|at| at.elapsed());
        if age.is_some_and(|age| age < FRESH) {
            return Ok(state.sample.clone());
        }
        if age.is_none_or(|age| age > BASELINE) {
            // What was used before nobody looked is of no moment of now.
            state.at = None;
            self.look(&mut state).await?;
            sleep(FIRST).await;
        }
        self.look(&mut state).await?;
        Ok(state.sample.clone())
    }

    async fn look(&self, state: &mut State) -> Result<()> {
        let used = match timeout(LIMIT, self.provider.usage()).await {
            Ok(used) => used,
            Err(_) => Err(Error::Unavailable {
                backend: self.provider.info().orchestration,
                reason: format!("it has not told what replicas use for {} s", LIMIT.as_secs()),
            }),
        };
        state.failed = used.as_ref().err().map(|error| (Instant::now(), error.clone()));
        let used = used?;
        state.totals.retain(|name, _| self.directory.find(name).is_some());
        state.take_in(used, Instant::now());
        Ok(())
    }
}

impl State {
    fn take_in(&mut self, used: Vec<Usage>, now: Instant) {
        let since = self.at.replace(now).map(|at| (now - at).as_secs_f64());
        let before = std::mem::take(&mut self.replicas);
        for total in self.totals.values_mut() {
            *total = FunctionUsage {
                cpu_seconds_total: total.cpu_seconds_total,
                ..FunctionUsage::default()
            };
        }
        for usage in used {
            let known = before.get(&usage.replica).filter(|(run, _)| *run == usage.run);
            let base = known.map_or(0.0, |(_, seconds)| *seconds);
            // Less than before is what a child took along whose end nobody saw.
            let most = usage.cpu_seconds.max(base);
            let total = self.totals.entry(usage.name).or_default();
            total.cpu_seconds_total += most - base;
            if let Some(since) = since.filter(|since| *since > 0.0) {
                total.cpu_millicores += (most - base) * 1000.0 / since;
            }
            total.memory_bytes += usage.memory_bytes;
            total.memory_peak_bytes = total.memory_peak_bytes.max(usage.memory_peak_bytes);
            self.replicas.insert(usage.replica, (usage.run, most));
        }
        self.sample = Arc::new(self.totals.clone());
    }
}

#[cfg(test)]
mod tests {
    use provider::fake::Fake;
    use provider::{Address, Calls, Function};

    use super::*;
    use crate::metrics::Metrics;

    fn used(replica: &str, run: &str, cpu_seconds: f64) -> Usage {
        Usage {
            name: Name::parse("echo").unwrap(),
            replica: replica.to_owned(),
            run: run.to_owned(),
            cpu_seconds,
            memory_bytes: 100,
            memory_peak_bytes: Some(cpu_seconds as u64),
        }
    }

    struct Scene {
        fake: Arc<Fake>,
        directory: Arc<Directory>,
        sampler: Sampler,
    }

    async fn scene() -> Scene {
        let fake = Fake::new(Address::Tcp(([127, 0, 0, 1], 9).into()), Calls::default());
        let calls = Calls::default();
        let directory = Directory::new(calls, Metrics::new().unwrap(), Duration::from_secs(60));
        let directory = Arc::new(directory);
        let function = Function::from_json(br#"{"service":"echo","image":"i"}"#).unwrap();
        directory.deployed(fake.apply(&function).await.unwrap());
        let sampler = Sampler::new(fake.clone(), directory.clone());
        Scene { fake, directory, sampler }
    }

    impl Scene {
        async fn echo(&self) -> FunctionUsage {
            self.sampler.sample().await.unwrap()[&Name::parse("echo").unwrap()]
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_is_good_for_a_while_and_gives_the_rate_since_the_last() {
        let scene = scene().await;
        scene.fake.set_usage(vec![used("a", "1", 2.0)]);
        let first = scene.echo().await;
        assert_eq!((first.cpu_millicores, first.cpu_seconds_total), (0.0, 2.0));
        assert_eq!((first.memory_bytes, first.memory_peak_bytes), (100, Some(2)));
        scene.fake.set_usage(vec![used("a", "1", 4.5), used("b", "1", 0.5)]);
        assert_eq!(scene.echo().await, first, "seen just now");
        tokio::time::advance(FRESH).await;
        let then = scene.echo().await;
        assert_eq!((then.cpu_seconds_total, then.cpu_millicores.round()), (5.0, 600.0));
        assert_eq!((then.memory_bytes, then.memory_peak_bytes), (200, Some(4)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_total_never_falls_whatever_becomes_of_replicas() {
        let scene = scene().await;
        let mut last = 0.0;
        for (usage, want) in [
            (vec![used("a", "1", 2.0), used("b", "1", 1.0)], 3.0),
            // One was started again, the other is gone.
            (vec![used("a", "2", 0.5)], 3.5),
            // Nobody saw a child of it end, and its time with it.
            (vec![used("a", "2", 0.25)], 3.5),
            (vec![used("a", "2", 0.75)], 3.75),
            (vec![], 3.75),
        ] {
            scene.fake.set_usage(usage);
            tokio::time::advance(FRESH).await;
            let now = scene.echo().await;
            assert_eq!(now.cpu_seconds_total, want);
            assert!(now.cpu_seconds_total >= last && now.cpu_millicores >= 0.0);
            last = now.cpu_seconds_total;
        }
        assert_eq!(scene.echo().await.memory_bytes, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_removed_function_is_forgotten_and_an_engine_that_is_away_is_told() {
        let scene = scene().await;
        scene.fake.set_usage(vec![used("a", "1", 2.0)]);
        scene.echo().await;
        scene.directory.removed(&Name::parse("echo").unwrap());
        scene.fake.set_usage(Vec::new());
        tokio::time::advance(FRESH).await;
        assert!(scene.sampler.sample().await.unwrap().is_empty());
        scene.fake.set_healthy(false);
        tokio::time::advance(FRESH).await;
        assert!(scene.sampler.sample().await.is_err());
        scene.fake.set_healthy(true);
        assert!(scene.sampler.sample().await.is_err(), "it is not asked again at once");
        tokio::time::advance(FRESH).await;
        assert!(scene.sampler.sample().await.is_ok());
    }
}
