//! What Prometheus reads on 8081 (contract 4.6).

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use http::{Method, StatusCode};
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry, TextEncoder,
};

/// The metrics of one watchdog. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    total: IntCounterVec,
    duration: HistogramVec,
    in_flight: IntGauge,
    /// By status and method; looking them up by their labels costs more than counting. There are
    /// few of them, so that the first ones to come, which are the usual ones, are found first.
    known: RefCell<Vec<Series>>,
}

#[derive(Debug)]
struct Series {
    of: (u16, &'static str),
    total: IntCounter,
    duration: Histogram,
}

/// One call that is measured. It counts when it is dropped, under the status it has then.
#[derive(Debug)]
pub struct Measured {
    metrics: Metrics,
    method: &'static str,
    start: Instant,
    status: u16,
}

/// Status of a call whose client went away before an answer, as nginx has it.
const CLIENT_GONE: u16 = 499;

impl Metrics {
    /// Metrics that are all zero.
    ///
    /// # Errors
    /// Never, as the names differ.
    pub fn new() -> prometheus::Result<Self> {
        let labels = ["code", "method"];
        let total = Opts::new("http_requests_total", "Calls that have ended.");
        let duration = HistogramOpts::new("http_request_duration_seconds", "How long calls took.");
        let metrics = Inner {
            registry: Registry::new(),
            total: IntCounterVec::new(total, &labels)?,
            duration: HistogramVec::new(duration, &labels)?,
            in_flight: IntGauge::new("http_requests_in_flight", "Calls that run now.")?,
            known: RefCell::default(),
        };
        metrics.registry.register(Box::new(metrics.total.clone()))?;
        metrics.registry.register(Box::new(metrics.duration.clone()))?;
        metrics.registry.register(Box::new(metrics.in_flight.clone()))?;
        Ok(Self(Rc::new(metrics)))
    }

    /// A call begins.
    pub fn begin(&self, method: &Method) -> Measured {
        self.0.in_flight.inc();
        Measured {
            metrics: self.clone(),
            method: label(method),
            start: Instant::now(),
            status: CLIENT_GONE,
        }
    }

    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Writing to memory does not fail, and half a page is better than none.
        let _ = TextEncoder::new().encode(&self.0.registry.gather(), &mut text);
        text
    }
}

impl Measured {
    /// The answer's head is there.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = status.as_u16();
    }

    /// The status so far.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// When the call began.
    pub fn start(&self) -> Instant {
        self.start
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let metrics = &self.metrics.0;
        metrics.in_flight.dec();
        metrics.count((self.status, self.method), self.start.elapsed().as_secs_f64());
    }
}

impl Inner {
    fn count(&self, of: (u16, &'static str), seconds: f64) {
        let mut known = self.known.borrow_mut();
        let at = known.iter().position(|series| series.of == of).unwrap_or_else(|| {
            let code = of.0.to_string();
            let labels = [code.as_str(), of.1];
            let total = self.total.with_label_values(&labels);
            let duration = self.duration.with_label_values(&labels);
            known.push(Series { of, total, duration });
            known.len() - 1
        });
        known[at].total.inc();
        known[at].duration.observe(seconds);
    }
}

/// Methods as Go's client library spells them. Clients can make up any other.
fn label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "get",
        "POST" => "post",
        "PUT" => "put",
        "PATCH" => "patch",
        "DELETE" => "delete",
        "HEAD" => "head",
        "OPTIONS" => "options",
        "TRACE" => "trace",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_count_when_they_end() {
        let metrics = Metrics::new().expect("metrics");
        let mut call = metrics.begin(&Method::POST);
        assert!(text(&metrics).contains("http_requests_in_flight 1"));
        call.answered(StatusCode::OK);
        drop(call);
        drop(metrics.begin(&Method::from_bytes(b"EVIL").expect("a method")));
        let text = text(&metrics);
        assert!(text.contains("http_requests_in_flight 0"));
        assert!(text.contains(r#"http_requests_total{code="200",method="post"} 1"#), "{text}");
        assert!(text.contains(r#"http_requests_total{code="499",method="unknown"} 1"#), "{text}");
        assert!(text.contains("http_request_duration_seconds_bucket"));
    }

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.render()).expect("text")
    }
}
