//! What is counted as it happens (contract 4.5, under its names), and how Prometheus reads it. What
//! can be looked up when somebody asks is in `app::metrics`.

mod function;
mod process;
mod requests;
mod starts;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, IntGaugeVec, Opts, Registry, TextEncoder};

pub use self::function::FunctionMetrics;
use self::process::Process;
pub use self::requests::{Requests, observe};
pub use self::starts::Step;

/// The commit that was built, where the build told.
const COMMIT: &str = match option_env!("FLINT_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
/// The compiler, where the build told.
const RUSTC: &str = match option_env!("FLINT_RUSTC") {
    Some(rustc) => rustc,
    None => "unknown",
};

/// All series of the gateway.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// Requests of the API.
    pub requests: Requests,
}

impl Metrics {
    /// Registers what belongs to no function, and one series that tells the build.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let requests = Requests::new(&registry)?;
        registry.register(Box::new(Process::new()?))?;
        let opts = Opts::new("flint_build_info", "Always 1; the labels tell the build.");
        let build = IntGaugeVec::new(opts, &["version", "commit", "rustc"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), COMMIT, RUSTC]).set(1);
        registry.register(Box::new(build))?;
        Ok(Self { registry, requests })
    }

    /// The series of one function. They are there until [`FunctionMetrics::forget`].
    pub fn function(&self, name: &str) -> FunctionMetrics {
        FunctionMetrics::new(name, &self.registry)
    }

    /// Everything that was counted, as Prometheus reads it.
    pub fn text(&self) -> prometheus::Result<Vec<u8>> {
        self.text_with(Vec::new())
    }

    /// The same, with what others have looked up.
    pub fn text_with(&self, seen: Vec<MetricFamily>) -> prometheus::Result<Vec<u8>> {
        let mut families = self.registry.gather();
        families.extend(seen.into_iter().filter(|family| !family.get_metric().is_empty()));
        families.sort_by(|a, b| a.name().cmp(b.name()));
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(text)
    }
}

/// Several series' families at once.
fn collect<'a>(all: impl IntoIterator<Item = &'a dyn Collector>) -> Vec<MetricFamily> {
    all.into_iter().flat_map(Collector::collect).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;

    use super::*;

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.text().unwrap()).unwrap()
    }

    /// A function that has everything that one can have.
    fn full(metrics: &Metrics, name: &str) -> FunctionMetrics {
        let function = metrics.function(name);
        function.started.inc();
        function.in_flight.inc();
        function.waiting.inc();
        function.held.observe(0.1);
        function.resent.inc();
        function.throttled("client");
        function.ended(StatusCode::OK, Duration::ZERO);
        function.starts.begin("call", Step::Start, 1);
        function.starts.done();
        function.starts.seen(1, 1);
        function
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
    fn every_series_of_a_removed_function_goes_away_and_those_of_others_stay() {
        let metrics = Metrics::new().unwrap();
        let (gone, other) = (full(&metrics, "gone.openfaas-fn"), full(&metrics, "other.dev"));
        let of = |name: &str| text(&metrics).lines().filter(|line| line.contains(name)).count();
        assert_eq!(of("gone.openfaas-fn"), of("other.dev"));
        assert!(of("gone.openfaas-fn") > 40, "{}", text(&metrics));
        gone.forget();
        // A call that was in flight ends later, with a code that was not seen before.
        gone.ended(StatusCode::BAD_GATEWAY, Duration::ZERO);
        gone.in_flight.dec();
        gone.starts.begin("load", Step::Create, 1);
        gone.starts.seen(1, 1);
        assert_eq!(of("gone.openfaas-fn"), 0, "{}", text(&metrics));
        let others = of("other.dev");
        gone.forget();
        let again = full(&metrics, "gone.openfaas-fn");
        assert_eq!((of("gone.openfaas-fn"), of("other.dev")), (others, others));
        assert_eq!(again.invocations(), 1, "it begins anew");
        drop(other);
    }

    #[test]
    fn the_build_and_the_process_are_told() {
        let metrics = Metrics::new().unwrap();
        let text = text(&metrics);
        for name in [
            "flint_build_info{",
            "process_cpu_seconds_total ",
            "process_max_fds ",
            "process_open_fds ",
            "process_resident_memory_bytes ",
            "process_start_time_seconds ",
            "process_virtual_memory_bytes ",
        ] {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
            assert!(value.is_some_and(|value| value >= 0.0), "{name}: {text}");
        }
    }
}
