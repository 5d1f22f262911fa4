//! What pods use, where the cluster has somebody who measures it (`metrics.k8s.io`).
//!
//! That tells a rate, the mean of some last seconds, and no total. A total is made of it: each look
//! adds the rate times the time since the look before. It is as good as the rate: what happens
//! between two measurements of the cluster, 15 s or more apart, is not seen.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use serde_json::Value;
use tokio::time::Instant;

use super::core::{Core, asked};
use super::state::Key;
use crate::function::label;
use crate::{Error, Result, Usage, parse_bytes};

/// A measurement is asked for again after so long; the cluster does not measure more often.
const FRESH: Duration = Duration::from_secs(10);
/// A cluster that measures nothing is asked again after so long.
const ABSENT: Duration = Duration::from_secs(5 * 60);
/// A time without a look that is longer is not counted: the rate says nothing of it.
const LONGEST_GAP: Duration = Duration::from_secs(60);

/// What is remembered from look to look.
#[derive(Default)]
pub(super) struct Meter {
    state: Mutex<Readings>,
}

#[derive(Default)]
struct Readings {
    /// When the cluster was asked the last time, and whether it measures at all.
    asked: Option<(Instant, bool)>,
    /// When the totals were counted on the last time.
    counted: Option<Instant>,
    /// By pod.
    pods: HashMap<String, Reading>,
}

/// What one pod uses.
#[derive(Clone, Debug, Default, PartialEq)]
struct Reading {
    key: Option<Key>,
    /// Cores in use.
    cores: f64,
    memory_bytes: u64,
    /// Cores in use times seconds, since it was first seen.
    cpu_seconds: f64,
    memory_peak_bytes: u64,
}

impl Core {
    /// See [`crate::Provider::usage`].
    pub(super) async fn usage(&self) -> Result<Vec<Usage>> {
        match self.meter.due() {
            Due::Nothing => {}
            Due::Absent => return Err(UNSUPPORTED),
            Due::Look => match self.measured().await {
                Ok(measured) => self.meter.take_in(measured),
                Err(Error::NotFound(_)) => {
                    self.meter.is_absent();
                    return Err(UNSUPPORTED);
                }
                Err(error) => return Err(error),
            },
        }
        Ok(self
            .meter
            .told()
            .into_iter()
            .filter_map(|(pod, reading)| self.used(pod, reading))
            .collect())
    }

    async fn measured(&self) -> Result<HashMap<String, Reading>> {
        let kind = GroupVersionKind::gvk("metrics.k8s.io", "v1beta1", "PodMetrics");
        let resource = ApiResource::from_gvk_with_plural(&kind, "pods");
        let client = self.client.clone();
        let api: Api<DynamicObject> = match self.scope.cluster_wide {
            true => Api::all_with(client, &resource),
            false => Api::namespaced_with(client, &self.scope.function_namespace, &resource),
        };
        let params = ListParams::default().labels(label::FUNCTION);
        let all = asked("pods of metrics.k8s.io", api.list(&params)).await?;
        Ok(all.items.iter().filter_map(reading).collect())
    }

    /// A pod that is ours and still there.
    fn used(&self, pod: String, reading: Reading) -> Option<Usage> {
        let key = reading.key?;
        let name = self.scope.name(&key.namespace, &key.function)?;
        // The total is the pod's, however often its container was started again.
        let run = self.read(&key, |known| known.pods.get(&pod).map(|m| m.seen.uid.clone()))?;
        Some(Usage {
            name,
            replica: pod,
            run,
            cpu_seconds: reading.cpu_seconds,
            memory_bytes: reading.memory_bytes,
            memory_peak_bytes: Some(reading.memory_peak_bytes),
        })
    }
}

const UNSUPPORTED: Error = Error::Unsupported(
    "the cluster does not measure pods (no metrics.k8s.io, as of metrics-server)",
);

/// What is to be done for an answer.
enum Due {
    Look,
    Nothing,
    Absent,
}

impl Meter {
    fn due(&self) -> Due {
        let state = self.lock();
        match state.asked {
            Some((at, true)) if at.elapsed() < FRESH => Due::Nothing,
            Some((at, false)) if at.elapsed() < ABSENT => Due::Absent,
            _ => Due::Look,
        }
    }

    fn is_absent(&self) {
        self.lock().asked = Some((Instant::now(), false));
    }

