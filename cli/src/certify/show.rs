//! A certificate as people and programs read it.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::outcome::Figures;
use super::run::Certificate;
use crate::output::Table;

/// Most failed calls that are told one by one.
const MOST_LINES: usize = 50;
/// From here on this program's own lateness is worth a word.
const LATE: Duration = Duration::from_millis(100);

/// A certificate, for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<'a> {
    gateway: &'a str,
    /// Whether every change came about and no call failed.
    passed: bool,
    calls: usize,
    failures: usize,
    /// How late the latest call was made.
    late_ms: f64,
    steps: Vec<Row<'a>>,
    /// Calls that failed, a line each; not all when they are many.
    failed_calls: Vec<String>,
    not_checked: Vec<&'a str>,
}

/// One step.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    name: &'a str,
    calls: usize,
    failures: usize,
    /// Failed calls that were lost with a replica that was killed, and are not counted.
    excused: usize,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// Why the change did not come about.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
}

impl<'a> Page<'a> {
    /// What there is to show.
    pub fn new(gateway: &'a str, certificate: &'a Certificate) -> Self {
        let report = &certificate.report;
        let row = |(step, name)| Row::new(certificate, step, name);
        let names = report.steps.iter().map(|step| &*step.name);
        let steps: Vec<_> = names.enumerate().map(row).collect();
        let failed = report.failures();
        let failed = failed.into_iter().filter(|outcome| !certificate.is_excused(outcome));
        Self {
            gateway,
            passed: certificate.is_good(),
            calls: report.outcomes.len(),
            failures: steps.iter().map(|row| row.failures).sum(),
            late_ms: ms(report.late()),
            steps,
            failed_calls: failed.take(MOST_LINES).map(|o| report.line(o).to_string()).collect(),
            not_checked: certificate.unchecked.iter().map(|(name, _)| *name).collect(),
        }
    }

    /// Calls that failed.
    pub fn failures(&self) -> usize {
        self.failures
    }

    /// Changes that did not come about.
    pub fn problems(&self) -> usize {
        self.steps.iter().filter(|row| row.problem.is_some()).count()
    }

    /// The text for people.
    pub fn text(&self, certificate: &Certificate) -> String {
        let mut table = Table::new(&["STEP", "CALLS", "FAILED", "P50", "P99", "MAX"]);
        for row in &self.steps {
            let failed = match row.excused {
                0 => row.failures.to_string(),
                excused => format!("{} (+{excused} on the killed replica)", row.failures),
            };
            let times = [row.p50_ms, row.p99_ms, row.max_ms].map(|ms| format!("{ms:.1} ms"));
            let cells = [row.name.to_owned(), row.calls.to_string(), failed];
            table.row(cells.into_iter().chain(times));
        }
        let mut text = table.render();
        self.tell(&mut text, certificate);
        text
    }

    fn tell(&self, text: &mut String, certificate: &Certificate) {
        // Writing to a string cannot fail.
        for row in &self.steps {
            if let Some(problem) = row.problem {
                let _ = writeln!(text, "\nNot done: {}: {problem}", row.name);
            }
        }
        if !self.failed_calls.is_empty() {
            let _ = writeln!(text, "\nFailed calls:");
        }
        for line in &self.failed_calls {
            let _ = writeln!(text, "  {line}");
        }
        if self.failures > self.failed_calls.len() {
            let _ = writeln!(text, "  ... {} more", self.failures - self.failed_calls.len());
        }
        if !certificate.unchecked.is_empty() {
            let _ = writeln!(text, "\nNot checked, as they take a person (--interactive):");
        }
        for (name, what) in &certificate.unchecked {
            let _ = writeln!(text, "  {name}: {what}");
        }
        if certificate.report.late() > LATE {
            let late = self.late_ms;
            let _ = writeln!(
                text,
                "\nThis machine was busy: calls were made up to {late:.0} ms late, which the times contain."
            );
        }
    }
}

impl<'a> Row<'a> {
    fn new(certificate: &'a Certificate, step: usize, name: &'a str) -> Self {
        let figures = certificate.report.figures(step);
        let Figures { calls, failures: all, p50, p99, max } = figures;
        let failures = certificate.failures(step);
        let problem = certificate.problems.iter().find(|(at, _)| *at == step);
        Self {
            name,
            calls,
            failures,
            excused: all - failures,
            p50_ms: ms(p50),
            p99_ms: ms(p99),
            max_ms: ms(max),
            problem: problem.map(|(_, problem)| &**problem),
        }
    }
}

/// Milliseconds with two digits after the point.
fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}
