//! A real Prometheus of a test's own, and what is asked of it.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for Prometheus to answer, and for an answer to be there.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// The file of what it scrapes, for those whose addresses are known only later.
pub const TARGETS: &str = "targets.json";

/// A Prometheus. One that was started runs until it is dropped.
pub struct Prometheus {
    own: Option<Own>,
    url: String,
    http: reqwest::Client,
}

/// What there is of one that was started.
struct Own {
    child: Child,
    folder: TempDir,
}

/// A series of an answer: its labels as JSON, and its value.
pub type Sample = (Value, f64);

impl Prometheus {
    /// Starts one with this configuration, which can name `rules.yml` as a file of rules.
    pub async fn start(config: &str, rules: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("prometheus.yml"), config)?;
        std::fs::write(folder.path().join("rules.yml"), rules)?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        // It cannot take any port and say which: another may take this one in between, then the
        // test fails loudly.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new("prometheus")
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start prometheus: tests/setup installs it")?;
        let url = format!("http://127.0.0.1:{port}");
        let own = Some(Own { child, folder });
        let mut prometheus = Self { own, url, http: reqwest::Client::new() };
        prometheus.ready().await?;
        Ok(prometheus)
    }

    /// One that answers there.
    pub fn at(url: String) -> Self {
        Self { own: None, url, http: reqwest::Client::new() }
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Has it scrape these addresses, where its configuration reads [`TARGETS`].
    pub fn scrape(&self, targets: &[&str]) -> Result<()> {
        let own = self.own.as_ref().context("it was not started here")?;
        let path = own.folder.path().join(TARGETS);
        let new = path.with_extension("new");
        std::fs::write(&new, serde_json::json!([{ "targets": targets }]).to_string())?;
        std::fs::rename(new, path).context("cannot tell prometheus its targets")
    }

    async fn ready(&mut self) -> Result<()> {
        let begin = Instant::now();
        loop {
            let answer = self.http.get(format!("{}/-/ready", self.url)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            let ended = self.own.as_mut().map(|own| own.child.try_wait()).transpose()?.flatten();
            if ended.is_some() || begin.elapsed() > PATIENCE {
                bail!("prometheus is not ready:\n{}", self.log());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What it wrote, if it was started here.
    pub fn log(&self) -> String {
        let log = self.own.as_ref().map(|own| own.folder.path().join("log"));
        log.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default()
    }

    /// Asks its API; the path is below `/api/v1/`.
    pub async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let request = self.http.get(format!("{}/api/v1/{path}", self.url)).query(query);
        let answer: Value = request.send().await?.json().await?;
        ensure!(answer["status"] == "success", "{path} {query:?}: {answer}");
        Ok(answer["data"].clone())
    }

    /// What an expression is now.
    pub async fn query(&self, expression: &str) -> Result<Vec<Sample>> {
        let data = self.ask("query", &[("query", expression)]).await?;
        let result = data["result"].as_array().context("no result")?;
        let sample = |one: &Value| {
            let value = one["value"][1].as_str()?.parse().ok()?;
            Some((one["metric"].clone(), value))
        };
        result.iter().map(|one| sample(one).context("no value")).collect()
    }

    /// What an expression is, as soon as it is anything.
    pub async fn until(&self, expression: &str) -> Result<Vec<Sample>> {
        let begin = Instant::now();
        loop {
            let found = self.query(expression).await?;
            if !found.is_empty() {
                return Ok(found);
            }
            if begin.elapsed() > PATIENCE {
                bail!("nothing for {expression}; targets: {:#}", self.ask("targets", &[]).await?);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if let Some(own) = &mut self.own {
            let _ = own.child.kill();
            let _ = own.child.wait();
        }
    }
}
