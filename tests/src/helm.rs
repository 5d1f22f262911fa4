//! Helm, in the two generations that are in use, and releases of the chart in namespaces of their own.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};

use crate::client::Client;
use crate::cluster::{kubectl, let_go};
use crate::{image, project, run, unique};

/// Longest wait of Helm for what it made to be ready, in seconds.
const PATIENCE_SECONDS: u64 = 180;
/// The variable that names the folder with both Helms, instead of the one of tests/setup.
const FOLDER: &str = "FLINT_TEST_HELM";

/// A Helm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helm {
    /// The last but one generation, as an executable.
    Three,
    /// The current one, as a library behind `tests/helm`.
    Four,
}

/// The folder where tests/setup put both.
fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return PathBuf::from(folder);
    }
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(home);
    state.unwrap_or_default().join("flint-tests/helm")
}

/// The chart.
pub fn chart() -> PathBuf {
    project().join("charts/flint")
}

impl Helm {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Three, Self::Four];

    fn command(self) -> Command {
        match self {
            Self::Three => Command::new(folder().join("3/helm")),
            Self::Four => {
                let mut command = Command::new(project().join("tests/helm"));
                command.env("PYTHONPATH", folder().join("4"));
                command
            }
        }
    }

    /// Checks the chart with these values.
    pub fn lint(self, values: &Value) -> Result<()> {
        let values = file(values)?;
        let mut command = self.command();
        command.arg("lint").arg(chart()).arg("-f").arg(values.path());
        if self == Self::Three {
            command.arg("--strict");
        }
        self.run(&mut command).map(|_| ())
    }

    /// The objects that an installation would make on this cluster, as YAML; nothing of them may be
    /// there.
    pub fn render(self, name: &str, namespace: &str, values: &Value) -> Result<String> {
        self.template(&[name, "-n", namespace, "--validate"], values)
    }

    /// The objects that an installation would make on a cluster that is not asked.
    pub fn render_offline(self, values: &Value) -> Result<String> {
        self.template(&["release", "-n", "default"], values)
    }

    /// The same, with the definitions of custom resources; Helm 3 only.
    pub fn render_offline_with_crds(self) -> Result<String> {
        self.template(&["release", "-n", "default", "--include-crds"], &json!({}))
    }

    fn template(self, args: &[&str], values: &Value) -> Result<String> {
        let values = file(values)?;
        let (name, args) = args.split_at(1);
        let mut command = self.command();
        command.arg("template").args(name).arg(chart()).args(args).arg("-f").arg(values.path());
        self.run(&mut command)
    }

    fn run(self, command: &mut Command) -> Result<String> {
        run(command).with_context(|| format!("{self:?}: tests/setup installs both Helms"))
    }
}

/// The values as a file that Helm reads.
fn file(values: &Value) -> Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    file.write_all(values.to_string().as_bytes())?;
    Ok(file)
}

/// The chart without its definitions of custom resources. An API server of Kubernetes 1.20 that was
/// built with a newer Go than it was written for, as Debian's is, dies when it meets a custom
/// resource; with the definitions there, gateways would make some.
fn chart_without_crds() -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    run(Command::new("cp").arg("-r").arg(chart()).arg(folder.path()))?;
    std::fs::remove_dir_all(folder.path().join("flint/crds"))?;
    Ok(folder)
}

/// A release of the chart; dropping it removes it and its namespaces.
pub struct Release {
    /// What installs it.
    pub helm: Helm,
    /// Its name.
    pub name: String,
    /// The gateways' namespace.
    pub namespace: String,
    /// The functions' namespace.
    pub functions: String,
}

impl Release {
    /// Chooses names and makes the release's namespace; installs nothing.
    pub fn new(helm: Helm) -> Result<Self> {
        let namespace = unique("flint-test");
        let (name, functions) = (format!("r-{namespace}"), format!("{namespace}-fn"));
        kubectl(&["create", "namespace", &namespace])?;
        Ok(Self { helm, name, namespace, functions })
    }

    /// Makes the functions' namespace beforehand, as one that belongs to the release.
    pub fn make_functions_namespace(&self) -> Result<()> {
        let (name, namespace) = (&self.name, &self.namespace);
        kubectl(&["create", "namespace", &self.functions])?;
        let label = "app.kubernetes.io/managed-by=Helm";
        kubectl(&["label", "namespace", &self.functions, label])?;
        let of = [
            format!("meta.helm.sh/release-name={name}"),
            format!("meta.helm.sh/release-namespace={namespace}"),
        ];
        kubectl(&["annotate", "namespace", &self.functions, &of[0], &of[1]]).map(|_| ())
    }

