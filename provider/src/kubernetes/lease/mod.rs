//! Which gateway leads: the one that holds a Lease (`coordination.k8s.io/v1`).
//!
//! A watch tells every candidate what becomes of the lease, so that one that is given back is taken
//! at once; its holder writes it every two seconds. What a write replaces must be what was read, so
//! of two that claim it at the same time one is refused.

mod election;

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{self, OptionFuture};
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watch_object};
use kube::{Client, Error};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use self::election::{Claim, DURATION, Election, Record};
use crate::Leadership;

/// The annotation of a lease that says where its holder is reached.
const PEER_URL: &str = "flint.dev/peer-url";
/// The label that says whose objects they are.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Longest wait for one answer about the lease.
const REQUEST: Duration = Duration::from_secs(3);
/// The answer to a write whose lease is not what it was, or is there already.
const CONFLICT: u16 = 409;
/// The answer to a write whose lease is gone.
const GONE: u16 = 404;

/// What a candidate is.
#[derive(Clone, Debug)]
pub struct ElectionConfig {
    /// The cluster's namespace of the lease.
    pub namespace: String,
    /// The lease's name; all candidates for it have the same.
    pub name: String,
    /// Who this is. No other process may ever have the same, so a part of it is random.
    pub identity: String,
    /// Where the others reach this one, once it leads.
    pub url: Option<String>,
}

/// One that wants to lead, as long as this is kept.
pub struct Candidacy {
    leadership: watch::Receiver<Leadership>,
    resign: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What the task of a candidacy works on.
struct Campaign {
    config: ElectionConfig,
    leases: Api<Lease>,
    election: Election,
    /// When this one became the holder, for people who read the lease.
    acquired: Option<Timestamp>,
    told: watch::Sender<Leadership>,
    /// What went wrong last; said once.
    trouble: String,
}

/// Begins to want to lead. It takes no part in anything before it has read the lease.
pub fn campaign(client: Client, config: ElectionConfig) -> Candidacy {
    let (told, leadership) = watch::channel(Leadership::default());
    let (resign, resigned) = watch::channel(false);
    let leases = Api::namespaced(client, &config.namespace);
    let changes = watch_object(leases.clone(), &config.name).default_backoff().boxed();
    let election = Election::new(config.identity.clone());
    let (acquired, trouble) = Default::default();
    let campaign = Campaign { config, leases, election, acquired, told, trouble };
    let task = tokio::spawn(campaign.run(changes, resigned));
    Candidacy { leadership, resign, task }
}

impl Candidacy {
    /// Who leads, from now on.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Leads no more and never again, and gives the lease back, so that another one takes it at
    /// once. Goes on to tell who leads.
    pub async fn resign(&self) {
        if self.resign.send(true).is_err() {
            return;
        }
        // What is on its way is waited for first. When it takes too long, others wait for the lease.
        let _in_time = timeout(REQUEST * 2, self.resign.closed()).await;
    }
}

impl Drop for Candidacy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Changes = BoxStream<'static, watcher::Result<Option<Lease>>>;

impl Campaign {
    async fn run(mut self, mut changes: Changes, resigned: watch::Receiver<bool>) {
        let mut resigned = Some(resigned);
        loop {
            let due = OptionFuture::from(self.election.due().map(sleep_until));
            let leads_until = self.election.leads_until(Instant::now());
            let over = OptionFuture::from(leads_until.map(sleep_until));
            let order = OptionFuture::from(resigned.as_mut().map(told_to_resign));
            tokio::select! {
                Some(change) = changes.next() => self.take_in(change).await,
                Some(()) = due => self.claim().await,
                Some(()) = over => tracing::warn!("leading no more: the lease was not prolonged in time"),
                Some(()) = order => {
                    self.give_back().await;
                    // Whoever waits for that sees that nobody listens any more.
                    resigned = None;
                }
            }
            self.tell();
        }
    }

    async fn take_in(&mut self, change: watcher::Result<Option<Lease>>) {
        match change {
            Ok(lease) => self.election.observe(lease.map(record), Instant::now()),
            Err(error) => {
                self.note(&error);
                self.refresh(Instant::now() + REQUEST).await;
            }
        }
    }

    /// Prolongs the lease, or takes one that is free.
    async fn claim(&mut self) {
        let sent = Instant::now();
        let limit = self.limit(sent);
        let claim = self.election.claim(sent);
        if claim.is_new {
            self.acquired = Some(Timestamp::now());
        }
        let lease = self.lease(&claim, &self.config.identity);
        match self.write(&claim, lease, limit).await {
            Ok(lease) => {
                self.election.won(record(lease), sent);
                self.trouble.clear();
            }
            Err(Refusal::Overtaken) => self.refresh(limit).await,
            Err(Refusal::Failed(error)) => self.note(&error),
        }
    }

