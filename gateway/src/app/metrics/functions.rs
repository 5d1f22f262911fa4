//! What is looked up of functions when Prometheus asks: so it is true then, costs nothing between,
//! and is gone with its function.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, GaugeVec, Opts};
use provider::State;

use crate::directory::Entry;
use crate::usage::{FunctionUsage, Sample};

/// The states of replicas, under the names that the API gives them.
const STATES: [(State, &str); 5] = [
    (State::Starting, "starting"),
    (State::Ready, "ready"),
    (State::Frozen, "frozen"),
    (State::Draining, "draining"),
    (State::Stopped, "stopped"),
];

/// The families of one answer.
struct Families {
    wanted: GaugeVec,
    ready: GaugeVec,
    minimum: GaugeVec,
    target: GaugeVec,
    states: GaugeVec,
    taken: GaugeVec,
    slots: GaugeVec,
    aside: GaugeVec,
    decisions: CounterVec,
    cpu: CounterVec,
    memory: GaugeVec,
    peak: GaugeVec,
}

/// All series of these functions; without a sample, none of what they use.
pub(super) fn look<'a>(
    functions: impl Iterator<Item = &'a Entry>,
    sample: Option<&Sample>,
) -> prometheus::Result<Vec<MetricFamily>> {
    let families = Families::new()?;
    for entry in functions {
        families.add(entry);
        if let Some(sample) = sample {
            let usage = sample.get(&entry.name).copied().unwrap_or_default();
            families.add_usage(entry, &usage);
        }
    }
    Ok(families.collect())
}

impl Families {
    fn new() -> prometheus::Result<Self> {
        let name = ["function_name"];
        let gauge = |family: &str, help: &str, labels: &[&str]| {
            GaugeVec::new(Opts::new(family, help), labels)
        };
        let in_namespace = ["function_name", "namespace"];
        let cpu = Opts::new(
            "pod_cpu_usage_seconds_total",
            "Processor time of all replicas since the gateway began to look, in seconds.",
        );
        let decisions = Opts::new(
            "flint_function_scaling_decisions_total",
            "Decisions about the number of replicas, by cause and by what came of them.",
        );
        Ok(Self {
            decisions: CounterVec::new(decisions, &["function_name", "cause", "outcome"])?,
            wanted: gauge("gateway_service_count", "Replicas wanted.", &name)?,
            ready: gauge("gateway_service_ready_count", "Replicas that take calls.", &name)?,
            minimum: gauge("gateway_service_min", "Least replicas, by label.", &name)?,
            target: gauge(
                "gateway_service_target_load",
                "The load that one replica is meant for, by label, in the unit of its type.",
                &["function_name", "scaling_type"],
            )?,
            states: gauge(
                "flint_function_replicas",
                "Replicas by what they are doing.",
                &["function_name", "state"],
            )?,
            taken: gauge(
                "flint_function_slots_used",
                "Calls that replicas which take calls have now.",
                &name,
            )?,
            slots: gauge(
                "flint_function_slots",
                "Calls that these replicas take at a time; absent when there is no limit.",
                &name,
            )?,
            aside: gauge(
                "flint_function_replicas_set_aside",
                "Replicas that get no calls for now because they could not be connected to.",
                &name,
            )?,
            cpu: CounterVec::new(cpu, &in_namespace)?,
            memory: gauge(
                "pod_memory_working_set_bytes",
                "Memory that all replicas could not do without, in bytes.",
                &in_namespace,
            )?,
            peak: gauge(
                "flint_function_memory_peak_bytes",
                "The most memory that any of the replicas in memory ever had, in bytes.",
                &name,
            )?,
        })
    }

    fn add(&self, entry: &Entry) {
        let (status, name) = (&entry.status, [&*entry.label]);
        self.wanted.with_label_values(&name).set(status.desired.into());
        self.ready.with_label_values(&name).set(entry.ready() as f64);
        for (state, label) in STATES {
            let count = status.replicas.iter().filter(|replica| replica.state == state).count();
            self.states.with_label_values(&[&*entry.label, label]).set(count as f64);
        }
        let slots = entry.slots();
        self.taken.with_label_values(&name).set(slots.taken as f64);
        self.aside.with_label_values(&name).set(slots.aside as f64);
        if let Some(limit) = slots.limit {
            self.slots.with_label_values(&name).set(limit as f64);
        }
        let (scale, target) = (&entry.scale, [&*entry.label, entry.scale.measure.label()]);
        self.minimum.with_label_values(&name).set(scale.min.into());
        self.target.with_label_values(&target).set(scale.target);
        for ((cause, outcome), count) in entry.live.journal.counts() {
            let labels = [&*entry.label, cause, outcome];
            self.decisions.with_label_values(&labels).inc_by(count as f64);
        }
    }

    fn add_usage(&self, entry: &Entry, usage: &FunctionUsage) {
        let labels = [&*entry.label, entry.name.namespace()];
        self.cpu.with_label_values(&labels).inc_by(usage.cpu_seconds_total);
        self.memory.with_label_values(&labels).set(usage.memory_bytes as f64);
        if let Some(peak) = usage.memory_peak_bytes {
            self.peak.with_label_values(&[&*entry.label]).set(peak as f64);
        }
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let gauges = [
            &self.wanted,
            &self.ready,
            &self.minimum,
            &self.target,
            &self.states,
            &self.taken,
            &self.slots,
            &self.aside,
            &self.memory,
            &self.peak,
        ];
        let counters = [&self.cpu, &self.decisions];
        let counters = counters.into_iter().flat_map(Collector::collect);
        gauges.into_iter().flat_map(Collector::collect).chain(counters).collect()
    }
}
