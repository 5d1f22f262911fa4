//! Replicas of functions, as the machine knows them.

use std::path::Path;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::docker;

/// Longest name of a machine, in bytes (Linux).
const MAX_HOST_NAME: usize = 64;
/// The labels by which a kubelet's containers are found (dockershim).
const POD_LABEL: &str = "io.kubernetes.pod.name";
const NAMESPACE_LABEL: &str = "io.kubernetes.pod.namespace";
/// What tells them from what holds a pod's network.
const NO_SANDBOX: &str = "label=io.kubernetes.docker.type=container";

/// A replica that runs.
#[derive(Debug)]
pub struct Replica {
    /// Its name in its function's status.
    pub id: String,
    /// Its machine's name, as it sees it.
    pub host: String,
    /// The process with which all of it ends.
    pid: Pid,
}

impl Replica {
    /// One that is a container.
    pub fn of_container(id: &str) -> Result<Self> {
        let format = "{{.Config.Hostname}} {{.State.Pid}}";
        let told = docker(&["inspect", "--format", format, id])?;
        let (host, pid) = told.trim().split_once(' ').context("no name, or no process")?;
        Ok(Self { id: id.to_owned(), host: host.to_owned(), pid: process(pid)? })
    }

    /// One that is a pod, whose container runs on this machine's engine.
    pub fn of_pod(namespace: &str, pod: &str) -> Result<Self> {
        let of = |label: &str, value: &str| format!("label={label}={value}");
        let (pod_is, namespace_is) = (of(POD_LABEL, pod), of(NAMESPACE_LABEL, namespace));
        let filters = [&pod_is, &namespace_is, NO_SANDBOX].map(|f| ["--filter", f]).concat();
        let listed = docker(&[&["ps", "-q"], &filters[..]].concat())?;
        let container = listed.split_whitespace().next();
        let container = container.with_context(|| format!("no container of {pod} runs here"))?;
        Ok(Self { id: pod.to_owned(), host: pod.to_owned(), ..Self::of_container(container)? })
    }

    /// One that is a process, whose folder this is.
    pub fn of_folder(folder: &Path, id: &str) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let spec: serde_json::Value = serde_json::from_str(&read("spec.json")?)?;
        let host = spec["replica"].as_str().context("no name in its orders")?;
        let host = host.chars().take(MAX_HOST_NAME).collect();
        Ok(Self { id: id.to_owned(), host, pid: process(read("lock")?.trim())? })
    }

    /// Ends it at once, with all its processes, as a crash would. An engine that is asked to kill a
    /// container takes it for stopped on purpose, so it is not asked.
    pub fn kill(&self) -> Result<()> {
        Ok(kill_process(self.pid, Signal::KILL)?)
    }

    /// Whether its process has ended.
    pub fn is_gone(&self) -> bool {
        !Path::new(&format!("/proc/{}", self.pid.as_raw_nonzero())).exists()
    }
}

/// A process by its number.
pub fn process(pid: &str) -> Result<Pid> {
    pid.parse().ok().and_then(Pid::from_raw).with_context(|| format!("{pid:?} is no process"))
}
