//! The check itself: one change after another while calls go on.

use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use provider::Function;
use reqwest::StatusCode;
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin, stdin};
use tokio::time::{Instant, sleep, timeout};

use super::{Load, Outcome, Plan, Report, Subject};
use crate::deploy::{self, deploy_quietly, watch_until_ready};
use crate::error::hinted;
use crate::gateway::{Gateway, Seen, Trust};
use crate::output;

/// Time between two looks at what the API has no events for.
const LOOK: Duration = Duration::from_millis(50);

/// What nobody but a person can do, and how it is put to them.
pub const BY_HAND: [(&str, &str); 3] = [
    (KILLED, "kill -9 one replica of the function (its process on the host, or delete its pod)"),
    ("gateway replaced", "start a new gateway in place of this one, or restart its deployment"),
    ("engine restarted", "restart the container engine, or the machine that runs the function"),
];
/// The change in which a replica dies with the calls that it had begun.
const KILLED: &str = "replica killed";

/// How the check goes.
#[derive(Clone, Debug)]
pub struct Options {
    /// Calls a second.
    pub rate: u32,
    /// How long calls go on after each change, at least.
    pub hold: Duration,
    /// Longest wait for a change to show.
    pub limit: Duration,
    /// How many replicas the function is scaled to.
    pub replicas: u32,
    /// Whether a person is there to do what only a person can.
    pub interactive: bool,
    /// Which TLS certificates are taken.
    pub trust: Trust,
}

/// What came of the check.
#[derive(Debug)]
pub struct Certificate {
    /// What became of each call.
    pub report: Report,
    /// Changes that did not come about, and why: by their step.
    pub problems: Vec<(usize, String)>,
    /// Changes that were not made, as nobody was there to make them.
    pub unchecked: Vec<(&'static str, &'static str)>,
}

/// A change.
#[derive(Clone, Copy, Debug)]
enum Change {
    Nothing,
    Update,
    Broken,
    Mend,
    Up,
    Down,
    Zero,
    FromZero,
    ByHand(&'static str, &'static str),
}

/// What a gateway and a function go through by themselves.
const CHANGES: [Change; 8] = [
    Change::Nothing,
    Change::Update,
    Change::Broken,
    Change::Mend,
    Change::Up,
    Change::Down,
    Change::Zero,
    Change::FromZero,
];

/// A check under way.
struct Check<'a> {
    gateway: &'a Gateway,
    subject: &'a Subject,
    options: &'a Options,
    load: Load,
    version: u32,
    lines: Lines<BufReader<Stdin>>,
}

impl Certificate {
    /// Calls that failed and had no right to, of a step: a replica that is killed takes with it
    /// what it had begun and what must not be done twice.
    pub fn failures(&self, step: usize) -> usize {
        let failed = self.report.failures();
        failed.iter().filter(|o| o.step == step && !self.is_excused(o)).count()
    }

    /// Whether a call may have been lost with a replica that a person killed. Which calls were in
    /// flight on it is not known here.
    pub fn is_excused(&self, outcome: &Outcome) -> bool {
        let step = &self.report.steps[outcome.step];
        step.name == KILLED && !outcome.could_be_sent_again()
    }

    /// Whether every change came about and no call failed.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
            && (0..self.report.steps.len()).all(|step| self.failures(step) == 0)
    }
}

/// Deploys the function and puts it, under load, through one change after another.
///
/// # Errors
/// When there is nothing to check: the function cannot be deployed, or never gets ready. Changes
/// that fail later are told in the certificate.
pub async fn certify(
    gateway: &Gateway,
    subject: &Subject,
    options: &Options,
) -> Result<Certificate> {
    let first = subject.version(0, options.replicas);
    output::talk(&format!("Deploying {}.", subject.name()));
    deploy_quietly(gateway, &first, &deploy::Options::default()).await?;
    watch_until_ready(gateway, (&first, options.limit), |_| {}).await?;
    let plan = Plan {
        url: gateway.url().trim_end_matches('/').to_owned(),
        trust: options.trust.clone(),
        per_second: options.rate,
        script: subject.script(),
    };
    let load = Load::start(plan, Change::Nothing.name())?;
    let lines = BufReader::new(stdin()).lines();
    Check { gateway, subject, options, load, version: 0, lines }.run().await
}

