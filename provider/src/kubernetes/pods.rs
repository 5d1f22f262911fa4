//! A pod as it is seen: what matters of it for calls, and what keeps it from getting ready. No IO.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodCondition};

use super::read::generation;
use crate::words::{LAST_WORDS_CHARS, OUT_OF_MEMORY, describe_end, describe_exit};

/// How many of a container's last lines are told.
const LAST_LINES: usize = 3;
/// Reasons of a waiting container that pass by themselves.
const PASSING: [&str; 2] = ["ContainerCreating", "PodInitializing"];
/// The reason of a container that waits because it ended too often.
const CRASHING: &str = "CrashLoopBackOff";
/// How a kubelet's words begin when it waits before it pulls again; the image follows.
const BACK_OFF: &str = "Back-off pulling image ";
/// What is told when the registry's words are not known.
const TRIED_AGAIN: &str = "it cannot be pulled, and is tried again";
/// The reason of a container that the kernel killed.
const OOM_KILLED: &str = "OOMKilled";

/// What was last seen of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Tells it from another pod of its name.
    pub(super) uid: String,
    /// The name of the function's container.
    pub(super) container: String,
    /// The deploy that it was made for; 0 when it does not say.
    pub(super) generation: u64,
    /// Its address, once it has one.
    pub(super) ip: Option<IpAddr>,
    /// Whether the kubelet says that it takes calls.
    pub(super) is_ready: bool,
    /// Whether the function's container runs.
    pub(super) is_running: bool,
    /// Whether it was told to end.
    pub(super) is_terminating: bool,
    /// Whether it has ended for good and only its object is left.
    pub(super) is_over: bool,
    /// The container's run, which tells one from the next.
    pub(super) run: String,
    /// When it was made.
    pub(super) created_at: Option<Timestamp>,
    /// How often the container was started again.
    pub(super) restarts: u32,
    /// How the container ended the last time.
    pub(super) last_exit: String,
    /// What is known to keep it from getting ready for longer than a call waits.
    pub(super) trouble: String,
    /// What keeps it from getting ready for now.
    pub(super) waiting: String,
}

impl Seen {
    /// Keeps the registry's words, which are told once, while the kubelet waits to pull again.
    pub(super) fn after(mut self, before: &Self) -> Self {
        let image = self.trouble.strip_suffix(TRIED_AGAIN);
        if image.is_some_and(|image| before.trouble.starts_with(image)) {
            self.trouble.clone_from(&before.trouble);
        }
        self
    }
}

/// What matters of a pod; the container is the one with the function's name, else the first.
pub(super) fn seen(pod: &Pod, function: &str) -> Seen {
    let status = pod.status.clone().unwrap_or_default();
    let containers = status.container_statuses.unwrap_or_default();
    let name = container_name(pod, function);
    let container = containers.iter().find(|c| c.name == name);
    let conditions = status.conditions.unwrap_or_default();
    let phase = status.phase.unwrap_or_default();
    let restarts = container.map_or(0, |c| c.restart_count.max(0).unsigned_abs());
    let end = container.and_then(last_end);
    let last_exit = end.map(exit).unwrap_or_default();
    let running = container.and_then(|c| c.state.as_ref()?.running.as_ref());
    Seen {
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        container: name,
        generation: generation(&pod.metadata),
        ip: status.pod_ip.and_then(|ip| ip.parse().ok()),
        is_ready: running.is_some() && is_true(&conditions, "Ready"),
        is_running: running.is_some(),
        is_terminating: pod.metadata.deletion_timestamp.is_some(),
        is_over: phase == "Failed" || phase == "Succeeded",
        run: container.and_then(|c| c.container_id.clone()).unwrap_or_default(),
        created_at: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
        restarts,
        trouble: container.map_or_else(String::new, |c| trouble(c, &last_exit, end)),
        waiting: waiting(&conditions, container, &last_exit, end),
        last_exit,
    }
}

/// The container with the function's name, else the first.
fn container_name(pod: &Pod, function: &str) -> String {
    let names = || pod.spec.iter().flat_map(|spec| &spec.containers).map(|c| c.name.clone());
    names().find(|name| name == function).or_else(|| names().next()).unwrap_or_default()
}

