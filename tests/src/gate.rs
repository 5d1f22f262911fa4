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
use crate::gateway::Gateway;
use crate::load::{RATE, none_failed, start_at};
use crate::replica::Replica;
use crate::world::World;

/// The function that is called.
const FUNCTION: &str = "gate";
/// Calls that must have ended after a change before the next one begins.
const CALLS: u64 = 100;
/// Longest wait for those calls, and for a change to show.
const PATIENCE: Duration = Duration::from_secs(60);
/// Calls a second that one replica is meant for, where load scales.
const TARGET: u32 = 32;
/// Calls a second there, between waves.
const LITTLE: u32 = 24;
/// Calls a second that come in a wave, beside those.
const WAVE: u32 = 48;
/// Replicas that a wave brings.
const GROWN: usize = 3;
/// Bytes of a body that fits in one packet, of one that does not, and of one chunk.
const BODY_BYTES: (usize, usize, usize) = (700, 20_000, 3_000);

/// The provider whose replicas go when they are not wanted, instead of being kept asleep.
const KUBERNETES: &str = "kubernetes";
/// Time between two looks at what there are no events of.
const LOOK: Duration = Duration::from_millis(20);

/// What calls are sent to: a gateway, or several behind one address.
pub trait Site {
    /// Where calls go.
    fn url(&self) -> &str;
    /// Where the functions run.
    fn provider(&self) -> &str;
    /// A replica by the name that its function's status has for it.
    fn replica(&self, id: &str) -> Result<Replica>;
}

impl Site for Gateway {
    fn url(&self) -> &str {
        &self.url
    }

    fn provider(&self) -> &str {
        Gateway::provider(self)
    }

    fn replica(&self, id: &str) -> Result<Replica> {
        Gateway::replica(self, id)
    }
}

/// A function under load.
pub struct Gate<S = Gateway> {
    /// Its gateway.
    pub gateway: S,
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

impl<S: Site> Gate<S> {
    /// Deploys the function and starts the load.
    pub async fn open(gateway: S, client: Client, image: String) -> Result<Self> {
        Self::open_at(gateway, client, image, RATE).await
    }