impl Check<'_> {
    async fn run(mut self) -> Result<Certificate> {
        let by_hand = BY_HAND.map(|(name, what)| Change::ByHand(name, what));
        let interactive = self.options.interactive;
        let changes = CHANGES.into_iter().chain(by_hand.into_iter().filter(|_| interactive));
        let mut problems = Vec::new();
        for (step, change) in changes.enumerate() {
            if step > 0 {
                self.load.step(change.name());
            }
            output::talk(&format!("Under load: {}.", change.name()));
            if let Err(error) = self.make(change).await {
                let told: Vec<_> = error.chain().map(ToString::to_string).collect();
                problems.push((step, told.join(": ")));
            }
            self.hold().await?;
        }
        let unchecked = if interactive { Vec::new() } else { BY_HAND.to_vec() };
        Ok(Certificate { report: self.load.stop().await?, problems, unchecked })
    }

    /// Calls go on for a while, and those of before come to their end.
    async fn hold(&self) -> Result<()> {
        sleep(self.options.hold).await;
        self.load.settled().await
    }

    async fn make(&mut self, change: Change) -> Result<()> {
        match change {
            Change::Nothing => Ok(()),
            Change::Update | Change::Mend => self.update().await,
            Change::Broken => self.break_it().await,
            Change::Up => self.scale(self.options.replicas).await,
            Change::Down => self.scale(1).await,
            // The calls call it back at once, so that nothing is to be waited for.
            Change::Zero => self.ask_for(0).await,
            Change::FromZero => self.sleep().await,
            Change::ByHand(_, what) => self.by_hand(what).await,
        }
    }

    async fn update(&mut self) -> Result<()> {
        self.version += 1;
        let next = self.subject.version(self.version, self.options.replicas);
        self.deploy(&next).await?;
        watch_until_ready(self.gateway, (&next, self.options.limit), |_| {}).await
    }

    /// A version that cannot start: refused at once, or never ready while the old one serves.
    async fn break_it(&self) -> Result<()> {
        let broken = self.subject.broken(self.version, self.options.replicas);
        if self.deploy(&broken).await.is_err() {
            return Ok(());
        }
        let ready = watch_until_ready(self.gateway, (&broken, self.options.limit), |_| {}).await;
        // A gateway that does not tell versions apart calls the old one ready.
        let tells = self.seen().await?.updated.is_some();
        ensure!(ready.is_err() || !tells, "a version that cannot start is said to be ready");
        Ok(())
    }

    async fn deploy(&self, function: &Function) -> Result<()> {
        let options = deploy::Options { timeout: self.options.limit, ..Default::default() };
        deploy_quietly(self.gateway, function, &options).await.map(|_| ())
    }

    async fn scale(&self, replicas: u32) -> Result<()> {
        self.ask_for(replicas).await?;
        self.until_available(u64::from(replicas)).await
    }

    /// To zero while no calls come; then they wake it.
    async fn sleep(&self) -> Result<()> {
        self.load.pause();
        let asleep = async {
            self.load.settled().await?;
            self.scale(0).await
        };
        let asleep = asleep.await;
        self.load.resume();
        asleep
    }

    async fn ask_for(&self, replicas: u32) -> Result<()> {
        let (name, namespace) = (self.subject.name(), self.subject.namespace());
        let answer = self.gateway.scale_function(name, namespace, replicas).await?;
        answer.success(&format!("cannot scale to {replicas}")).map(|_| ())
    }

    async fn until_available(&self, replicas: u64) -> Result<()> {
        let (limit, begin) = (self.options.limit, Instant::now());
        loop {
            let seen = self.seen().await?;
            if seen.available == replicas {
                return Ok(());
            }
            if begin.elapsed() > limit {
                let limit = provider::format_duration(limit);
                bail!("{} replicas, not {replicas}, take calls after {limit}", seen.available);
            }
            sleep(LOOK).await;
        }
    }

    async fn seen(&self) -> Result<Seen> {
        let seen = self.gateway.function(self.subject.name(), self.subject.namespace()).await?;
        seen.ok_or_else(|| anyhow!("the function is gone"))
    }

    async fn by_hand(&mut self, what: &str) -> Result<()> {
        let name = self.subject.name();
        output::talk(&format!("Now {what}. The function is {name}. Press Enter when it is done."));
        match self.lines.next_line().await? {
            Some(_) => Ok(()),
            None => Err(anyhow!("nobody pressed Enter: the input ended")),
        }
    }
}

impl Change {
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing changes",
            Self::Update => "rolling update",
            Self::Broken => "broken update",
            Self::Mend => "update after it",
            Self::Up => "scale up",
            Self::Down => "scale down",
            Self::Zero => "to zero under load",
            Self::FromZero => "from zero",
            Self::ByHand(name, _) => name,
        }
    }
}

/// Removes the function, also from a gateway that is just being replaced.
pub async fn clean_up(gateway: &Gateway, subject: &Subject, limit: Duration) -> Result<()> {
    let removed = async {
        loop {
            let answer = gateway.remove_function(subject.name(), subject.namespace()).await;
            match answer {
                Ok(answer) if answer.status == StatusCode::NOT_FOUND => return Ok(()),
                Ok(answer) if !answer.status.is_server_error() => {
                    return answer.success("it is not removed").map(|_| ());
                }
                _ => sleep(LOOK).await,
            }
        }
    };
    let removed = timeout(limit, removed).await;
    let name = subject.name();
    removed.unwrap_or_else(|_| Err(anyhow!("the gateway does not answer"))).map_err(|error| {
        let hint = format!("remove it when the gateway answers: `faas remove {name}`");
        hinted(format!("function {name} is left: {error:#}"), hint)
    })
}
