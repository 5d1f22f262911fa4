//! The gate: under a load of calls of many kinds, one thing after another changes, and no call may
//! fail.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use cli::certify::{Call, Content, Expect, Failure, Load, Outcome, Plan, Report, Trust};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::client::Client;
use crate::gateway::{Gateway, Replica};
use crate::load::RATE;

/// The function that is called.
const FUNCTION: &str = "gate";
/// Calls that must have ended after a change before the next one begins.
const CALLS: u64 = 100;
/// Longest wait for those calls, and for a change to show.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of a body that fits in one packet, of one that does not, and of one chunk.
const BODY_BYTES: (usize, usize, usize) = (700, 20_000, 3_000);

/// A function under load.
pub struct Gate {
    /// Its gateway.
    pub gateway: Gateway,
    /// A client of it.
    pub client: Client,
    image: String,
    load: Load,
    version: u32,
    killed: Vec<Killed>,
}

/// A replica that was killed: calls in flight on it may fail, where they cannot be sent again.
struct Killed {
    replica: Replica,
    begin: Instant,
    end: Instant,
}

impl Gate {
    /// Deploys the function and starts the load.
    pub async fn open(gateway: Gateway, client: Client, image: String) -> Result<Self> {
        client.deploy(function(&image, 0)).await?;
        // An engine of the test's own has addresses that belong to others here, so nothing is asked
        // of them.
        let on_socket = |s: &Value| s["instances"][0]["address"]["unix"].is_string();
        client.until(FUNCTION, "on its socket", on_socket).await?;
        let plan = Plan {
            url: gateway.url.clone(),
            trust: Trust::default(),
            per_second: RATE,
            script: Arc::new(call),
        };
        let load = Load::start(plan, "nothing changes")?;
        let gate = Self { gateway, client, image, load, version: 0, killed: Vec::new() };
        gate.calls_go_on().await?;
        Ok(gate)
    }

    /// Begins a step.
    pub fn step(&self, name: &str) {
        self.load.step(name);
    }

    /// Waits until as many calls have ended as a step needs to be one, and all of before it.
    pub async fn calls_go_on(&self) -> Result<()> {
        timeout(PATIENCE, self.load.settled()).await.context("calls do not end")??;
        timeout(PATIENCE, self.load.calls(CALLS)).await.context("calls do not end")?
    }

    /// A new version takes over.
    pub async fn update(&mut self) -> Result<()> {
        self.step("rolling update");
        self.deploy_next().await?;
        self.calls_go_on().await
    }

    /// A version that never gets ready, and then one that does.
    pub async fn broken_update(&mut self) -> Result<()> {
        self.step("update to a broken version");
        let mut broken = function(&self.image, self.version);
        broken["envVars"]["CRASH"] = json!("1");
        self.client.apply(&broken).await?;
        let told = |s: &Value| s["reason"].as_str().is_some_and(|r| r.contains("exit code 1"));
        self.client.until(FUNCTION, "told why", told).await?;
        self.calls_go_on().await?;
        let serves = self.client.call(&format!("{FUNCTION}/version")).await?.1;
        ensure!(serves == self.version.to_string(), "version {serves} serves");
        self.step("update from a broken version");
        self.deploy_next().await?;
        self.calls_go_on().await
    }

    /// More replicas, and fewer.
    pub async fn scale_up_and_down(&mut self) -> Result<()> {
        for (name, replicas) in [("scale 1 to 5", 5), ("scale 5 to 1", 1)] {
            self.step(name);
            self.scale(replicas).await?;
            self.calls_go_on().await?;
        }
        Ok(())
    }

    /// One of two is killed, and then the only one.
    pub async fn kill_replicas(&mut self) -> Result<()> {
        for (name, replicas) in [("one of two killed", 2), ("the only one killed", 1)] {
            self.step("scale before a kill");
            self.scale(replicas).await?;
            self.calls_go_on().await?;
            self.step(name);
            self.kill_one().await?;
            self.calls_go_on().await?;
        }
        Ok(())
    }