fn is_true(conditions: &[PodCondition], kind: &str) -> bool {
    conditions.iter().any(|c| c.type_ == kind && c.status == "True")
}

/// How the container ended the last time, if it ever did.
fn last_end(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let now = container.state.as_ref().and_then(|state| state.terminated.as_ref());
    now.or_else(|| container.last_state.as_ref()?.terminated.as_ref())
}

fn exit(end: &ContainerStateTerminated) -> String {
    let reason = end.reason.as_deref().unwrap_or_default();
    // What the engine could not start has no exit code that would say so.
    if ["ContainerCannotRun", "StartError"].contains(&reason) {
        return format!("exit code {}", end.exit_code);
    }
    let exit = describe_exit(end.exit_code.into(), reason == OOM_KILLED);
    if exit == OUT_OF_MEMORY || end.signal.is_none_or(|signal| signal == 0) {
        return exit;
    }
    format!("killed by signal {}", end.signal.unwrap_or_default())
}

/// What it wrote before it ended, where the pod wants that to be kept.
fn last_words(end: &ContainerStateTerminated) -> String {
    let text = end.message.as_deref().unwrap_or_default();
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    last.join("; ").chars().take(LAST_WORDS_CHARS).collect()
}

/// The end in words, with how often it was followed by another start.
fn ended(restarts: i32, exit: &str, end: Option<&ContainerStateTerminated>) -> String {
    let words = end.map(last_words).unwrap_or_default();
    describe_end(exit, restarts.max(0).unsigned_abs(), &words)
}

/// What a container waits for that does not come by itself soon.
fn trouble(
    container: &ContainerStatus,
    exit: &str,
    end: Option<&ContainerStateTerminated>,
) -> String {
    let Some(waiting) = container.state.as_ref().and_then(|state| state.waiting.as_ref()) else {
        return String::new();
    };
    let message = waiting.message.as_deref().unwrap_or_default();
    match waiting.reason.as_deref().unwrap_or_default() {
        "" => String::new(),
        reason if PASSING.contains(&reason) => String::new(),
        CRASHING if !exit.is_empty() => ended(container.restart_count, exit, end),
        // The registry's words come first, and again only the name of the image.
        "ImagePullBackOff" | "ErrImagePull" | "ErrImageNeverPull" | "InvalidImageName" => {
            format!("image {}: {}", container.image, image_reason(message))
        }
        reason => format!("{reason}: {message}"),
    }
}

/// After the first failure old kubelets say only that they wait before they try again.
fn image_reason(message: &str) -> &str {
    match message.strip_prefix(BACK_OFF) {
        None if message.is_empty() => TRIED_AGAIN,
        None => message,
        Some(rest) => rest.split_once("\": ").map_or(TRIED_AGAIN, |(_, words)| words),
    }
}

