//! The series of contract 4.5, under its names.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::StatusCode;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Upper bounds of the duration histogram in seconds (contract 4.5).
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// All series of the gateway.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    seconds: HistogramVec,
    total: IntCounterVec,
    started: IntCounterVec,
    in_flight: IntGaugeVec,
    waiting: IntGaugeVec,
    throttled: IntCounterVec,
    replicas: IntGaugeVec,
    ready: IntGaugeVec,
    minimum: IntGaugeVec,
}

/// The series of one function, looked up once and not on each call.
pub struct FunctionMetrics {
    name: String,
    metrics: Metrics,
    /// Calls begun.
    pub started: IntCounter,
    /// Calls that have begun and not ended.
    pub in_flight: IntGauge,
    /// Calls among them that wait for a replica.
    pub waiting: IntGauge,
    codes: ArcSwap<Vec<(StatusCode, Arc<CodeMetrics>)>>,
}

struct CodeMetrics {
    seconds: Histogram,
    total: IntCounter,
}

impl Metrics {
    /// Registers every series, and one that tells the build.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let gauge = |name, help| IntGaugeVec::new(Opts::new(name, help), &["function_name"]);
        let counter =
            |name, help, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let by_code = ["function_name", "code"];
        let seconds =
            HistogramOpts::new("gateway_functions_seconds", "Duration of calls in seconds")
                .buckets(BUCKETS.to_vec());
        let metrics = Self {
            seconds: HistogramVec::new(seconds, &by_code)?,
            total: counter("gateway_function_invocation_total", "Calls that have ended", &by_code)?,
            started: counter(
                "gateway_function_invocation_started",
                "Calls that have begun",
                &["function_name"],
            )?,
            in_flight: gauge("gateway_function_invocation_inflight", "Calls in flight")?,
            waiting: gauge("flint_function_calls_waiting", "Calls that wait for a free replica")?,
            throttled: counter(
                "flint_function_calls_throttled_total",
                "Calls that were refused because of a limit, of the client or of the function",
                &["function_name", "limit"],
            )?,
            replicas: gauge("gateway_service_count", "Replicas wanted")?,
            ready: gauge("gateway_service_ready_count", "Replicas that take calls")?,
            minimum: gauge("gateway_service_min", "Least replicas, by label")?,
            registry,
        };
        metrics.register()?;
        Ok(metrics)
    }

    fn register(&self) -> prometheus::Result<()> {
        let registry = &self.registry;
        registry.register(Box::new(self.seconds.clone()))?;
        for counter in [&self.total, &self.started, &self.throttled] {
            registry.register(Box::new(counter.clone()))?;
        }
        for gauge in [&self.in_flight, &self.waiting, &self.replicas, &self.ready, &self.minimum] {
            registry.register(Box::new(gauge.clone()))?;
        }
        let opts = Opts::new("flint_build_info", "Always 1; the label tells the version");
        let build = IntGaugeVec::new(opts, &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(build))
    }

    /// The series of one function.
    pub fn function(&self, name: &str) -> FunctionMetrics {
        FunctionMetrics {
            name: name.to_owned(),
            metrics: self.clone(),
            started: self.started.with_label_values(&[name]),
            in_flight: self.in_flight.with_label_values(&[name]),
            waiting: self.waiting.with_label_values(&[name]),
            codes: ArcSwap::default(),
        }
    }

    /// Everything as Prometheus reads it.
    pub fn text(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

impl FunctionMetrics {
    /// Counts a call that has ended.
    pub fn ended(&self, code: StatusCode, took: Duration) {
        let codes = self.codes.load();
        if let Some((_, metrics)) = codes.iter().find(|(known, _)| *known == code) {
            return metrics.observe(took);
        }
        let labels = [self.name.as_str(), code.as_str()];
        let metrics = Arc::new(CodeMetrics {
            seconds: self.metrics.seconds.with_label_values(&labels),
            total: self.metrics.total.with_label_values(&labels),
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
        self.metrics.throttled.with_label_values(&[&self.name, limit]).inc();
    }

    /// Calls that have ended, of all codes.
    pub fn invocations(&self) -> u64 {
        self.codes.load().iter().map(|(_, metrics)| metrics.total.get()).sum()
    }

    /// Tells how many replicas are wanted, ready, and the least allowed.
    pub fn replicas(&self, wanted: u32, ready: usize, minimum: u32) {
        let name = [self.name.as_str()];
        self.metrics.replicas.with_label_values(&name).set(wanted.into());
        self.metrics.ready.with_label_values(&name).set(ready as i64);
        self.metrics.minimum.with_label_values(&name).set(minimum.into());
    }

    /// Drops every series of a function that is gone. One that was never there is no error.
    pub fn forget(&self) {
        let name = [self.name.as_str()];
        for (code, _) in self.codes.load().iter() {
            let labels = [self.name.as_str(), code.as_str()];
            let _ = self.metrics.seconds.remove_label_values(&labels);
            let _ = self.metrics.total.remove_label_values(&labels);
        }
        for limit in ["client", "function"] {
            let _ = self.metrics.throttled.remove_label_values(&[&self.name, limit]);
        }
        let _ = self.metrics.started.remove_label_values(&name);
        for gauge in [
            &self.metrics.in_flight,
            &self.metrics.waiting,
            &self.metrics.replicas,
            &self.metrics.ready,
            &self.metrics.minimum,
        ] {
            let _ = gauge.remove_label_values(&name);
        }
    }
}

impl CodeMetrics {
    fn observe(&self, took: Duration) {
        self.total.inc();
        self.seconds.observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.text().unwrap()).unwrap()
    }

    #[test]
    fn calls_are_counted_by_code_and_summed() {
        let metrics = Metrics::new().unwrap();
        let function = metrics.function("echo.openfaas-fn");
        for code in [StatusCode::OK, StatusCode::OK, StatusCode::BAD_GATEWAY] {
            function.ended(code, Duration::from_millis(3));
        }
        assert_eq!(function.invocations(), 3);
        let line =
            r#"gateway_function_invocation_total{code="200",function_name="echo.openfaas-fn"} 2"#;
        assert!(text(&metrics).contains(line), "{}", text(&metrics));
    }

    #[test]
    fn series_of_a_removed_function_go_away() {
        let metrics = Metrics::new().unwrap();
        let function = metrics.function("echo.openfaas-fn");
        function.started.inc();
        function.replicas(1, 1, 1);
        function.throttled("client");
        function.throttled("function");
        function.ended(StatusCode::OK, Duration::ZERO);
        function.forget();
        assert!(!text(&metrics).contains("echo.openfaas-fn"));
    }
}