    /// Stops leading, and only then lets others.
    async fn give_back(&mut self) {
        let limit = Instant::now() + REQUEST;
        let mut claim = self.election.resign();
        self.tell();
        // A write that was not answered may have made the lease another one than is known here.
        for _ in 0..2 {
            let Some(given) = claim.take() else { return };
            let lease = self.lease(&given, "");
            match self.write(&given, lease, limit).await {
                Ok(lease) => self.election.read(Some(record(lease)), Instant::now()),
                Err(Refusal::Overtaken) => {
                    self.refresh(limit).await;
                    claim = self.election.resign();
                }
                Err(Refusal::Failed(error)) => self.note(&error),
            }
        }
    }

    /// Until when an answer is of any use.
    fn limit(&self, sent: Instant) -> Instant {
        let limit = sent + REQUEST;
        self.election.leads_until(sent).map_or(limit, |until| until.min(limit))
    }

    /// Reads the lease as it is now.
    async fn refresh(&mut self, limit: Instant) {
        let read = timeout_at(limit, self.leases.get_opt(&self.config.name)).await;
        match read {
            Ok(Ok(lease)) => self.election.read(lease.map(record), Instant::now()),
            Ok(Err(error)) => self.note(&error),
            Err(_) => self.note(&"the API server does not answer in time"),
        }
    }

    async fn write(&self, claim: &Claim, lease: Lease, limit: Instant) -> Result<Lease, Refusal> {
        let (name, params) = (&self.config.name, PostParams::default());
        let write = async {
            match claim.version {
                Some(_) => self.leases.replace(name, &params, &lease).await,
                None => self.leases.create(&params, &lease).await,
            }
        };
        match timeout_at(limit, write).await {
            Ok(Ok(lease)) => Ok(lease),
            Ok(Err(Error::Api(status))) if is_overtaken(claim, status.code) => {
                Err(Refusal::Overtaken)
            }
            Ok(Err(error)) => Err(Refusal::Failed(error.to_string())),
            Err(_) => Err(Refusal::Failed("the API server does not answer in time".to_owned())),
        }
    }

    /// The lease as it is to be.
    fn lease(&self, claim: &Claim, holder: &str) -> Lease {
        let url = self.config.url.clone().filter(|_| !holder.is_empty());
        let seconds = i32::try_from(DURATION.as_secs()).unwrap_or(i32::MAX);
        Lease {
            metadata: ObjectMeta {
                name: Some(self.config.name.clone()),
                resource_version: claim.version.clone(),
                // One that is there was made by somebody who has an opinion about its labels.
                labels: claim
                    .version
                    .is_none()
                    .then(|| [(MANAGED_BY.to_owned(), "flint".to_owned())].into()),
                annotations: url.map(|url| [(PEER_URL.to_owned(), url)].into()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(seconds),
                acquire_time: self.acquired.map(MicroTime),
                renew_time: Some(MicroTime(Timestamp::now())),
                lease_transitions: Some(claim.transitions),
                ..LeaseSpec::default()
            }),
        }
    }

    /// Tells who leads. That it is still this one is no news.
    fn tell(&self) {
        let seen = self.leadership();
        self.told.send_if_modified(|told| {
            let (was, is) = (told.leader == seen.leader, told.leader_url == seen.leader_url);
            if !was {
                let leader = seen.leader.as_deref().unwrap_or("nobody");
                tracing::info!(leader, me = seen.is_leader(), "another gateway leads");
            }
            *told = seen;
            !(was && is)
        });
    }

    fn leadership(&self) -> Leadership {
        let me = &self.config.identity;
        if let Some(until) = self.election.leads_until(Instant::now()) {
            return Leadership::of(me.clone(), self.config.url.clone()).until(until);
        }
        // Who has let its time go by without a word does not lead, whatever the lease says.
        match self.election.holder().filter(|lease| lease.holder != *me) {
            Some(lease) => Leadership::of(lease.holder.clone(), lease.url.clone()),
            None => Leadership::default(),
        }
    }

    fn note(&mut self, error: &dyn std::fmt::Display) {
        let error = error.to_string();
        if self.trouble != error {
            let lease = format!("{}/{}", self.config.namespace, self.config.name);
            tracing::warn!(lease, error, "the lease that says who leads cannot be used");
            self.trouble = error;
        }
    }
}

/// Why a lease was not written.
enum Refusal {
    /// It is not what it was when it was read.
    Overtaken,
    /// The API server does not answer, or says no.
    Failed(String),
}

/// Whether another one came first. A lease that cannot be made has no namespace.
fn is_overtaken(claim: &Claim, code: u16) -> bool {
    code == CONFLICT || (code == GONE && claim.version.is_some())
}

async fn told_to_resign(resigned: &mut watch::Receiver<bool>) {
    // Without an order the candidacy has ended, and its task with it.
    if resigned.wait_for(|resigned| *resigned).await.is_err() {
        future::pending::<()>().await;
    }
}

fn record(lease: Lease) -> Record {
    let spec = lease.spec.unwrap_or_default();
    let annotations = lease.metadata.annotations.unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        url: annotations.get(PEER_URL).cloned(),
        version: lease.metadata.resource_version.unwrap_or_default(),
        duration: Duration::from_secs(seconds.unwrap_or_default()),
        transitions: spec.lease_transitions.unwrap_or_default(),
    }
}
