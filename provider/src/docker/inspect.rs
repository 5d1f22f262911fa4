//! From an inspected container to what the core wants to know of it.

use std::net::IpAddr;

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as EngineStatus,
    NetworkSettings,
};

use super::labels::{REMOVED_SUFFIX, REPLICA};
use crate::replicas::deploy::Deploy;
use crate::replicas::seen::{Phase, Seen};
use crate::words::describe_exit;

impl Seen {
    /// Reads an inspected container; `None` when it is not one of ours.
    pub(super) fn from_inspect(inspect: ContainerInspectResponse, network: &str) -> Option<Self> {
        let labels = inspect.config?.labels?;
        let state = inspect.state?;
        let settings = inspect.network_settings;
        let phase = phase(&state)?;
        Some(Self {
            id: inspect.id?,
            replica: labels.get(REPLICA)?.clone(),
            deploy: Deploy::from_labels(&labels)?,
            image: inspect.image.unwrap_or_default(),
            ip: settings.and_then(|settings| ip(&settings, network)),
            restarts: inspect.restart_count.unwrap_or(0).try_into().unwrap_or(0),
            last_exit: exit_of(&state, phase),
            phase,
            started_at: state.started_at.unwrap_or_default(),
            removed: inspect.name.is_some_and(|name| name.ends_with(REMOVED_SUFFIX)),
            warnings: Vec::new(),
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

#[cfg(test)]
mod tests {
    use super::*;

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