    /// To zero: while calls come, which call it back at once, and while none come.
    pub async fn sleep_and_wake(&mut self) -> Result<()> {
        self.step("scale to zero under load");
        self.ask_for(0).await?;
        let one = |status: &Value| status["replicas"] == 1 && status["availableReplicas"] == 1;
        self.client.until(FUNCTION, "called back", one).await?;
        self.calls_go_on().await?;
        self.step("from zero");
        let before = self.boot().await?;
        self.load.pause();
        timeout(PATIENCE, self.load.settled()).await.context("calls do not end")??;
        self.ask_for(0).await?;
        let stopped = |status: &Value| {
            let instances = status["instances"].as_array().map_or(&[][..], Vec::as_slice);
            instances.len() == 1 && instances[0]["state"] == "stopped"
        };
        self.client.until(FUNCTION, "asleep", stopped).await?;
        self.load.resume();
        self.calls_go_on().await?;
        ensure!(self.boot().await? != before, "it never slept");
        Ok(())
    }

    /// Another gateway takes the place of this one, and another one its place.
    pub async fn replace_the_gateway(&mut self) -> Result<()> {
        for name in ["gateway replaced", "gateway replaced again"] {
            self.step(name);
            let code = self.gateway.replace()?;
            ensure!(code == Some(0), "the old gateway ended with {code:?}");
            self.calls_go_on().await?;
            self.step("rolling update by the new gateway");
            self.deploy_next().await?;
            self.calls_go_on().await?;
        }
        Ok(())
    }

    /// Ends the load. Fails with every call that failed and had no right to.
    pub async fn close(self) -> Result<()> {
        let Self { gateway, load, killed, .. } = self;
        let report = load.stop().await?;
        let failures = report.failures();
        let (excused, failed): (Vec<_>, Vec<_>) =
            failures.into_iter().partition(|o| killed.iter().any(|k| k.excuses(o)));
        println!("{}: {}", gateway.provider(), summary(&report));
        for outcome in &excused {
            println!("excused: {}", report.line(outcome));
        }
        let lines: Vec<_> = failed.iter().map(|o| report.line(o).to_string()).collect();
        ensure!(lines.is_empty(), "{} calls failed:\n{}", lines.len(), lines.join("\n"));
        Ok(())
    }

    async fn deploy_next(&mut self) -> Result<()> {
        self.version += 1;
        self.client.deploy(function(&self.image, self.version)).await?;
        let alone = |status: &Value| status["instances"].as_array().is_some_and(|i| i.len() == 1);
        self.client.until(FUNCTION, "one replica again", alone).await.map(|_| ())
    }

    async fn ask_for(&self, replicas: u32) -> Result<()> {
        let path = format!("/system/scale-function/{FUNCTION}");
        let body = json!({ "serviceName": FUNCTION, "replicas": replicas });
        let (status, text) = self.client.system(Method::POST, &path, Some(body)).await?;
        ensure!(status.is_success(), "scaling answered {status}: {text}");
        Ok(())
    }

    async fn scale(&self, replicas: u32) -> Result<()> {
        self.ask_for(replicas).await?;
        let scaled = |status: &Value| {
            let ready = |i: &&Value| i["state"] == "ready";
            let instances = status["instances"].as_array().map_or(&[][..], Vec::as_slice);
            let ready = instances.iter().filter(ready).count();
            status["availableReplicas"] == replicas && ready == replicas as usize
        };
        self.client.until(FUNCTION, "scaled", scaled).await.map(|_| ())
    }

