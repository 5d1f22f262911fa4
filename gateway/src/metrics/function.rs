//! The series of one function, which come and go with it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::StatusCode;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use super::collect;
use super::starts::{self, Starts};

/// Upper bounds of the durations of calls in seconds (contract 4.5).
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The limits of calls in a time: of those of one client, and of those of one function.
const LIMITS: [&str; 2] = ["client", "function"];

/// What is counted of one function: looked up once and not on each call.
///
/// Each function has families of its own, with its name in them, that the registry puts together
/// with those of the others: so they all go with it, whatever labels they have.
pub struct FunctionMetrics {
    registry: Registry,
    vecs: Vecs,
    /// Calls begun.
    pub started: IntCounter,
    /// Calls that have begun and not ended.
    pub in_flight: IntGauge,
    /// Calls among them that wait for a replica.
    pub waiting: IntGauge,
    /// How long calls waited for a replica, those that did.
    pub held: Histogram,
    /// Calls that were sent to another replica, or to the same one again.
    pub resent: IntCounter,
    /// How long it takes to have replicas that take calls.
    pub starts: Starts,
    codes: ArcSwap<Vec<(StatusCode, Arc<CodeMetrics>)>>,
}

/// The families whose series have further labels.
#[derive(Clone)]
struct Vecs {
    seconds: HistogramVec,
    total: IntCounterVec,
    throttled: IntCounterVec,
}

struct CodeMetrics {
    seconds: Histogram,
    total: IntCounter,
}

/// All of one function, as its registry holds it.
#[derive(Clone)]
struct Series(Arc<[Box<dyn Collector>]>);

impl FunctionMetrics {
    /// Makes and registers them.
    pub(super) fn new(name: &str, registry: &Registry) -> Self {
        let metrics = Self::made(name, registry).unwrap_or_else(|error| impossible(&error));
        if let Err(error) = registry.register(Box::new(metrics.series())) {
            tracing::error!(function = name, %error, "a function's metrics are not shown");
        }
        metrics
    }

    fn made(name: &str, registry: &Registry) -> prometheus::Result<Self> {
        let opts =
            |family: &str, help: &str| Opts::new(family, help).const_label("function_name", name);
        let histogram = |family: &str, help: &str| {
            HistogramOpts::new(family, help).const_label("function_name", name)
        };
        let seconds = histogram("gateway_functions_seconds", "How long calls took, in seconds.");
        let total = opts("gateway_function_invocation_total", "Calls that have ended.");
        let held = histogram(
            "flint_function_call_held_seconds",
            "How long calls waited for a replica, those that did, in seconds.",
        );
        Ok(Self {
            registry: registry.clone(),
            vecs: Vecs {
                throttled: throttled(name)?,
                seconds: HistogramVec::new(seconds.buckets(BUCKETS.to_vec()), &["code"])?,
                total: IntCounterVec::new(total, &["code"])?,
            },
            started: IntCounter::with_opts(opts(
                "gateway_function_invocation_started",
                "Calls that have begun.",
            ))?,
            in_flight: IntGauge::with_opts(opts(
                "gateway_function_invocation_inflight",
                "Calls in flight.",
            ))?,
            waiting: IntGauge::with_opts(opts(
                "flint_function_calls_waiting",
                "Calls that wait for a free replica.",
            ))?,
            held: Histogram::with_opts(held.buckets(starts::BUCKETS.to_vec()))?,
            resent: IntCounter::with_opts(opts(
                "flint_function_calls_resent_total",
                "Times that a call was sent again, because a replica did not take it or broke.",
            ))?,
            starts: Starts::new(histogram(
                "flint_function_cold_start_seconds",
                "How long it took to have replicas that take calls, by step, in seconds.",
            ))?,
            codes: ArcSwap::default(),
        })
    }

    fn series(&self) -> Series {
        let Vecs { seconds, total, throttled } = self.vecs.clone();
        Series(Arc::new([
            Box::new(seconds),
            Box::new(total),
            Box::new(self.started.clone()),
            Box::new(self.in_flight.clone()),
            Box::new(self.waiting.clone()),
            Box::new(self.held.clone()),
            Box::new(self.resent.clone()),
            Box::new(throttled),
            Box::new(self.starts.family()),
        ]))
    }

    /// Counts a call that has ended.
    pub fn ended(&self, code: StatusCode, took: Duration) {
        let codes = self.codes.load();
        if let Some((_, metrics)) = codes.iter().find(|(known, _)| *known == code) {
            return metrics.observe(took);
        }
        let metrics = Arc::new(CodeMetrics {
            seconds: self.vecs.seconds.with_label_values(&[code.as_str()]),
            total: self.vecs.total.with_label_values(&[code.as_str()]),
        });
        metrics.observe(took);
        self.codes.rcu(|codes| {
            let mut codes = Vec::clone(codes);
            if codes.iter().all(|(known, _)| *known != code) {
                codes.push((code, metrics.clone()));
            }
            codes
        });
    }

    /// Counts a call that was refused because of this limit, `client` or `function`.
    pub fn throttled(&self, limit: &str) {
        self.vecs.throttled.with_label_values(&[limit]).inc();
    }

    /// Calls that have ended, of all codes.
    pub fn invocations(&self) -> u64 {
        self.codes.load().iter().map(|(_, metrics)| metrics.total.get()).sum()
    }

    /// Shows none of it any more: the function is gone. What ends later counts for nobody.
    pub fn forget(&self) {
        if let Err(error) = self.registry.unregister(Box::new(self.series())) {
            tracing::debug!(%error, "a function's metrics were not shown");
        }
    }
}

fn throttled(name: &str) -> prometheus::Result<IntCounterVec> {
    let opts = Opts::new(
        "flint_function_calls_throttled_total",
        "Calls that were refused because there were too many in a time.",
    );
    let throttled = IntCounterVec::new(opts.const_label("function_name", name), &["limit"])?;
    // There from the start: a rate begins with a zero.
    LIMITS.iter().for_each(|limit| throttled.with_label_values(&[*limit]).inc_by(0));
    Ok(throttled)
}

/// Names and labels are fixed, and a function's name is a label's value, which can be anything.
fn impossible(error: &prometheus::Error) -> ! {
    unreachable!("the series of a function: {error}")
}

impl CodeMetrics {
    fn observe(&self, took: Duration) {
        self.total.inc();
        self.seconds.observe(took.as_secs_f64());
    }
}

impl Collector for Series {
    fn desc(&self) -> Vec<&Desc> {
        self.0.iter().flat_map(|collector| collector.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        collect(self.0.iter().map(|collector| &**collector))
    }
}