/// What keeps a pod from getting ready that may pass: it has no node yet, or was just started again.
fn waiting(
    conditions: &[PodCondition],
    container: Option<&ContainerStatus>,
    exit: &str,
    end: Option<&ContainerStateTerminated>,
) -> String {
    let unscheduled = |c: &&PodCondition| c.type_ == "PodScheduled" && c.status == "False";
    if let Some(condition) = conditions.iter().find(unscheduled) {
        let message = condition.message.as_deref().unwrap_or("it has not been given a node");
        return format!("no node takes it: {message}");
    }
    match container {
        Some(container) if !exit.is_empty() => ended(container.restart_count, exit, end),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A pod whose one container is so.
    fn pod(container: Value) -> Seen {
        let mut container = container;
        container["name"] = json!("echo");
        container["image"] = json!("flint/echo:1");
        seen(&parsed(&json!({"podIP": "10.0.0.7", "containerStatuses": [container]})), "echo")
    }

    fn parsed(status: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "echo-1", "uid": "u", "annotations": {"flint.dev/generation": "7"}},
            "spec": {"containers": [{"name": "proxy"}, {"name": "echo"}]},
            "status": status,
        }))
        .unwrap()
    }

    fn base(state: &Value) -> Value {
        json!({"ready": false, "restartCount": 0, "imageID": "", "state": state})
    }

    fn ended(code: i32, reason: &str) -> Value {
        json!({"terminated": {"exitCode": code, "reason": reason, "message": "a\nb\n\nc\nno config\n"}})
    }

    #[test]
    fn a_pod_that_runs_has_an_address_and_a_generation() {
        let mut status =
            json!({"podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": "True"}]});
        status["containerStatuses"] = json!([{"name": "echo", "image": "i", "imageID": "",
            "ready": true, "restartCount": 0, "containerID": "docker://1", "state": {"running": {}}}]);
        let seen = seen(&parsed(&status), "echo");
        assert_eq!((seen.generation, seen.container.as_str()), (7, "echo"));
        assert_eq!(seen.ip.unwrap().to_string(), "10.0.0.7");
        assert!(seen.is_ready && seen.is_running && !seen.is_terminating && !seen.is_over);
        assert_eq!(
            (seen.run.as_str(), seen.trouble.as_str(), seen.waiting.as_str()),
            ("docker://1", "", "")
        );
    }

    #[test]
    fn a_crash_is_told_with_its_code_and_last_words() {
        let mut container =
            base(&json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}));
        container["restartCount"] = json!(2);
        container["lastState"] = ended(3, "Error");
        let seen = pod(container);
        assert_eq!(seen.trouble, "exit code 3, restarted 2 times: b; c; no config");
        assert_eq!(
            (seen.last_exit.as_str(), seen.restarts, seen.is_running),
            ("exit code 3", 2, false)
        );
    }

    #[test]
    fn a_first_crash_is_told_but_the_next_start_is_waited_for() {
        let seen = pod(base(&ended(3, "Error")));
        assert_eq!((seen.trouble.as_str(), seen.last_exit.as_str()), ("", "exit code 3"));
        assert_eq!(seen.waiting, "exit code 3: b; c; no config");
    }

    #[test]
    fn ends_by_the_kernel_and_by_signals_are_named() {
        assert_eq!(pod(base(&ended(137, "OOMKilled"))).last_exit, "out of memory");
        assert_eq!(pod(base(&ended(137, "Error"))).last_exit, "killed by signal 9");
        assert_eq!(pod(base(&ended(128, "ContainerCannotRun"))).last_exit, "exit code 128");
    }

    #[test]
    fn the_registrys_words_stay_while_the_kubelet_waits() {
        let waiting = |reason: &str, message: &str| {
            pod(base(&json!({"waiting": {"reason": reason, "message": message}})))
        };
        let failed = waiting("ErrImagePull", "rpc error: manifest unknown");
        assert_eq!(failed.trouble, "image flint/echo:1: rpc error: manifest unknown");
        let again = waiting("ImagePullBackOff", "Back-off pulling image \"flint/echo:1\"");
        assert_eq!(again.trouble, "image flint/echo:1: it cannot be pulled, and is tried again");
        assert_eq!(again.after(&failed).trouble, failed.trouble);
        let new = "Back-off pulling image \"flint/echo:1\": ErrImagePull: not found";
        let new = waiting("ImagePullBackOff", new);
        assert_eq!(new.trouble, "image flint/echo:1: ErrImagePull: not found");
    }

    #[test]
    fn what_passes_is_no_trouble_and_what_does_not_is_told_as_it_is() {
        let waiting = |reason: &str| {
            pod(base(&json!({"waiting": {"reason": reason, "message": "secret x not found"}})))
        };
        assert_eq!(waiting("ContainerCreating").trouble, "");
        let failed = waiting("CreateContainerConfigError");
        assert_eq!(failed.trouble, "CreateContainerConfigError: secret x not found");
    }

    #[test]
    fn the_schedulers_words_are_told_and_waited_for() {
        let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient cpu."});
        let seen = seen(&parsed(&json!({"conditions": [condition]})), "echo");
        assert_eq!(seen.waiting, "no node takes it: 0/1 nodes are available: 1 Insufficient cpu.");
        assert_eq!((seen.trouble.as_str(), seen.ip), ("", None));
    }

    #[test]
    fn what_is_evicted_is_over() {
        assert!(seen(&parsed(&json!({"phase": "Failed", "reason": "Evicted"})), "echo").is_over);
    }
}
