//! A real Prometheus that watches a gateway, and a real Alertmanager that tells the gateway.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::gateway::Gateway;

/// Lines of complaint that are shown.
const LINES: usize = 10;

/// Both of them; they end with this.
pub struct Alerting {
    children: Vec<Child>,
    dir: TempDir,
}

impl Alerting {
    /// Starts both for this gateway. They look every second, where an installation takes five or
    /// more.
    pub fn start(gateway: &Gateway) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let manager = free_address()?;
        let mut alerting = Self { children: Vec::new(), dir };
        let dir = alerting.dir.path().to_owned();
        std::fs::write(dir.join("rules.yml"), RULES)?;
        std::fs::write(dir.join("prometheus.yml"), watch(gateway, &manager))?;
        std::fs::write(dir.join("alertmanager.yml"), tell(gateway)?)?;
        let storage = |name: &str| dir.join(name).display().to_string();
        alerting.spawn(
            "prometheus-alertmanager",
            &dir,
            &[
                "--config.file=alertmanager.yml",
                &format!("--storage.path={}", storage("alertmanager")),
                &format!("--web.listen-address={manager}"),
                "--cluster.listen-address=",
            ],
        )?;
        alerting.spawn(
            "prometheus",
            &dir,
            &[
                "--config.file=prometheus.yml",
                &format!("--storage.tsdb.path={}", storage("prometheus")),
                &format!("--web.listen-address={}", free_address()?),
            ],
        )?;
        Ok(alerting)
    }

    fn spawn(&mut self, program: &str, dir: &Path, args: &[&str]) -> Result<()> {
        let log = std::fs::File::create(dir.join(format!("{program}.log")))?;
        let mut command = Command::new(program);
        command.args(args).current_dir(dir).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let child = command.spawn();
        self.children.push(child.with_context(|| format!("{program}: run tests/setup"))?);
        Ok(())
    }

    /// What both complained of last, for a test that fails.
    pub fn complaints(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.dir.path().join(name));
        let logs = ["prometheus.log", "prometheus-alertmanager.log"].map(read);
        let text: String = logs.into_iter().map(Result::unwrap_or_default).collect();
        let lines: Vec<_> = text.lines().filter(|line| !line.contains("level=info")).collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

impl Drop for Alerting {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The rule that installations have (contract 4.3), which fires sooner.
const RULES: &str = r#"
groups:
  - name: load
    rules:
      - alert: APIHighInvocationRate
        expr: sum(rate(gateway_function_invocation_total{code="200"}[10s])) by (function_name) > 5
        for: 1s
        labels: { service: gateway, severity: major }
"#;

fn watch(gateway: &Gateway, manager: &str) -> String {
    let target = gateway.metrics_url.trim_start_matches("http://");
    format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
         rule_files: [rules.yml]\n\
         scrape_configs:\n\
         \x20 - job_name: gateway\n\
         \x20   static_configs: [{{ targets: ['{target}'] }}]\n\
         alerting:\n\
         \x20 alertmanagers:\n\
         \x20   - static_configs: [{{ targets: ['{manager}'] }}]\n"
    )
}

fn tell(gateway: &Gateway) -> Result<String> {
    let (url, password) = (&gateway.url, gateway.password()?);
    Ok(format!(
        "route:\n\
         \x20 receiver: scale\n\
         \x20 group_by: [alertname, cluster, service]\n\
         \x20 group_wait: 1s\n\
         \x20 group_interval: 1s\n\
         \x20 repeat_interval: 2s\n\
         receivers:\n\
         \x20 - name: scale\n\
         \x20   webhook_configs:\n\
         \x20     - url: {url}/system/alert\n\
         \x20       send_resolved: true\n\
         \x20       http_config: {{ basic_auth: {{ username: admin, password: '{password}' }} }}\n"
    ))
}

/// An address of loopback that was free a moment ago.
fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