    /// Takes in a measurement; pods that are not in it are gone.
    fn take_in(&self, measured: HashMap<String, Reading>) {
        let mut state = self.lock();
        state.count();
        let before = std::mem::take(&mut state.pods);
        state.pods = measured
            .into_iter()
            .map(|(pod, now)| {
                let known = before.get(&pod).cloned().unwrap_or_default();
                let peak = known.memory_peak_bytes.max(now.memory_bytes);
                let cpu_seconds = known.cpu_seconds;
                (pod, Reading { cpu_seconds, memory_peak_bytes: peak, ..now })
            })
            .collect();
        state.asked = Some((Instant::now(), true));
    }

    /// What every pod has used until now.
    fn told(&self) -> HashMap<String, Reading> {
        let mut state = self.lock();
        state.count();
        state.pods.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Readings> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Readings {
    /// Adds what was used since the last time.
    fn count(&mut self) {
        let now = Instant::now();
        let since = self.counted.replace(now).map(|at| now - at);
        let Some(since) = since.filter(|since| *since <= LONGEST_GAP) else { return };
        for reading in self.pods.values_mut() {
            reading.cpu_seconds += reading.cores * since.as_secs_f64();
        }
    }
}

/// A pod's measurement: the sum of its containers.
fn reading(object: &DynamicObject) -> Option<(String, Reading)> {
    let meta = &object.metadata;
    let function = meta.labels.as_ref()?.get(label::FUNCTION)?.clone();
    let key = Key { namespace: meta.namespace.clone()?, function };
    let containers = object.data.get("containers")?.as_array()?;
    let amount =
        |container: &Value, of: &str| Some(container.get("usage")?.get(of)?.as_str()?.to_owned());
    let cores = containers.iter().filter_map(|c| cores(&amount(c, "cpu")?)).sum();
    let memory_bytes = containers.iter().filter_map(|c| parse_bytes(&amount(c, "memory")?)).sum();
    let reading = Reading { key: Some(key), cores, memory_bytes, ..Reading::default() };
    Some((meta.name.clone()?, reading))
}

/// Cores, as `12345678n`, `12345u`, `12m` or `2`.
fn cores(text: &str) -> Option<f64> {
    let units = [("n", 1e-9), ("u", 1e-6), ("m", 1e-3)];
    let unit = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (number, factor) = unit.unwrap_or((text, 1.0));
    number.parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn measured(cores: f64, memory_bytes: u64) -> HashMap<String, Reading> {
        [("a".to_owned(), Reading { cores, memory_bytes, ..Reading::default() })].into()
    }

    #[test]
    fn containers_are_added_up() {
        let object: DynamicObject = serde_json::from_value(json!({
            "metadata": {"name": "echo-1", "namespace": "fns", "labels": {"faas_function": "echo"}},
            "containers": [
                {"name": "echo", "usage": {"cpu": "250m", "memory": "2Mi"}},
                {"name": "proxy", "usage": {"cpu": "1500000n", "memory": "1024Ki"}},
            ],
        }))
        .unwrap();
        let (pod, reading) = reading(&object).unwrap();
        assert_eq!((pod.as_str(), reading.memory_bytes), ("echo-1", 3 << 20));
        assert!((reading.cores - 0.2515).abs() < 1e-9, "{}", reading.cores);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_becomes_a_total_and_peaks_stay() {
        let meter = Meter::default();
        meter.take_in(measured(0.5, 100));
        tokio::time::advance(Duration::from_secs(4)).await;
        let told = meter.told()["a"].clone();
        assert_eq!((told.cpu_seconds, told.memory_bytes), (2.0, 100));
        meter.take_in(measured(2.0, 40));
        tokio::time::advance(Duration::from_secs(1)).await;
        let told = meter.told()["a"].clone();
        assert_eq!((told.cpu_seconds, told.memory_bytes, told.memory_peak_bytes), (4.0, 40, 100));
        meter.take_in(HashMap::new());
        assert!(meter.told().is_empty(), "it is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn the_cluster_is_asked_no_more_often_than_it_measures() {
        let meter = Meter::default();
        assert!(matches!(meter.due(), Due::Look));
        meter.is_absent();
        assert!(matches!(meter.due(), Due::Absent));
        tokio::time::advance(ABSENT).await;
        assert!(matches!(meter.due(), Due::Look));
        meter.take_in(HashMap::new());
        assert!(matches!(meter.due(), Due::Nothing));
        tokio::time::advance(FRESH).await;
        assert!(matches!(meter.due(), Due::Look));
    }
}