    /// The values that a test needs, and these.
    pub fn values(&self, more: &Value) -> Result<Value> {
        let (repository, tag) =
            image::gateway()?.split_once(':').context("the image has no tag")?;
        let mut values = json!({
            "functionNamespace": self.functions,
            "gateway": {
                "image": { "repository": repository, "tag": tag, "pullPolicy": "Never" },
                "replicas": 1,
                "shutdownDelay": "1s",
                "writeTimeout": "5s",
                "resources": { "requests": { "cpu": "10m", "memory": "32Mi" } },
            },
            "functions": { "imagePullPolicy": "IfNotPresent" },
        });
        merge(&mut values, more);
        Ok(values)
    }

    /// Installs it and waits until it is ready.
    pub fn install(&self, more: &Value) -> Result<()> {
        self.change("install", more)
    }

    /// Gives it other values, and waits until it is ready again.
    pub fn upgrade(&self, more: &Value) -> Result<()> {
        self.change("upgrade", more)
    }

    fn change(&self, verb: &str, more: &Value) -> Result<()> {
        let (chart, values) = (chart_without_crds()?, file(&self.values(more)?)?);
        let mut command = self.helm.command();
        command.args([verb, &self.name]).arg(chart.path().join("flint"));
        self.waiting(command.arg("-f").arg(values.path()))
    }

    /// The objects that it would consist of with these values, as YAML; the cluster is not asked.
    pub fn render_offline(&self, values: &Value) -> Result<String> {
        self.helm.template(&[&self.name, "-n", &self.namespace], values)
    }

    /// Goes back to a revision, and waits until it is ready.
    pub fn rollback(&self, revision: u32) -> Result<()> {
        let mut command = self.helm.command();
        self.waiting(command.args(["rollback", &self.name, &revision.to_string()]))
    }

    /// Removes it.
    pub fn uninstall(&self) -> Result<()> {
        let mut command = self.helm.command();
        command.args(["uninstall", &self.name, "-n", &self.namespace]);
        self.helm.run(&mut command).map(|_| ())
    }

    fn waiting(&self, command: &mut Command) -> Result<()> {
        command.args(["-n", &self.namespace, "--timeout"]);
        match self.helm {
            Helm::Three => command.args([&format!("{PATIENCE_SECONDS}s"), "--wait"]),
            Helm::Four => command.arg(PATIENCE_SECONDS.to_string()),
        };
        self.helm.run(command).map(|_| ()).with_context(|| self.troubles())
    }

    /// What is known of pods that do not get ready.
    fn troubles(&self) -> String {
        let told = ["describe pods", "logs deployment/gateway --tail=50"].map(|words| {
            let words: Vec<_> = words.split(' ').collect();
            kubectl(&[&["-n", &self.namespace], &words[..]].concat())
                .unwrap_or_else(|error| format!("{error:#}"))
        });
        told.join("\n")
    }

    /// Runs `kubectl` in the gateways' namespace.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        kubectl(&[&["-n", &self.namespace], args].concat())
    }

    /// An object of the gateways' namespace, or a list.
    pub fn get(&self, what: &[&str]) -> Result<Value> {
        let text = self.kubectl(&[&["get", "-o", "json"], what].concat())?;
        serde_json::from_str(&text).with_context(|| format!("{what:?} is no JSON"))
    }

    /// The gateway's password.
    pub fn password(&self) -> Result<String> {
        let secret = self.get(&["secret", "basic-auth"])?;
        let encoded = secret["data"]["basic-auth-password"].as_str().context("no password")?;
        Ok(String::from_utf8(STANDARD.decode(encoded)?)?)
    }

    /// Where the gateways answer together: the address of their Service, which this machine reaches.
    pub fn url(&self) -> Result<String> {
        let service = self.get(&["service", "gateway"])?;
        let ip = service["spec"]["clusterIP"].as_str().context("the Service has no address")?;
        Ok(format!("http://{ip}:8080"))
    }

    /// A client of the gateways.
    pub fn client(&self) -> Result<Client> {
        Client::at(&self.url()?, self.password()?)
    }
}

/// Puts the right side's keys into the left one, deeply.
fn merge(into: &mut Value, more: &Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more.clone(),
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        // When nothing was installed, or it is gone already, there is nothing to uninstall.
        let _ = self.uninstall();
        let label = format!("--selector=app.kubernetes.io/instance={}", self.name);
        let _ = kubectl(&["delete", "clusterrole,clusterrolebinding", &label]);
        for namespace in [&self.functions, &self.namespace] {
            let _ = let_go(namespace);
            let gone =
                kubectl(&["delete", "namespace", namespace, "--wait=false", "--ignore-not-found"]);
            if let Err(error) = gone {
                eprintln!("the test's namespace is left: {error:#}");
            }
        }
    }
}
