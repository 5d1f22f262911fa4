//! A gateway with one function, and the same pod made by hand.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use system::client::Client;
use system::cluster::{Api, Cluster, until};
use system::gateway::Gateway;
use system::image;
use tokio::runtime::Runtime;

use crate::project::read_answer;

/// The function.
pub(crate) const FUNCTION: &str = "woken";
/// The Deployment that nobody but the bench knows.
const FLOOR: &str = "floor";
/// Where functions listen.
const PORT: u16 = 8080;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longest wait for a connection: one that waits longer would wait for the kernel's next try, a
/// second later.
const CONNECT: Duration = Duration::from_millis(20);
/// Pause between two tries to connect: small against what is measured.
const TRY: Duration = Duration::from_micros(500);

/// What is measured.
pub(crate) struct Site {
    pub(crate) runtime: Runtime,
    // Dropped in this order: what a gateway would make again goes after it.
    pub(crate) gateway: Gateway,
    pub(crate) client: Client,
    pub(crate) cluster: Cluster,
    api: Api,
    http: reqwest::Client,
}

impl Site {
    pub(crate) fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(1).enable_all().build()?;
        let cluster = Cluster::new()?;
        let gateway = cluster.gateway("bench", &["--access-log", "false"])?;
        let client = Client::new(&gateway)?;
        let function = json!({ "service": FUNCTION, "image": image::test_function()? });
        runtime.block_on(client.deploy(function))?;
        cluster.apply(&by_hand(&cluster.get(&["deployment", FUNCTION])?))?;
        let api = runtime.block_on(Api::open())?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        let site = Self { runtime, gateway, client, cluster, api, http };
        site.first_byte_of_the_floor()?;
        Ok(site)
    }

    /// Puts the function to sleep, and waits until nothing of it is left.
    pub(crate) fn to_zero(&self) -> Result<()> {
        let path = format!("/system/scale-function/{FUNCTION}");
        let body = Some(json!({ "serviceName": FUNCTION, "replicas": 0 }));
        let asked = self.client.system(reqwest::Method::POST, &path, body);
        let (status, text) = self.runtime.block_on(asked)?;
        ensure!(status.is_success(), "{path} answered {status}: {text}");
        self.without_pods(&format!("faas_function={FUNCTION}"))
    }

    /// The same for the other one.
    pub(crate) fn floor_to_zero(&self) -> Result<()> {
        self.cluster.kubectl(&["scale", "deployment", FLOOR, "--replicas=0"])?;
        self.without_pods(&format!("app={FLOOR}"))
    }

    fn without_pods(&self, selector: &str) -> Result<()> {
        let pods = async || self.cluster.get(&["pods", "--selector", selector]);
        let none = |pods: &Value| pods["items"].as_array().is_some_and(Vec::is_empty);
        self.runtime.block_on(until("without pods", pods, none)).map(|_| ())
    }

    /// What it takes without a gateway: one request to the API for one replica, another one that
    /// tells its pod's address as soon as there is one, and connecting there until it answers.
    pub(crate) fn first_byte_of_the_floor(&self) -> Result<Duration> {
        let start = Instant::now();
        let address = self.runtime.block_on(self.scale_up_the_floor())?;
        loop {
            if let Ok(mut stream) = TcpStream::connect_timeout(&address, CONNECT) {
                stream.set_read_timeout(Some(PATIENCE))?;
                // The watchdog listens before its function does.
                if read_answer(&mut stream, "/").is_ok() {
                    return Ok(start.elapsed());
                }
            }
            ensure!(start.elapsed() < PATIENCE, "the floor does not listen");
            std::thread::sleep(TRY);
        }
    }

    async fn scale_up_the_floor(&self) -> Result<SocketAddr> {
        let (base, namespace) = (self.api.url(), &self.cluster.namespace);
        let url = format!("{base}/apis/apps/v1/namespaces/{namespace}/deployments/{FLOOR}/scale");
        let scaled = self.http.patch(url).header("content-type", "application/merge-patch+json");
        let body = json!({ "spec": { "replicas": 1 } }).to_string();
        scaled.body(body).send().await?.error_for_status()?;
        let url = format!(
            "{base}/api/v1/namespaces/{namespace}/pods?watch=true&labelSelector=app%3D{FLOOR}"
        );
        let mut events = self.http.get(url).send().await?.error_for_status()?;
        let mut text = Vec::new();
        loop {
            text.extend_from_slice(&events.chunk().await?.context("the watch ended")?);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                if let Some(address) = address(&serde_json::from_slice::<Value>(&line)?["object"]) {
                    return Ok(address);
                }
            }
        }
    }

    /// Where the function's only pod listens.
    pub(crate) fn pod(&self) -> Result<SocketAddr> {
        let pods = self.cluster.pods(FUNCTION)?;
        pods.first().and_then(address).context("the function has no pod")
    }
}

fn address(pod: &Value) -> Option<SocketAddr> {
    let address: IpAddr = pod["status"]["podIP"].as_str()?.parse().ok()?;
    Some(SocketAddr::new(address, PORT))
}

/// The pod of a Deployment under another name, so that no gateway takes it for its own.
fn by_hand(deployment: &Value) -> Value {
    let spec = &deployment["spec"];
    let labels = json!({ "app": FLOOR });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": FLOOR },
        "spec": {
            "replicas": 0,
            "strategy": spec["strategy"],
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": spec["template"]["spec"] },
        },
    })
}
