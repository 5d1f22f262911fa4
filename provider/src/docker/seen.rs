//! A container as the engine shows it.

use std::collections::HashMap;
use std::net::IpAddr;

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as EngineStatus,
    NetworkSettings,
};

use super::labels::{Deploy, REMOVED_SUFFIX, REPLICA};

/// How a container ended that the kernel killed for want of memory.
pub(super) const OUT_OF_MEMORY: &str = "out of memory";
/// How it looks before the engine knows why.
pub(super) const KILLED: &str = "killed by signal 9";

/// What was last seen of a container of ours.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The engine's id of it.
    pub(super) container: String,
    /// Our id of it.
    pub(super) replica: String,
    /// What it was made for.
    pub(super) deploy: Deploy,
    /// The engine's id of its image.
    pub(super) image: String,
    /// What it is doing.
    pub(super) phase: Phase,
    /// When it was started the last time, in the engine's words; tells one run from the next.
    pub(super) started_at: String,
    /// Its address on our network while it runs.
    pub(super) ip: Option<IpAddr>,
    /// How often the engine started it again.
    pub(super) restarts: u32,
    /// How it ended, when it does not run.
    pub(super) last_exit: String,
    /// Whether its function was removed.
    pub(super) removed: bool,
}

/// What a container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It was never started.
    Created,
    /// It runs.
    Running,
    /// It runs and gets no processor time.
    Paused,
    /// It ended, and the engine will start it again.
    Restarting,
    /// It was stopped, is being removed, or could not be started.
    Exited,
}

impl Seen {
    /// Reads an inspected container; `None` when it is not one of ours.
    pub(super) fn from_inspect(inspect: ContainerInspectResponse, network: &str) -> Option<Self> {
        let labels = inspect.config?.labels?;
        let state = inspect.state?;
        let settings = inspect.network_settings;
        let phase = phase(&state)?;
        Some(Self {
            container: inspect.id?,
            replica: labels.get(REPLICA)?.clone(),
            deploy: Deploy::from_labels(&labels)?,
            image: inspect.image.unwrap_or_default(),
            ip: settings.and_then(|settings| ip(&settings, network)),
            restarts: inspect.restart_count.unwrap_or(0).try_into().unwrap_or(0),
            last_exit: exit_of(&state, phase),
            phase,
            started_at: state.started_at.unwrap_or_default(),
            removed: inspect.name.is_some_and(|name| name.ends_with(REMOVED_SUFFIX)),
        })
    }
}

fn phase(state: &ContainerState) -> Option<Phase> {
    match state.status? {
        EngineStatus::CREATED => Some(Phase::Created),
        EngineStatus::RUNNING | EngineStatus::STOPPING => Some(Phase::Running),
        EngineStatus::PAUSED => Some(Phase::Paused),
        EngineStatus::RESTARTING => Some(Phase::Restarting),
        // What is being removed is there until the engine says that it is gone.
        EngineStatus::EXITED | EngineStatus::DEAD | EngineStatus::REMOVING => Some(Phase::Exited),
        EngineStatus::EMPTY => None,
    }
}

fn ip(settings: &NetworkSettings, network: &str) -> Option<IpAddr> {
    settings.networks.as_ref()?.get(network)?.ip_address.as_ref()?.parse().ok()
}

fn exit_of(state: &ContainerState, phase: Phase) -> String {
    let error = state.error.as_deref().unwrap_or_default();
    match phase {
        Phase::Created | Phase::Running | Phase::Paused => String::new(),
        _ if !error.is_empty() => error.to_owned(),
        _ => describe_exit(state.exit_code.unwrap_or(0), state.oom_killed == Some(true)),
    }
}

/// How a `die` event's attributes say that the container ended.
pub(super) fn exit_of_event(attributes: &HashMap<String, String>, out_of_memory: bool) -> String {
    let code = attributes.get("exitCode").and_then(|code| code.parse().ok()).unwrap_or(0);
    describe_exit(code, out_of_memory)
}

/// An exit status in words. Above 128 it is a signal's number, as shells and `docker-init` have it.
fn describe_exit(code: i64, out_of_memory: bool) -> String {
    match code {
        _ if out_of_memory => OUT_OF_MEMORY.to_owned(),
        129..=192 => format!("killed by signal {}", code - 128),
        _ => format!("exit code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_in_words() {
        assert_eq!(describe_exit(1, false), "exit code 1");
        assert_eq!(describe_exit(255, false), "exit code 255");
        assert_eq!(describe_exit(139, false), "killed by signal 11");
        assert_eq!(describe_exit(137, true), OUT_OF_MEMORY);
        assert_eq!(describe_exit(137, false), KILLED);
    }

    #[test]
    fn a_running_container_has_no_exit_and_a_failed_start_has_its_error() {
        let mut state = ContainerState { exit_code: Some(3), ..ContainerState::default() };
        assert_eq!(exit_of(&state, Phase::Running), "");
        assert_eq!(exit_of(&state, Phase::Restarting), "exit code 3");
        state.error = Some("no such program".to_owned());
        assert_eq!(exit_of(&state, Phase::Exited), "no such program");
    }

    #[test]
    fn strangers_are_not_read() {
        let stranger = ContainerInspectResponse::default();
        assert!(Seen::from_inspect(stranger, "flint").is_none());
    }
}
