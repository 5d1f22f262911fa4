//! Loads that a Prometheus knows: instant queries, each answered for all functions at once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::{Client, Url, redirect};
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Time between two rounds of queries.
const ROUND: Duration = Duration::from_secs(5);
/// Longest wait for an answer, which Prometheus is told too.
const TIMEOUT: Duration = Duration::from_secs(3);
/// After so long an answer says nothing about now.
const STALE: Duration = Duration::from_secs(15);
/// Largest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// The label that says whose value it is: `name.namespace` (contract 4.2).
const LABEL: &str = "function_name";
/// Queries of the types that are there without being configured (contract 4.2).
const BUILT_IN: [(&str, &str); 2] = [
    ("rps", "ceil(sum by (function_name) (rate(gateway_function_invocation_total[30s])))"),
    (
        "capacity",
        "ceil(sum by (function_name) (max_over_time(gateway_function_invocation_inflight[45s:5s])))",
    ),
];

/// A Prometheus, and what it is asked.
#[derive(Clone, Debug)]
pub struct Queries {
    /// Its address, such as `http://127.0.0.1:9090`.
    pub url: Url,
    /// Queries by the name that functions have as their type.
    pub by_name: BTreeMap<String, String>,
}

/// What a Prometheus knows of all functions, a few seconds old.
pub(super) struct Prometheus {
    queries: Queries,
    client: Client,
    /// Names of the queries that functions are scaled by, and when that was so last.
    wanted: Mutex<BTreeMap<String, Instant>>,
    answers: Mutex<HashMap<String, Answer>>,
}

/// The last answer to one query.
struct Answer {
    /// When it came, if any did.
    at: Option<Instant>,
    values: HashMap<String, f64>,
    /// Why the last one was none.
    error: Option<String>,
}

/// What an instant query is answered.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    #[serde(default)]
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Series {
    metric: HashMap<String, String>,
    /// Seconds, and a number as text.
    value: (f64, String),
}

impl Prometheus {
    /// Asks nothing yet.
    pub(super) fn new(queries: Queries) -> reqwest::Result<Self> {
        let client = Client::builder()
            .timeout(TIMEOUT)
            // What answers is what was named, and nothing that the environment puts between.
            .no_proxy()
            .redirect(redirect::Policy::none());
        let client = match queries.url.scheme() {
            // A machine without certificates will do.
            "http" => client.tls_certs_only([]).build()?,
            _ => client.build()?,
        };
        let (wanted, answers) = Default::default();
        Ok(Self { queries, client, wanted, answers })
    }

    /// The load of a function by a query of this name, or why it is not known.
    pub(super) fn load(&self, query: &str, function: &str) -> Result<f64, String> {
        if self.expression(query).is_none() {
            return Err(not_configured(query));
        }
        locked(&self.wanted).insert(query.to_owned(), Instant::now());
        let answers = locked(&self.answers);
        let Some(answer) = answers.get(query) else {
            return Err("Prometheus was not asked yet".to_owned());
        };
        let is_fresh = answer.at.is_some_and(|at| at.elapsed() <= STALE);
        match answer.values.get(function) {
            Some(value) if is_fresh => Ok(*value),
            None if is_fresh => Err(format!("Prometheus has no {query} of it")),
            _ => Err(answer.error.clone().unwrap_or_else(|| "no answer lately".to_owned())),
        }
    }

    /// Asks for what is wanted, every few seconds, for ever.
    pub(super) async fn follow(&self) {
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            let wanted: Vec<String> = {
                let mut wanted = locked(&self.wanted);
                wanted.retain(|_, asked| asked.elapsed() <= STALE);
                wanted.keys().cloned().collect()
            };
            locked(&self.answers).retain(|query, _| wanted.contains(query));
            for query in wanted {
                self.refresh(&query).await;
            }
        }
    }

    async fn refresh(&self, query: &str) {
        let Some(expression) = self.expression(query) else { return };
        let result = self.ask(expression).await;
        let mut answers = locked(&self.answers);
        let empty = || Answer { at: None, values: HashMap::new(), error: None };
        let answer = answers.entry(query.to_owned()).or_insert_with(empty);
        match result {
            Ok(values) => {
                *answer = Answer { at: Some(Instant::now()), values, error: None };
            }
            Err(error) => {
                if answer.error.as_ref() != Some(&error) {
                    tracing::warn!(query, error, "Prometheus does not tell the load");
                }
                answer.error = Some(error);
            }
        }
    }

    fn expression(&self, query: &str) -> Option<&str> {
        let configured = self.queries.by_name.get(query).map(String::as_str);
        configured.or_else(|| BUILT_IN.iter().find(|(name, _)| *name == query).map(|(_, e)| *e))
    }

    async fn ask(&self, expression: &str) -> Result<HashMap<String, f64>, String> {
        let base = self.queries.url.as_str().trim_end_matches('/');
        let timeout = format!("{}s", TIMEOUT.as_secs());
        let request = self.client.get(format!("{base}/api/v1/query"));
        let request = request.query(&[("query", expression), ("timeout", &timeout)]);
        let mut response = request.send().await.map_err(explain)?;
        let (status, mut body) = (response.status(), Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(explain)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER_BYTES {
                return Err(format!("Prometheus answers more than {MAX_ANSWER_BYTES} bytes"));
            }
        }
        values(&body).map_err(|error| match status.is_success() {
            true => error,
            false => format!("{error} (status {})", status.as_u16()),
        })
    }
}

/// Why a type cannot be asked for.
pub(super) fn not_configured(query: &str) -> String {
    format!("no query {query:?} is configured: name it with --scaling-query and --prometheus-url")
}

/// The values of an answer, by function.
fn values(body: &[u8]) -> Result<HashMap<String, f64>, String> {
    let reply: Reply =
        serde_json::from_slice(body).map_err(|_| "the answer is not Prometheus's".to_owned())?;
    let Some(data) = reply.data else { return Err(format!("Prometheus: {}", reply.error)) };
    if data.result_type != "vector" {
        return Err(format!("the query gives a {}, not an instant vector", data.result_type));
    }
    let series: Vec<Series> = serde_json::from_value(data.result)
        .map_err(|error| format!("the answer cannot be read: {error}"))?;
    let mut values = HashMap::new();
    for Series { metric, value: (_, value) } in series {
        let Some(function) = metric.get(LABEL) else {
            return Err(format!("the query gives series without the label {LABEL}"));
        };
        if values.contains_key(function) {
            return Err(format!("the query gives several series of {function}: sum them"));
        }
        match value.parse::<f64>() {
            Ok(number) if number.is_finite() => values.insert(function.clone(), number),
            _ => continue,
        };
    }
    Ok(values)
}

/// Without the address, which may hold a password.
fn explain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = format!("Prometheus cannot be asked: {error}");
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "prometheus_tests.rs"]
mod tests;
