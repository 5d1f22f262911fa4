//! A load with a fixed timetable: calls are made when they are due, whether those before them have
//! ended or not, so that a gateway that stalls is not spared.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use reqwest::Client;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::call::{self, Answer, Call, Connection};
use super::outcome::{Failure, Outcome, Report, Step};
use crate::gateway::{Trust, client_builder};
use crate::output;

/// Longest that a call may take: above what any platform waits for a replica, so that what ends it
/// is the platform's own word.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a connection lies unused before it is closed; gateways keep theirs longer.
const IDLE: Duration = Duration::from_secs(20);
/// What bounds a load. What would be above the calls in flight is counted as failed.
const LIMITS: Limits = Limits { in_flight: 4000, calls: 4_000_000 };
/// Highest rate, in calls a second.
const MOST_PER_SECOND: u32 = 10_000;

/// What the n-th call is.
pub type Script = Arc<dyn Fn(u64) -> Call + Send + Sync>;

/// Which calls are made, where, and how often.
#[derive(Clone)]
pub struct Plan {
    /// The gateway's URL, without a slash at the end.
    pub url: String,
    /// Which TLS certificates are taken.
    pub trust: Trust,
    /// Calls a second.
    pub per_second: u32,
    /// What the n-th call is.
    pub script: Script,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (url, rate) = (&self.url, self.per_second);
        f.debug_struct("Plan").field("url", url).field("per_second", &rate).finish_non_exhaustive()
    }
}

/// What bounds a load.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Most calls that have not ended.
    in_flight: usize,
    /// Most calls in all.
    calls: u64,
}

/// A running load. It has a thread of its own, so that whoever changes things meanwhile may block.
/// Dropping it ends it without waiting for its calls.
#[derive(Debug)]
pub struct Load {
    book: Arc<Book>,
    thread: Option<JoinHandle<()>>,
}

/// What a load and its thread share.
#[derive(Debug)]
struct Book {
    pages: Mutex<Pages>,
    /// Sent to at the end of each call.
    ended: watch::Sender<()>,
    phase: watch::Sender<Phase>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Calls are made.
    Running,
    /// None are, for a while.
    Paused,
    /// Those that were made are waited for.
    Ending,
    /// They are not.
    Dropped,
    /// All have ended, and there will be no more.
    Over,
}

#[derive(Debug, Default)]
struct Pages {
    steps: Vec<Step>,
    outcomes: Vec<Outcome>,
    /// Calls that were made.
    made: u64,
}

impl Load {
    /// Starts a load, in a first step of this name.
    pub fn start(plan: Plan, step: &str) -> Result<Self> {
        allow_open_files();
        Self::within(LIMITS, plan, step)
    }

    fn within(limits: Limits, plan: Plan, step: &str) -> Result<Self> {
        let highest = MOST_PER_SECOND;
        ensure!(plan.per_second > 0, "a load has at least one call a second");
        ensure!(plan.per_second <= highest, "a load has at most {highest} calls a second");
        let clients = Clients::new(&plan)?;
        let book = Arc::new(Book {
            pages: Mutex::default(),
            ended: watch::Sender::new(()),
            phase: watch::Sender::new(Phase::Running),
        });
        book.step(step);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let of_thread = book.clone();
        let run = move || runtime.block_on(run((plan, limits), clients, of_thread));
        let thread = std::thread::Builder::new().name("load".to_owned()).spawn(run);
        let thread = Some(thread.context("the load has no thread")?);
        Ok(Self { book, thread })
    }

    /// Calls that are made from now on belong to a step of this name.
    pub fn step(&self, name: &str) {
        self.book.step(name);
    }

    /// Waits until so many calls that are made from now on have ended.
    pub async fn calls(&self, count: u64) -> Result<()> {
        let (first, from) = self.book.now();
        self.book.wait(from, count, |number| number >= first).await
    }

    /// Waits until every call that was made up to now has ended.
    pub async fn settled(&self) -> Result<()> {
        let (next, _) = self.book.now();
        self.book.wait(0, next, |number| number < next).await
    }

    /// Makes no calls until [`Load::resume`]: those that would have been due are left out.
    pub fn pause(&self) {
        self.book.phase.send_replace(Phase::Paused);
    }

    /// Goes on after [`Load::pause`].
    pub fn resume(&self) {
        self.book.phase.send_replace(Phase::Running);
    }

    /// Calls that failed so far.
    pub fn failures(&self) -> usize {
        self.book.pages().outcomes.iter().filter(|outcome| outcome.failure.is_some()).count()
    }

    /// Makes no more calls, waits for those that were made, and tells what became of all.
    pub async fn stop(mut self) -> Result<Report> {
        self.book.phase.send_replace(Phase::Ending);
        if let Some(thread) = self.thread.take() {
            let joined = tokio::task::spawn_blocking(|| thread.join()).await?;
            joined.map_err(|_| anyhow!("the load's thread has panicked"))?;
        }
        let mut pages = self.book.pages();
        let (steps, outcomes) =
            (std::mem::take(&mut pages.steps), std::mem::take(&mut pages.outcomes));
        Ok(Report { steps, outcomes })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.book.phase.send_replace(Phase::Dropped);
        if let Some(thread) = self.thread.take() {
            // A panic of it has been told already.
            let _ = thread.join();
        }
    }
}

