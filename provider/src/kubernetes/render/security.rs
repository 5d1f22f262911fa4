//! What a function's processes may do. With `set_nonroot_user` it is what the pod security level
//! `restricted` asks for.

use k8s_openapi::DeepMerge;
use k8s_openapi::api::core::v1::{
    Capabilities, PodSecurityContext, SeccompProfile, SecurityContext,
};

use super::Settings;
use crate::Function;

/// The user of functions that are not to be root (contract 8.2).
const NONROOT_USER: i64 = 12000;

/// What holds for the pod: what the container runtime allows by default, and what a profile says.
pub(super) fn of_pod(profile: Option<&PodSecurityContext>) -> PodSecurityContext {
    let seccomp = SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None };
    let ours = PodSecurityContext { seccomp_profile: Some(seccomp), ..Default::default() };
    let mut context = ours;
    context.merge_from(profile.cloned().unwrap_or_default());
    context
}

/// What holds for the container: no capability, none to be gained, and no root where the settings
/// want it so. A user that a profile names is left to the pod's context.
pub(super) fn of_container(
    function: &Function,
    settings: &Settings,
    pod: &PodSecurityContext,
) -> SecurityContext {
    let nonroot = settings.set_nonroot_user;
    let drop = Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() };
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(drop),
        read_only_root_filesystem: Some(function.read_only_root_filesystem),
        run_as_non_root: nonroot.then_some(true),
        run_as_user: (nonroot && pod.run_as_user.is_none()).then_some(NONROOT_USER),
        ..SecurityContext::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_chooses_the_user_and_cannot_make_it_root() {
        let settings = Settings { set_nonroot_user: true, ..Settings::default() };
        let of = |user| {
            let profile = PodSecurityContext { run_as_user: user, ..Default::default() };
            let pod = of_pod(Some(&profile));
            let container = of_container(&Function::default(), &settings, &pod);
            (pod.run_as_user, container.run_as_user, container.run_as_non_root)
        };
        assert_eq!(of(None), (None, Some(12000), Some(true)));
        assert_eq!(of(Some(7)), (Some(7), None, Some(true)));
        assert_eq!(of(Some(0)), (Some(0), None, Some(true)));
    }
}
