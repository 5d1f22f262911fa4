//! Tells the gateway that leads what this one has to do, every second.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use relay::Tls;
use reqwest::redirect;
use tokio::time::{MissedTickBehavior, interval};

use super::Lead;
use super::letter::{Counts, Letter, Note};
use crate::directory::{Directory, Entry};
use crate::scaling::Record;

/// Time between two letters.
const ROUND: Duration = Duration::from_secs(1);
/// Longest wait for an answer of another gateway.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Most functions in one letter; those that were never told of come first.
const MAX_FUNCTIONS: usize = 5000;
/// Most decisions in one letter.
const MAX_NOTES: usize = 1000;
/// Largest answer that is passed on, in bytes.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// Names the gateway that asks, so that what it asks for is not passed on once more.
pub const PEER_HEADER: &str = "x-flint-peer";

/// Asks other gateways.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    me: String,
    /// What lets this gateway in there, as it lets clients in here.
    credentials: Option<HeaderValue>,
}

/// Why another gateway does not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It knows nothing of this one.
    #[error("it does not know this gateway")]
    Stranger,
    /// It says no, or nothing.
    #[error("{0}")]
    Other(String),
}

/// An answer that is passed on.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// What kind of body it has.
    pub content_type: Option<HeaderValue>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Client {
    /// Of the gateway with this name, and the certificate that all of them have, if they do.
    ///
    /// # Errors
    /// When no client can be made of that.
    pub fn new(
        me: String,
        credentials: Option<HeaderValue>,
        tls: Option<&Tls>,
    ) -> reqwest::Result<Self> {
        let builder = reqwest::Client::builder()
            .timeout(TIMEOUT)
            // What answers is what was named, and nothing that the environment puts between.
            .no_proxy()
            .redirect(redirect::Policy::none());
        let builder = match tls.map(Tls::among_equals) {
            Some(Ok(equals)) => builder.tls_backend_preconfigured(equals),
            // Nobody else is trusted, so a machine without certificates will do.
            Some(Err(_)) | None => builder.tls_certs_only([]),
        };
        Ok(Self { http: builder.build()?, me, credentials })
    }

    /// Has a letter delivered.
    pub async fn tell(&self, url: &str, letter: &Letter) -> Result<(), Failure> {
        let body = serde_json::to_vec(letter).map_err(|error| Failure::Other(error.to_string()))?;
        let request = self.request(Method::PUT, &self.own_page(url)).body(body);
        done(request.header(CONTENT_TYPE, "application/json")).await
    }

    /// Says that this gateway has ended.
    pub async fn goodbye(&self, url: &str) -> Result<(), Failure> {
        done(self.request(Method::DELETE, &self.own_page(url))).await
    }

    /// Asks for what this gateway was asked for, in the name of who asked.
    pub async fn ask(
        &self,
        url: &str,
        path_and_query: &str,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, Failure> {
        let page = format!("{}{path_and_query}", url.trim_end_matches('/'));
        let mut request = self.http.get(page).header(PEER_HEADER, &self.me);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let mut response = request.send().await.map_err(explain)?;
        let (status, mut body) = (response.status(), Vec::new());
        let content_type = response.headers().get(CONTENT_TYPE).cloned();
        while let Some(chunk) = response.chunk().await.map_err(explain)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER_BYTES {
                let text = format!("it answers more than {MAX_ANSWER_BYTES} bytes");
                return Err(Failure::Other(text));
            }
        }
        Ok(Answer { status, content_type, body })
    }

    fn own_page(&self, url: &str) -> String {
        format!("{}/system/peers/{}", url.trim_end_matches('/'), self.me)
    }

    fn request(&self, method: Method, page: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, page);
        match &self.credentials {
            Some(credentials) => request.header(AUTHORIZATION, credentials),
            None => request,
        }
    }
}

async fn done(request: reqwest::RequestBuilder) -> Result<(), Failure> {
    match request.send().await.map_err(explain)?.status() {
        status if status.is_success() => Ok(()),
        StatusCode::NOT_FOUND => Err(Failure::Stranger),
        status => Err(Failure::Other(format!("it answers {status}"))),
    }
}