impl Book {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, name: &str) {
        self.pages().steps.push(Step { name: name.to_owned(), began: Instant::now() });
    }

    /// Notes that a call is made; gives its step.
    fn made(&self) -> usize {
        let mut pages = self.pages();
        pages.made += 1;
        pages.steps.len() - 1
    }

    fn ended(&self, outcome: Outcome) {
        self.pages().outcomes.push(outcome);
        self.ended.send_replace(());
    }

    /// How many calls were made, and how many have ended.
    fn now(&self) -> (u64, usize) {
        let pages = self.pages();
        (pages.made, pages.outcomes.len())
    }

    /// Waits until so many calls have ended whose number is wanted, beginning with the one that was
    /// the `from`-th to end.
    async fn wait(&self, mut from: usize, count: u64, wanted: impl Fn(u64) -> bool) -> Result<()> {
        let mut ended = self.ended.subscribe();
        let mut seen = 0;
        loop {
            let is_over = *self.phase.borrow() == Phase::Over;
            {
                let pages = self.pages();
                let new = &pages.outcomes[from..];
                seen += new.iter().filter(|outcome| wanted(outcome.number)).count() as u64;
                from = pages.outcomes.len();
            }
            if seen >= count {
                return Ok(());
            }
            ensure!(!is_over, "the load ended {} calls too early", count - seen);
            ended.changed().await?;
        }
    }

    async fn reached(&self, phases: &[Phase]) {
        // The sender lives as long as this does.
        let _ = self.phase.subscribe().wait_for(|phase| phases.contains(phase)).await;
    }
}

/// One client that keeps connections, and one that does not.
#[derive(Clone)]
struct Clients {
    kept: Client,
    fresh: Client,
}

impl Clients {
    fn new(plan: &Plan) -> Result<Self> {
        let client = |most_idle| {
            client_builder(&plan.url, &plan.trust)?
                .http1_only()
                .timeout(CALL_TIMEOUT)
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(most_idle)
                .build()
                .context("the HTTP client cannot start")
        };
        Ok(Self { kept: client(usize::MAX)?, fresh: client(0)? })
    }

    fn of(&self, connection: Connection) -> &Client {
        match connection {
            Connection::Kept => &self.kept,
            Connection::Fresh => &self.fresh,
        }
    }
}

async fn run(plan: (Plan, Limits), clients: Clients, book: Arc<Book>) {
    let mut calls = JoinSet::new();
    tokio::select! {
        () = make_calls(&plan, &clients, (&book, &mut calls)) => {}
        () = book.reached(&[Phase::Ending, Phase::Dropped]) => {}
    }
    let all = async { while calls.join_next().await.is_some() {} };
    tokio::select! {
        () = all => {}
        () = book.reached(&[Phase::Dropped]) => {}
    }
    book.phase.send_replace(Phase::Over);
    book.ended.send_replace(());
}

async fn make_calls(
    (plan, limits): &(Plan, Limits),
    clients: &Clients,
    (book, calls): (&Arc<Book>, &mut JoinSet<()>),
) {
    let pause = Duration::from_secs(1) / plan.per_second;
    let mut planned = Instant::now();
    for number in 0..limits.calls {
        tokio::time::sleep_until(planned.into()).await;
        if *book.phase.borrow() == Phase::Paused {
            book.reached(&[Phase::Running]).await;
            planned = Instant::now();
        }
        while calls.try_join_next().is_some() {}
        let stalled = Some(calls.len()).filter(|in_flight| *in_flight >= limits.in_flight);
        let due = Due { number, step: book.made(), planned, stalled };
        let call = (plan.script)(number);
        let client = clients.of(call.connection).clone();
        let (book, url) = (book.clone(), plan.url.clone());
        calls.spawn(async move { book.ended(due.make(&client, &url, call).await) });
        planned += pause;
    }
}

/// Each call in flight is an open file, and the usual limit is low only for programs of old.
fn allow_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        output::warn(&format!("the limit of open files stays as it is: {error}"));
    }
}

/// A call that is due.
struct Due {
    number: u64,
    step: usize,
    planned: Instant,
    /// How many calls are in flight, when these are too many.
    stalled: Option<usize>,
}

impl Due {
    async fn make(self, client: &Client, url: &str, call: Call) -> Outcome {
        let Self { number, step, planned, stalled } = self;
        let sent = Instant::now();
        let mut answer = Answer::default();
        let failure = match stalled {
            None => call::make(client, url, call.clone(), &mut answer).await.err(),
            Some(in_flight) => Some(Failure::Stalled(in_flight)),
        };
        let (answered, replica, ended) = (answer.began, answer.replica, Instant::now());
        Outcome { number, step, call, planned, sent, ended, answered, replica, failure }
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