    async fn open_at(gateway: S, client: Client, image: String, per_second: u32) -> Result<Self> {
        client.deploy(function(&image, 0)).await?;
        if gateway.provider() != KUBERNETES {
            // An engine of the test's own has addresses that belong to others here, so nothing is
            // asked of them.
            let on_socket = |s: &Value| s["instances"][0]["address"]["unix"].is_string();
            client.until(FUNCTION, "on its socket", on_socket).await?;
        }
        let plan = Plan {
            url: gateway.url().to_owned(),
            trust: Trust::default(),
            per_second,
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
        let kept = usize::from(self.gateway.provider() != KUBERNETES);
        let stopped = |status: &Value| {
            let all = instances(status);
            all.len() == kept && all.iter().all(|instance| instance["state"] == "stopped")
        };
        self.client.until(FUNCTION, "asleep", stopped).await?;
        self.load.resume();
        self.calls_go_on().await?;
        ensure!(self.boot().await? != before, "it never slept");
        Ok(())
    }

    /// One of two replicas is taken away by somebody else, and then the only one. Calls that were in
    /// flight on it may fail only when it `is_killed`.
    pub async fn take_away(
        &mut self,
        how: &str,
        is_killed: bool,
        remove: impl Fn(&str) -> Result<()>,
    ) -> Result<()> {
        for (which, replicas) in [("one of two", 2), ("the only one", 1)] {
            self.step("scale before it is taken away");
            self.scale(replicas).await?;
            self.calls_go_on().await?;
            self.step(&format!("{which} {how}"));
            let replica = self.gateway.replica(&self.ready_one().await?)?;
            let begin = Instant::now();
            remove(&replica.id)?;
            let seen = self.until_gone(&replica, replicas).await;
            if is_killed {
                self.killed.push(Killed { replica, begin, end: Instant::now() });
            }
            seen?;
            self.calls_go_on().await?;
        }
        Ok(())
    }

    async fn until_gone(&self, replica: &Replica, replicas: usize) -> Result<()> {
        let replaced = |status: &Value| {
            let all = instances(status);
            let ready = all.iter().filter(|i| i["state"] == "ready").count();
            ready == replicas && all.iter().all(|i| i["id"] != *replica.id)
        };
        self.client.until(FUNCTION, "without it", replaced).await?;
        let ended = async {
            while !replica.is_gone() {
                tokio::time::sleep(LOOK).await;
            }
        };
        timeout(PATIENCE, ended).await.context("its process does not end")
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

    /// The next version takes over.
    pub async fn deploy_next(&mut self) -> Result<()> {
        self.version += 1;
        self.client.deploy(function(&self.image, self.version)).await?;
        let alone = |status: &Value| status["instances"].as_array().is_some_and(|i| i.len() == 1);
        self.client.until(FUNCTION, "one replica again", alone).await.map(|_| ())
    }

    async fn ask_for(&self, replicas: usize) -> Result<()> {
        let path = format!("/system/scale-function/{FUNCTION}");
        let body = json!({ "serviceName": FUNCTION, "replicas": replicas });
        let (status, text) = self.client.system(Method::POST, &path, Some(body)).await?;
        ensure!(status.is_success(), "scaling answered {status}: {text}");
        Ok(())
    }

    async fn scale(&self, replicas: usize) -> Result<()> {
        self.ask_for(replicas).await?;
        let scaled =
            |status: &Value| status["availableReplicas"] == replicas && ready(status) == replicas;
        self.client.until(FUNCTION, "scaled", scaled).await.map(|_| ())
    }

    async fn kill_one(&mut self) -> Result<()> {
        let id = self.ready_one().await?;
        let status = self.client.status(FUNCTION).await?.context("it is gone")?;
        let of = |status: &Value| instances(status).iter().find(|i| i["id"] == *id).cloned();
        let restarts = of(&status).context("it is gone")?["restarts"].as_u64();
        let replica = self.gateway.replica(&id)?;
        let begin = Instant::now();
        replica.kill()?;
        let back = |status: &Value| {
            of(status).is_some_and(|i| i["state"] == "ready" && i["restarts"].as_u64() > restarts)
        };
        let seen = self.client.until(FUNCTION, "back after its death", back).await.map(|_| ());
        // A signal is given long before the last process of a replica has died of it.
        self.killed.push(Killed { replica, begin, end: Instant::now() });
        seen
    }

    /// The name of a replica that takes calls.
    async fn ready_one(&self) -> Result<String> {
        let status = self.client.status(FUNCTION).await?.context("it is gone")?;
        let ready = instances(&status).iter().find(|i| i["state"] == "ready");
        let ready = ready.with_context(|| format!("no replica is ready: {status:#}"))?;
        Ok(ready["id"].as_str().context("it has no name")?.to_owned())
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

impl Gate {
    /// As [`Gate::open`], where load scales: so many calls that one replica does them.
    pub async fn open_by_load(world: World) -> Result<Self> {
        let World { gateway, client, image } = world;
        Self::open_at(gateway, client, image, LITTLE).await
    }

    /// The load itself brings replicas and takes them away; an update comes in the midst of that,
    /// and another gateway.
    pub async fn grow_and_shrink(&mut self) -> Result<()> {
        for wave in ["a wave of load", "a wave and an update", "a wave and another gateway"] {
            self.step(wave);
            let more = start_at(&self.gateway, &format!("/function/{FUNCTION}/version"), WAVE)?;
            self.client.until(FUNCTION, "grown", |s| ready(s) >= GROWN).await?;
            if wave.ends_with("update") {
                self.version += 1;
                self.client.apply(&function(&self.image, self.version)).await?;
            } else if wave.ends_with("gateway") {
                let code = self.gateway.replace()?;
                ensure!(code == Some(0), "the old gateway ended with {code:?}");
            }
            self.calls_go_on().await?;
            none_failed(&more.stop().await?)?;
            self.step("after it");
            let alone = |s: &Value| s["replicas"] == 1 && ready(s) == 1;
            self.client.until(FUNCTION, "one again", alone).await?;
            self.calls_go_on().await?;
        }
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
}

fn instances(status: &Value) -> &[Value] {
    status["instances"].as_array().map_or(&[], Vec::as_slice)
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
    let labels = json!({
        "com.openfaas.scale.target": TARGET.to_string(),
        "com.openfaas.scale.target-proportion": "1",
    });
    let env = json!({ "VERSION": version.to_string() });
    json!({ "service": FUNCTION, "image": image, "envVars": env, "labels": labels })
}

/// Replicas that take calls.
fn ready(status: &Value) -> usize {
    instances(status).iter().filter(|i| i["state"] == "ready").count()
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
