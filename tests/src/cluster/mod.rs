//! A namespace of a test's own on the cluster of `KUBECONFIG`, and gateways for it.
//!
//! Gateways run as processes of the test: pods are reached from here as from any machine of the
//! cluster's network.

mod api;
mod wait;

pub use api::{Api, Asked};
pub use wait::until;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::gateway::{Gateway, OnCluster};
use crate::{run, unique};

/// The variable that makes a missing cluster a failure.
const REQUIRED: &str = "FLINT_TEST_KUBERNETES";
/// What tests and programs find a cluster by.
const KUBECONFIG: &str = "KUBECONFIG";
/// Longest wait for a cluster's answer when it is looked for.
const ANSWER: &str = "--request-timeout=10s";
/// The user of gateways.
const USER: &str = "admin";
/// Objects of ours that wait for a gateway before they go.
const WITH_FINALIZERS: [&str; 2] = ["functions.flint.dev", "functions.openfaas.com"];

/// Why nothing can be tested on a cluster here; `None` when it can.
pub fn absent() -> Option<String> {
    if std::env::var_os(KUBECONFIG).is_none_or(|path| path.is_empty()) {
        return Some(format!("{KUBECONFIG} is not set"));
    }
    let asked = run(Command::new("kubectl").args(["get", "--raw", "/readyz", ANSWER]));
    asked.err().map(|error| format!("the cluster does not answer: {error:#}"))
}

/// Why functions cannot be objects of this cluster; `None` when they can.
///
/// API servers before 1.23 come with a reflect2 that reads maps as Go before 1.18 laid them out
/// (modern-go/reflect2 1.0.2 mends it). Built with a newer Go they die of the first custom resource
/// that they serve, for everybody.
pub fn without_objects() -> Option<String> {
    let text = kubectl(&["get", "--raw", "/version", ANSWER]).ok()?;
    let version: Value = serde_json::from_str(&text).ok()?;
    let number = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    };
    let kubernetes = number(version["minor"].as_str()?)?;
    let go = number(version["goVersion"].as_str()?.strip_prefix("go1.")?)?;
    (kubernetes < 23 && go >= 18).then(|| {
        format!(
            "an API server 1.{kubernetes} that was built with Go 1.{go} dies of custom resources"
        )
    })
}

/// Whether a missing cluster is a failure.
pub fn is_required() -> bool {
    std::env::var(REQUIRED).is_ok_and(|value| value == "required")
}

/// A namespace of its own; dropping it removes it with all that is in it.
pub struct Cluster {
    /// The namespace.
    pub namespace: String,
    more: Vec<String>,
    secrets: TempDir,
}

impl Cluster {
    /// Makes the namespace.
    pub fn new() -> Result<Self> {
        let cluster = Self {
            namespace: unique("flint-test"),
            more: Vec::new(),
            secrets: tempfile::tempdir()?,
        };
        // All gateways of one installation have one password.
        for (file, content) in [("basic-auth-user", USER), ("basic-auth-password", &unique("p"))] {
            std::fs::write(cluster.secrets.path().join(file), content)?;
        }
        kubectl(&["create", "namespace", &cluster.namespace])?;
        Ok(cluster)
    }

    /// Removes this namespace too when all is over.
    pub fn remove_too(&mut self, namespace: &str) {
        self.more.push(namespace.to_owned());
    }

    /// Runs `kubectl` in the namespace.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        kubectl(&[&["--namespace", &self.namespace], args].concat())
    }

    /// An object, or a list of objects.
    pub fn get(&self, what: &[&str]) -> Result<Value> {
        let text = self.kubectl(&[&["get", "-o", "json"], what].concat())?;
        serde_json::from_str(&text).with_context(|| format!("{what:?} is no JSON"))
    }

    /// The items of a list of objects.
    pub fn list(&self, what: &[&str]) -> Result<Vec<Value>> {
        Ok(self.get(what)?["items"].as_array().cloned().unwrap_or_default())
    }

    /// The pods of a function, those that end among them.
    pub fn pods(&self, function: &str) -> Result<Vec<Value>> {
        self.list(&["pods", "--selector", &format!("faas_function={function}")])
    }

    /// Applies objects as a person does who has them in a file.
    pub fn apply(&self, object: &Value) -> Result<String> {
        let mut command = Command::new("kubectl");
        command.args(["--namespace", &self.namespace, "apply", "-f", "-"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        // What does not take all of it says why.
        let _ = child.stdin.take().context("no stdin")?.write_all(object.to_string().as_bytes());
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl apply: {said}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Who holds the election's Lease; empty when nobody does.
    pub fn leader(&self) -> Result<String> {
        Ok(leader(&self.get(&["leases"])?))
    }

    /// Starts a gateway of this name, with more arguments than the usual.
    pub fn gateway(&self, name: &str, args: &[&str]) -> Result<Gateway> {
        self.start(name, None, args)
    }

    /// As [`Cluster::gateway`], but it reaches the cluster in this way.
    pub fn gateway_through(&self, api: &Api, name: &str, args: &[&str]) -> Result<Gateway> {
        self.start(name, Some(api.kubeconfig()), args)
    }

    fn start(&self, name: &str, kubeconfig: Option<&Path>, args: &[&str]) -> Result<Gateway> {
        let (namespace, secrets) = (&self.namespace, self.secrets.path());
        Gateway::start_in_cluster(&OnCluster { namespace, name, secrets, kubeconfig }, args)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for namespace in self.more.iter().chain([&self.namespace]) {
            let _ = let_go(namespace);
            let deleted =
                kubectl(&["delete", "namespace", namespace, "--wait=false", "--ignore-not-found"]);
            if let Err(error) = deleted {
                eprintln!("the test's namespace is left: {error:#}");
            }
        }
    }
}

/// Takes the finalizers off what is left in a namespace, since no gateway is there to do it.
pub fn let_go(namespace: &str) -> Result<()> {
    let none = json!({ "metadata": { "finalizers": null } }).to_string();
    for kind in WITH_FINALIZERS {
        let Ok(names) = kubectl(&["--namespace", namespace, "get", kind, "-o", "name"]) else {
            continue;
        };
        for name in names.split_whitespace() {
            kubectl(&["--namespace", namespace, "patch", name, "--type=merge", "-p", &none])?;
        }
    }
    Ok(())
}

/// The gateway that holds one of these Leases; empty when none does.
pub fn leader(leases: &Value) -> String {
    let leases = leases["items"].as_array().map_or(&[][..], Vec::as_slice);
    let holder = leases.iter().find_map(|lease| lease["spec"]["holderIdentity"].as_str());
    // What follows the last hyphen tells one run of a gateway from the next.
    let name = holder.unwrap_or_default().rsplit_once('-').map_or("", |(name, _)| name);
    name.to_owned()
}

/// Runs `kubectl`.
pub fn kubectl(args: &[&str]) -> Result<String> {
    run(Command::new("kubectl").args(args))
}