    async fn kill_one(&mut self) -> Result<()> {
        let status = self.client.status(FUNCTION).await?.context("it is gone")?;
        let instances = status["instances"].as_array().map_or(&[][..], Vec::as_slice);
        let ready = instances.iter().find(|i| i["state"] == "ready");
        let ready = ready.with_context(|| format!("no replica is ready: {status:#}"))?;
        let id = ready["id"].as_str().context("it has no name")?.to_owned();
        let restarts = ready["restarts"].as_u64();
        let replica = self.gateway.replica(&id)?;
        let begin = Instant::now();
        replica.kill()?;
        let back = |status: &Value| {
            let instances = status["instances"].as_array().map_or(&[][..], Vec::as_slice);
            let this = instances.iter().find(|i| i["id"] == *id);
            this.is_some_and(|i| i["state"] == "ready" && i["restarts"].as_u64() > restarts)
        };
        let seen = self.client.until(FUNCTION, "back after its death", back).await.map(|_| ());
        // A signal is given long before the last process of a replica has died of it.
        self.killed.push(Killed { replica, begin, end: Instant::now() });
        seen
    }

    /// What tells the process that answers from the one before it.
    pub async fn boot(&self) -> Result<String> {
        let (status, text) = self.client.call(&format!("{FUNCTION}/boot")).await?;
        if !status.is_success() {
            bail!("a call answered {status}: {text}");
        }
        Ok(text)
    }
}

impl Killed {
    /// Whether this call was in flight on the replica when it was killed, and could not be sent
    /// again: its answer had begun, or sending it twice would do more than sending it once.
    fn excuses(&self, outcome: &Outcome) -> bool {
        let Replica { id, host, .. } = &self.replica;
        let in_flight = outcome.sent < self.end && outcome.ended > self.begin;
        in_flight
            && match &outcome.failure {
                Some(Failure::Truncated(_)) => outcome.replica.as_ref() == Some(host),
                Some(Failure::Status(502, text)) => {
                    !outcome.could_be_sent_again() && text.contains(&**id)
                }
                _ => false,
            }
    }
}

fn function(image: &str, version: u32) -> Value {
    json!({ "service": FUNCTION, "image": image, "envVars": { "VERSION": version.to_string() } })
}

/// The n-th call: each kind in its turn.
fn call(number: u64) -> Call {
    let at = |path: &str| format!("/function/{FUNCTION}{path}");
    let get = |path: &str, body: String| Call::get(at(path), Expect::Exactly(body.into()));
    let (small, large, chunk) = BODY_BYTES;
    let text = |bytes: usize| Bytes::from(format!("{number} ").repeat(bytes)).slice(..bytes);
    let echo = |content| Call::echo(at("/echo"), content);
    let chunks = || Content::Chunks((0..5).map(|_| text(chunk)).collect());
    match number % 16 {
        1 | 9 => echo(Content::Whole(text(small))),
        3 => get("/big?bytes=200000", "x".repeat(200_000)),
        5 => echo(Content::Whole(text(large))).fresh(),
        6 => echo(chunks()).fresh(),
        7 => get("/sleep?ms=300", "slept".to_owned()),
        10 => Call { method: Method::PUT, ..echo(Content::Whole(text(large))) },
        11 => get("/drip?lines=10", (0..10).map(|line| format!("{line}\n")).collect()).fresh(),
        13 => echo(chunks()),
        15 => Call { method: Method::POST, ..get("/sleep?ms=300", "slept".to_owned()) },
        kind => {
            let path = format!("/n/{number}");
            let call = get(&path, format!("GET {path}?"));
            if kind % 8 == 4 { call.fresh() } else { call }
        }
    }
}

/// The calls of each step, and how long they took.
fn summary(report: &Report) -> String {
    let line = |(step, name): (usize, &str)| {
        let figures = report.figures(step);
        let (calls, p99, max) = (figures.calls, figures.p99.as_millis(), figures.max.as_millis());
        format!("\n  {name}: {calls} calls, p99 {p99} ms, longest {max} ms")
    };
    let steps = report.steps.iter().map(|step| &*step.name).enumerate().map(line);
    let (calls, late) = (report.outcomes.len(), report.late().as_millis());
    format!("{calls} calls, made {late} ms late at most{}", steps.collect::<String>())
}
