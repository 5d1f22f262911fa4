//! Gateways on both backends, with functions that are frozen soon and stopped by hand.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use system::client::Client;
use system::gateway::Gateway;
use system::{docker, image};
use tokio::runtime::Runtime;

use crate::project::{Project, first_byte};

/// The functions on processes and their templates.
pub(crate) const FUNCTIONS: [(&str, &str); 2] = [("on-rust", "rust"), ("on-node", "node22")];
/// The one in a container.
const CONTAINED: &str = "contained";
/// Where Docker's engine listens.
const ENGINE: &str = "/var/run/docker.sock";
/// Labels of what is measured: frozen after the shortest time that the loop can see.
fn labels() -> Value {
    json!({ "com.openfaas.scale.zero": "true", "flint.dev/scale.freeze-after": "1s" })
}

/// A function, and how its gateway is reached.
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) client: Client,
    pub(crate) port: u16,
}

/// All that is measured.
pub(crate) struct Site {
    pub(crate) runtime: Runtime,
    pub(crate) rust: Place,
    pub(crate) node: Place,
    /// Absent where no engine answers.
    pub(crate) contained: Option<Place>,
    _project: Project,
    _docker: Option<Gateway>,
}

impl Site {
    pub(crate) fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let project = Project::of(&FUNCTIONS)?;
        let place = |(name, _): (&str, &str), gateway: &Gateway| -> Result<Place> {
            let client = Client::new(gateway)?;
            Ok(Place { name: name.to_owned(), client, port: gateway.port() })
        };
        let [rust, node] = FUNCTIONS.map(|function| place(function, &project.gateway));
        let (rust, node) = (rust?, node?);
        for place in [&rust, &node] {
            let status = runtime.block_on(place.client.status(&place.name))?;
            let image = status.context("it was deployed")?["image"].clone();
            let function = json!({ "service": place.name, "image": image, "labels": labels() });
            runtime.block_on(place.client.deploy(function))?;
        }
        let docker = docker(&["version"]).is_ok().then(|| {
            Gateway::start_on("docker", &["--access-log", "false", "--scale-by-load=true"])
        });
        let docker = docker.transpose()?;
        let contained =
            docker.as_ref().map(|gateway| place((CONTAINED, ""), gateway)).transpose()?;
        if let Some(place) = &contained {
            let image = image::test_function()?;
            let function = json!({ "service": CONTAINED, "image": image, "labels": labels() });
            runtime.block_on(place.client.deploy(function))?;
        }
        Ok(Self { runtime, rust, node, contained, _project: project, _docker: docker })
    }

    /// Waits until all replicas of a function are in one state, and there are any.
    pub(crate) fn until(&self, place: &Place, state: &str) -> Result<Value> {
        let all = |status: &Value| {
            let instances = status["instances"].as_array();
            instances.is_some_and(|all| !all.is_empty() && all.iter().all(|i| i["state"] == state))
        };
        self.runtime.block_on(place.client.until(&place.name, state, all))
    }

    /// Asks for a number of replicas.
    pub(crate) fn scale(&self, place: &Place, replicas: u32) -> Result<()> {
        let path = format!("/system/scale-function/{}", place.name);
        let body = json!({ "serviceName": place.name, "replicas": replicas });
        let asked = place.client.system(reqwest::Method::POST, &path, Some(body));
        let (status, body) = self.runtime.block_on(asked)?;
        ensure!(status.is_success(), "{path} answered {status}: {body}");
        Ok(())
    }

    /// Stops a function; returns the id of the replica that holds it.
    pub(crate) fn stop(&self, place: &Place) -> Result<String> {
        self.scale(place, 0)?;
        let status = self.until(place, "stopped")?;
        let id = status["instances"][0]["id"].as_str().context("no replica holds it")?;
        Ok(id.to_owned())
    }
}

impl Place {
    /// The time to the first byte of a call on a connection of its own.
    pub(crate) fn first_byte(&self) -> Result<Duration> {
        first_byte(self.port, &format!("/function/{}", self.name))
    }
}

/// What the engine itself takes to do something with a container, such as `start`.
pub(crate) fn bare(action: &str, container: &str) -> Result<Duration> {
    let request = format!("POST /containers/{container}/{action} HTTP/1.0\r\nHost: docker\r\n\r\n");
    let start = Instant::now();
    let mut stream = UnixStream::connect(ENGINE).context(ENGINE)?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let time = start.elapsed();
    ensure!(answer.split(' ').nth(1) == Some("204"), "the engine answered {answer}");
    Ok(time)
}