/// Without the address, which the log names anyway.
fn explain(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    Failure::Other(text)
}

/// Writes to whoever leads, as long as that is another gateway.
pub struct Reporter {
    client: Client,
    lead: Lead,
    directory: Arc<Directory>,
    /// Who leads, as of the last letter.
    leader: Option<String>,
    is_first: bool,
    told: HashMap<Arc<str>, Told>,
    /// What went wrong last; said once.
    trouble: String,
}

/// What the leader knows of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    started: u64,
    /// Decisions that had been made here.
    made: u64,
}

impl Reporter {
    /// Has told nothing yet.
    pub fn new(client: Client, lead: Lead, directory: Arc<Directory>) -> Self {
        let (leader, told, trouble) = Default::default();
        Self { client, lead, directory, leader, is_first: true, told, trouble }
    }

    /// Writes every second, for ever.
    pub async fn run(mut self) {
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            self.round().await;
        }
    }

    /// Writes one letter, when another gateway leads that can be reached.
    pub async fn round(&mut self) {
        let Some((leader, Some(url))) = self.lead.elsewhere() else {
            self.begin_anew(None);
            return;
        };
        if self.leader.as_ref() != Some(&leader) {
            self.begin_anew(Some(leader));
        }
        let (letter, told, is_whole) = self.letter();
        match self.client.tell(&url, &letter).await {
            Ok(()) => {
                self.told.extend(told);
                self.is_first &= !is_whole;
                self.trouble.clear();
            }
            Err(Failure::Stranger) => self.begin_anew(self.leader.clone()),
            Err(Failure::Other(error)) => self.note(error),
        }
    }

    /// Nobody knows what was told before.
    fn begin_anew(&mut self, leader: Option<String>) {
        (self.leader, self.is_first) = (leader, true);
        self.told.clear();
    }

    /// What has changed, what is told by that, and whether that is all.
    fn letter(&mut self) -> (Letter, Vec<(Arc<str>, Told)>, bool) {
        let all = self.directory.all();
        if self.told.len() > all.len() {
            self.told.retain(|label, _| self.directory.get(label).is_some());
        }
        let mut news: Vec<_> = all.iter().filter_map(|entry| self.news(entry)).collect();
        let is_whole = news.len() <= MAX_FUNCTIONS;
        news.sort_by_key(|(label, ..)| self.told.contains_key(label));
        news.truncate(MAX_FUNCTIONS);
        let (mut functions, mut told, mut room) = (BTreeMap::new(), Vec::new(), MAX_NOTES);
        for (label, mut counts, mut now) in news {
            match room.checked_sub(counts.notes.len()) {
                Some(left) => room = left,
                // They are told next time.
                None => {
                    counts.notes.clear();
                    now.made = self.told.get(&label).map_or(0, |told| told.made);
                }
            }
            functions.insert(label.to_string(), counts);
            told.push((label, now));
        }
        (Letter { is_first: self.is_first, functions }, told, is_whole)
    }

    /// What there is to tell of a function, if there is anything.
    fn news(&self, entry: &Entry) -> Option<(Arc<str>, Counts, Told)> {
        let before = self.told.get(&entry.label).copied().unwrap_or_default();
        let metrics = &entry.live.metrics;
        let started = metrics.started.get();
        let in_flight = u64::try_from(metrics.in_flight.get()).unwrap_or(0);
        let (made, records) = entry.live.journal.made_since(before.made);
        if started == before.started && in_flight == 0 && records.is_empty() {
            return None;
        }
        let note = |record: Record| Note { at: record.last, decision: record.what };
        let notes = records.into_iter().map(note).collect();
        Some((entry.label.clone(), Counts { started, in_flight, notes }, Told { started, made }))
    }

    fn note(&mut self, error: String) {
        if self.trouble != error {
            let leader = self.leader.as_deref().unwrap_or_default();
            tracing::warn!(leader, error, "the gateway that leads does not hear this one's calls");
            self.trouble = error;
        }
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
