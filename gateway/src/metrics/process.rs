//! The process itself, by the names of Prometheus' client libraries. The library's own collector
//! counts processor time in whole seconds, which is too coarse for a rate.

use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, IntGauge, Opts};
use rustix::param::{clock_ticks_per_second, page_size};

use super::collect;

/// Reads `/proc/self` when it is asked.
pub(super) struct Process {
    cpu: Counter,
    start: Gauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
    threads: IntGauge,
    virtual_bytes: IntGauge,
    resident_bytes: IntGauge,
}

impl Process {
    pub(super) fn new() -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| IntGauge::with_opts(Opts::new(name, help));
        let process = Self {
            cpu: Counter::new("process_cpu_seconds_total", "Processor time, in seconds.")?,
            start: Gauge::new("process_start_time_seconds", "When it began, in Unix time.")?,
            open_fds: gauge("process_open_fds", "Open file descriptors.")?,
            max_fds: gauge("process_max_fds", "The most file descriptors that may be open.")?,
            threads: gauge("process_threads", "Threads.")?,
            virtual_bytes: gauge("process_virtual_memory_bytes", "Address space, in bytes.")?,
            resident_bytes: gauge("process_resident_memory_bytes", "Memory, in bytes.")?,
        };
        process.start.set(started_at().unwrap_or_default());
        Ok(process)
    }

    fn all(&self) -> [&dyn Collector; 7] {
        [
            &self.cpu,
            &self.start,
            &self.open_fds,
            &self.max_fds,
            &self.threads,
            &self.virtual_bytes,
            &self.resident_bytes,
        ]
    }

    fn look(&self) {
        if let Some(seconds) = seconds(&[13, 14]) {
            self.cpu.inc_by((seconds - self.cpu.get()).max(0.0));
        }
        let number = |field: usize| stat(field).and_then(|number| i64::try_from(number).ok());
        self.threads.set(number(19).unwrap_or_default());
        self.virtual_bytes.set(number(22).unwrap_or_default());
        let pages = number(23).unwrap_or_default();
        self.resident_bytes.set(pages.saturating_mul(page_size() as i64));
        let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        self.open_fds.set(open as i64);
        let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        self.max_fds.set(most.and_then(|most| i64::try_from(most).ok()).unwrap_or(i64::MAX));
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.look();
        collect(self.all())
    }
}

/// A field of `/proc/self/stat`, counted from 0; the second one is a name that can hold anything.
fn stat(field: usize) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, after_name) = text.rsplit_once(") ")?;
    after_name.split_whitespace().nth(field.checked_sub(2)?)?.parse().ok()
}

/// Fields of it that are times, together.
fn seconds(fields: &[usize]) -> Option<f64> {
    let ticks: Option<u64> = fields.iter().map(|field| stat(*field)).sum();
    Some(ticks? as f64 / clock_ticks_per_second() as f64)
}

fn started_at() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let boot = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(boot.trim().parse::<f64>().ok()? + seconds(&[21])?)
}
